#include "worker/worker.h"

#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/escape.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "listing/dialect.h"
#include "net/stream.h"
#include "net/timer.h"
#include "store/compare_sink.h"
#include "store/file_sink.h"
#include "store/set_hash.h"
#include "store/stored_files.h"
#include "wire/messages.h"
#include "worker/fetcher.h"

namespace gigafetch::worker {
namespace {

constexpr Millis kPulsePeriod{1000};

std::unique_ptr<store::Sink> make_sink(const Settings& settings, int output_fd) {
  if (settings.mode == Mode::compare) {
    return std::make_unique<store::CompareSink>(output_fd, settings.layout);
  }
  store::FileSink::Options options;
  options.layout = settings.layout;
  options.sync_files = settings.sync_files;
  return std::make_unique<store::FileSink>(output_fd, options);
}

class Worker final : private net::Stream::Handler, private Fetcher::Client {
 public:
  Worker(const Settings& settings, const Place& place, std::unique_ptr<listing::Dialect> dialect)
      : settings_(settings),
        place_(place),
        dialect_(std::move(dialect)),
        sink_(make_sink(settings, place.output_fd)),
        stored_files_(place.output_fd, settings.layout),
        link_(loop_, *this),
        fetcher_(loop_, settings, *dialect_, *sink_, *this, place.index),
        pulse_timer_(loop_, [this] { send_pulse(); }) {}

  int run() {
    Result<UniqueFd> socket = connect_in_folder(place_.state_fd, "socket");
    if (!socket) {
      // Refused: the coordinator has ended already, and told the supervisor why.
      const bool gone = socket.failure().code == ErrorCode::refused;
      if (!gone) log_error("{}", socket.failure().text);
      return 1;
    }
    if (Result<void> adopted = link_.adopt_unix(std::move(socket).value()); !adopted) {
      log_error("{}", adopted.failure().text);
      return 1;
    }
    send(wire::Hello{place_.run_id, place_.index, static_cast<uint32_t>(::getpid())});
    pulse_timer_.start(kPulsePeriod, kPulsePeriod);
    loop_.run();
    return exit_status_;
  }

 private:
  template <typename Message>
  void send(const Message& message) {
    out_.clear();
    wire::append(out_, message);
    link_.write(out_);
  }

  void on_bytes(std::string_view bytes) override {
    reader_.feed(bytes);
    wire::Frame frame;
    while (!link_.is_closed()) {
      switch (reader_.next(frame)) {
        case wire::FrameReader::Status::need_more:
          return;
        case wire::FrameReader::Status::broken:
          return leave("a broken frame came from the coordinator");
        case wire::FrameReader::Status::frame:
          on_frame(frame);
      }
    }
  }

  void on_ended(int) override { leave("the coordinator is gone"); }

  void leave(std::string_view why) {
    log_debug("{}", why);
    exit_status_ = 1;
    stop();
  }

  void on_frame(const wire::Frame& frame) {
    if (frame.type == wire::MessageType::batch) return on_batch(frame.payload);
    if (!frame.payload.empty()) return leave("a message with too much in it came");
    switch (frame.type) {
      case wire::MessageType::drain:
        draining_ = true;
        return fetcher_.drain();
      case wire::MessageType::stop:
        return stop();
      default:
        return leave("an unexpected message came from the coordinator");
    }
  }

  void on_batch(std::string_view payload) {
    const Result<wire::BatchView> view = wire::parse_batch(payload);
    if (!view) return leave(view.failure().text);
    batches_.push_back(std::make_unique<Batch>(view.value()));
    Batch& batch = *batches_.back();
    if (broken_) return;
    if (draining_) return report(batch);
    if (settings_.mode == Mode::check) return check(batch);
    fetcher_.add(batch);
  }

  // Looks for each file of the batch on disk.
  void check(Batch& batch) {
    for (uint32_t i = 0; i < batch.count(); ++i) {
      const store::StoreStatus status = stored_files_.check(batch.name(i));
      if (status.ok()) {
        batch.add_to_set(store::hash_of_name(batch.name(i)));
        batch.settle_stored(i, 0);
      } else if (status.kind() == store::StoreStatus::Kind::file) {
        batch.settle_failed(i, FileFailure{status.cause(), 0, 0, status.text()});
      } else {
        return on_store_broken(status.text());
      }
    }
    report(batch);
  }

  void on_stored(const Task& task, uint64_t bytes) override {
    Batch& batch = *task.batch;
    if (settings_.mode == Mode::compare) batch.add_to_set(store::hash_of_name(task.name()));
    batch.settle_stored(task.index, bytes);
    if (batch.all_settled()) report(batch);
  }

  void on_failed(const Task& task, FileFailure failure) override {
    Batch& batch = *task.batch;
    log_debug("'{}' failed: {}", printable(task.name()), failure.text);
    batch.settle_failed(task.index, std::move(failure));
    if (batch.all_settled()) report(batch);
  }

  void on_store_broken(std::string_view text) override {
    if (broken_) return;
    broken_ = true;
    // What was stored before counts. The batches stay: requests in flight still name them.
    for (const auto& batch : batches_)
      send_outcome(*batch);
    send(wire::Fatal{std::string(text)});
  }

  void on_drained() override {
    while (!broken_ && !batches_.empty())
      report(*batches_.back());
  }

  // Sends the batch's outcome and lets go of the batch.
  void report(Batch& batch) {
    if (const store::StoreStatus committed = sink_->commit(); !committed.ok()) {
      return on_store_broken(committed.text());
    }
    send_outcome(batch);
    std::erase_if(batches_, [&](const auto& held) { return held.get() == &batch; });
  }

  void send_outcome(const Batch& batch) {
    wire::Outcome outcome = batch.outcome();
    outcome.counters = fetcher_.counters();
    send(outcome);
  }

  void send_pulse() { send(wire::Pulse{fetcher_.counters(), fetcher_.trouble()}); }

  void stop() {
    fetcher_.abandon();
    link_.close();
    loop_.stop();
  }

  const Settings& settings_;
  const Place& place_;
  net::Loop loop_;
  std::unique_ptr<listing::Dialect> dialect_;
  std::unique_ptr<store::Sink> sink_;
  store::StoredFiles stored_files_;
  net::Stream link_;
  wire::FrameReader reader_;
  std::string out_;
  std::vector<std::unique_ptr<Batch>> batches_;
  bool draining_ = false;
  bool broken_ = false;
  int exit_status_ = 0;
  Fetcher fetcher_;
  net::Timer pulse_timer_;
};

}  // namespace

int run_worker(const Settings& settings, const Place& place) {
  Result<std::unique_ptr<listing::Dialect>> dialect =
      listing::make_dialect(settings.api, settings.origin.base_path);
  if (!dialect) {
    log_error("{}", dialect.failure().text);
    return 1;
  }
  Worker worker(settings, place, std::move(dialect).value());
  return worker.run();
}

}  // namespace gigafetch::worker
