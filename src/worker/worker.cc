#include "worker/worker.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/escape.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "listing/dialect.h"
#include "net/stream.h"
#include "net/timer.h"
#include "store/compare_sink.h"
#include "store/file_sink.h"
#include "store/ledger.h"
#include "store/member_table.h"
#include "store/packed_files.h"
#include "store/place.h"
#include "store/stored_files.h"
#include "store/tar_sink.h"
#include "wire/messages.h"
#include "worker/fetcher.h"

namespace gigafetch::worker {
namespace {

constexpr Millis kPulsePeriod{1000};
// The origin's wish for less is passed on at once, but not more often than this.
constexpr Millis kPushbackPeriod{50};
// How often batches are looked at whose last names take their time.
constexpr Millis kStragglerPeriod{100};
// So many batches may have told of a part and still hold names. More hold up new ones.
constexpr size_t kMaxStragglers = 64;
// A further part is told when it has so many names, or that share of the batch.
constexpr uint32_t kMinPart = 16;
constexpr uint32_t kPartShare = 8;

// What is stored already, for a verify.
Result<std::unique_ptr<store::StoredBodies>> open_stored(const Settings& settings,
                                                         const Place& place) {
  using Stored = std::unique_ptr<store::StoredBodies>;
  if (!settings.pack) {
    return Stored(std::make_unique<store::StoredFiles>(place.output_fd, settings.layout));
  }
  Result<std::optional<store::LedgerImage>> image =
      store::Ledger::read(place.state_fd, false, place.output_fd);
  if (!image) return std::move(image).failure();
  if (!image->has_value()) return error(ErrorCode::not_found, "the ledger has been removed");
  if (settings.members == nullptr) return store::open_stored(place.output_fd, **image);
  Result<store::PackedFiles> packed = store::PackedFiles::open(
      place.output_fd, (*image)->state.shards(), settings.layout, *settings.members);
  if (!packed) return std::move(packed).failure();
  return Stored(std::make_unique<store::PackedFiles>(std::move(*packed)));
}

// Takes `stored` where it compares with it.
std::unique_ptr<store::Sink> make_sink(const Settings& settings, const Place& place,
                                       std::unique_ptr<store::StoredBodies>& stored) {
  const int output_fd = place.output_fd;
  if (settings.mode == Mode::compare)
    return std::make_unique<store::CompareSink>(std::move(stored));
  if (settings.pack) {
    store::TarSink::Options options;
    options.worker = place.index;
    options.layout = settings.layout;
    options.shard_size = settings.shard_size;
    options.zstd_level = settings.zstd_level;
    options.sync_files = settings.sync_files;
    return std::make_unique<store::TarSink>(output_fd, options);
  }
  store::FileSink::Options options;
  options.layout = settings.layout;
  options.sync_files = settings.sync_files;
  return std::make_unique<store::FileSink>(output_fd, options);
}

class Worker final : private net::Stream::Handler, private Fetcher::Client {
 public:
  // `stored` in Mode::check.
  Worker(const Settings& settings, const Place& place, std::unique_ptr<listing::Dialect> dialect,
         std::unique_ptr<store::Sink> sink, std::unique_ptr<store::StoredBodies> stored)
      : settings_(settings),
        place_(place),
        dialect_(std::move(dialect)),
        sink_(std::move(sink)),
        stored_(std::move(stored)),
        link_(loop_, *this),
        fetcher_(loop_, settings, *dialect_, *sink_, *this, place.index),
        pulse_timer_(loop_, [this] { send_pulse(); }),
        pushback_timer_(loop_, [this] { send_pulse(); }),
        straggler_timer_(loop_, [this] { tell_parts(); }) {}

  // Looking for a file in `stored` must not be taken for silence either.
  void watch(store::StoredBodies& stored) {
    stored.on_look([this] { stay_heard(); });
  }

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
    straggler_timer_.start(kStragglerPeriod, kStragglerPeriod);
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
    if (frame.type == wire::MessageType::pace) return on_pace(frame.payload);
    if (frame.type == wire::MessageType::shards) return on_shards(frame.payload);
    if (frame.type == wire::MessageType::pipelining) return on_pipelining(frame.payload);
    if (!frame.payload.empty()) return leave("a message with too much in it came");
    switch (frame.type) {
      case wire::MessageType::drain:
        draining_ = true;
        tell_parts();
        return fetcher_.drain();
      case wire::MessageType::stop:
        return stop();
      default:
        return leave("an unexpected message came from the coordinator");
    }
  }

  void on_pace(std::string_view payload) {
    Result<wire::Pace> pace = wire::parse_pace(payload);
    if (!pace) return leave(pace.failure().text);
    fetcher_.set_pace(*pace);
  }

  void on_shards(std::string_view payload) {
    const Result<wire::Shards> shards = wire::parse_shards(payload);
    if (!shards) return leave(shards.failure().text);
    sink_->set_first_shard(shards.value().first);
  }

  void on_pipelining(std::string_view payload) {
    const Result<wire::Pipelining> found = wire::parse_pipelining(payload);
    if (!found) return leave(found.failure().text);
    fetcher_.learn(found.value());
    told_pipelining_ = fetcher_.pipelining();
  }

  void on_batch(std::string_view payload) {
    const Result<wire::BatchView> view = wire::parse_batch(payload);
    if (!view) return leave(view.failure().text);
    batches_.push_back(std::make_unique<Held>(view.value()));
    Batch& batch = batches_.back()->batch;
    if (broken_) return;
    if (draining_) return report(batch);
    if (settings_.mode == Mode::check) return check(batch);
    if (settings_.mode == Mode::count) return count(batch);
    fetcher_.add(batch);
  }

  // A batch of large files takes long to read, and the loop does not turn meanwhile: the
  // coordinator must not take that for silence.
  void stay_heard() {
    const TimePoint now = monotonic_now();
    if (now - last_pulse_ >= kPulsePeriod) send_pulse();
  }

  // Reads each file of the batch from disk.
  void check(Batch& batch) {
    for (uint32_t i = 0; i < batch.count(); ++i) {
      uint64_t bytes = 0;
      store::Hash128 content;
      const store::StoreStatus status =
          stored_->hash(batch.name(i), bytes, content, [this] { stay_heard(); });
      stay_heard();
      if (status.ok()) {
        batch.settle_stored(i, bytes, content);
      } else if (status.kind() == store::StoreStatus::Kind::file) {
        batch.settle_failed(i, FileFailure{status.cause(), 0, 0, status.text()});
      } else {
        return on_store_broken(status.text());
      }
    }
    report(batch);
  }

  void count(Batch& batch) {
    for (uint32_t i = 0; i < batch.count(); ++i)
      batch.settle_stored(i, 0, {});
    report(batch);
  }

  void on_stored(const Task& task, uint64_t bytes, const store::Hash128& content) override {
    if (broken_) return;
    Batch& batch = *task.batch;
    batch.settle_stored(task.index, bytes, content);
    if (batch.all_settled()) return report(batch);
    if (!sink_->wants_commit(batch.lot())) return;
    Held& still = held(batch);
    // Only tell_parts frees it: it sees to it that few batches go on without.
    still.keeps_credit = still.parts == 0;
    tell(batch);
  }

  void on_failed(const Task& task, FileFailure failure) override {
    if (broken_) return;
    Batch& batch = *task.batch;
    log_debug("'{}' failed: {}", printable(task.name()), failure.text);
    batch.settle_failed(task.index, std::move(failure));
    if (batch.all_settled()) report(batch);
  }

  void on_released(const Task& task) override {
    if (broken_) return;
    Batch& batch = *task.batch;
    log_debug("'{}' is handed back: the origin keeps it waiting", printable(task.name()));
    batch.release(task.index);
    if (batch.all_settled()) return report(batch);
    Held& still = held(batch);
    ++still.parts;  // its credit is free with this, too
    still.keeps_credit = false;
    tell(batch);
  }

  void on_pushback() override {
    if (!pushback_timer_.active()) pushback_timer_.start(kPushbackPeriod);
  }

  // What was stored before counts, as far as it can be committed. The batches stay: requests in
  // flight still name them.
  void on_store_broken(std::string_view text) override { end_broken(text, nullptr); }

  // `failed` is a batch that could not be committed: what it has not told of may be lost.
  void end_broken(std::string_view text, const Batch* failed) {
    if (broken_) return;
    broken_ = true;
    if (store::StoreStatus::device_has_failed()) store::note_io_error(place_.state_fd);
    fetcher_.halt();
    for (const auto& each : batches_) {
      Batch& batch = each->batch;
      const bool committed = &batch != failed && sink_->commit(batch.lot()).ok();
      send_outcome(committed ? batch.take_last_outcome() : batch.take_back_untold());
    }
    send(wire::Fatal{std::string(text)});
  }

  void on_fetcher_drained() override {
    while (!broken_ && !batches_.empty())
      report(batches_.back()->batch);
  }

  // Sends the batch's last outcome and lets go of the batch.
  void report(Batch& batch) {
    if (!commit(batch)) return;
    send_outcome(batch.take_last_outcome());
    std::erase_if(batches_, [&](const auto& held) { return &held->batch == &batch; });
  }

  // Sends what is settled of the batch, which stays.
  void tell(Batch& batch) {
    if (!commit(batch)) return;
    wire::Outcome outcome = batch.take_outcome();
    outcome.keeps_credit = held(batch).keeps_credit;
    send_outcome(std::move(outcome));
  }

  bool commit(Batch& batch) {
    if (broken_) return false;
    const store::StoreStatus committed = sink_->commit(batch.lot());
    if (!committed.ok()) end_broken(committed.text(), &batch);
    return committed.ok();
  }

  // A batch whose names have all been sent and that is still open a while later tells what it has:
  // its last names are slow, and its credit should be free for others.
  void tell_parts() {
    if (broken_) return;
    auto stragglers = static_cast<size_t>(std::count_if(
        batches_.begin(), batches_.end(), [](const auto& held) { return held->parts > 0; }));
    for (const auto& held : batches_) {
      Batch& batch = held->batch;
      const uint32_t untold = batch.untold_count();
      const bool aged = std::exchange(held->begun_before, batch.all_begun());
      if (!(aged || draining_) || (untold == 0 && !held->keeps_credit)) continue;
      const bool first = held->parts == 0;
      if (first && !draining_ && stragglers >= kMaxStragglers) continue;
      const bool enough = untold >= std::max(kMinPart, batch.count() / kPartShare);
      if (!first && !enough && !draining_) continue;
      held->keeps_credit = false;
      stragglers += first ? 1 : 0;
      ++held->parts;
      tell(batch);
      if (broken_) return;
    }
  }

  // Before what was stored meanwhile is told: a worker that dies then leaves it to the next one.
  void tell_pipelining() {
    const wire::Pipelining found = fetcher_.pipelining();
    if (std::exchange(told_pipelining_, found) != found) send(found);
  }

  void send_outcome(wire::Outcome outcome) {
    tell_pipelining();
    outcome.counters = fetcher_.counters();
    send(outcome);
  }

  void send_pulse() {
    last_pulse_ = monotonic_now();
    tell_pipelining();
    const Millis retry_after = fetcher_.take_retry_after();
    send(wire::Pulse{fetcher_.counters(), static_cast<uint32_t>(retry_after.count()),
                     fetcher_.trouble()});
  }

  void stop() {
    fetcher_.abandon();
    sink_->finish_run();
    link_.close();
    loop_.stop();
  }

  const Settings& settings_;
  const Place& place_;
  net::Loop loop_;
  std::unique_ptr<listing::Dialect> dialect_;
  std::unique_ptr<store::Sink> sink_;
  std::unique_ptr<store::StoredBodies> stored_;
  net::Stream link_;
  wire::FrameReader reader_;
  std::string out_;
  struct Held {
    explicit Held(const wire::BatchView& view) : batch(view) {}
    Batch batch;
    bool begun_before = false;  // all of its names were sent when last looked at
    uint32_t parts = 0;         // outcomes sent because the rest is slow
    bool keeps_credit = false;  // the last outcome was of a batch that goes on
  };
  Held& held(const Batch& batch) {
    return **std::find_if(batches_.begin(), batches_.end(),
                          [&](const auto& each) { return &each->batch == &batch; });
  }
  std::vector<std::unique_ptr<Held>> batches_;
  bool draining_ = false;
  bool broken_ = false;
  int exit_status_ = 0;
  TimePoint last_pulse_;
  wire::Pipelining told_pipelining_;
  Fetcher fetcher_;
  net::Timer pulse_timer_;
  net::Timer pushback_timer_;
  net::Timer straggler_timer_;
};

}  // namespace

int run_worker(const Settings& settings, const Place& place) {
  Result<std::unique_ptr<listing::Dialect>> dialect =
      listing::make_dialect(settings.api, settings.origin.base_path);
  if (!dialect) {
    log_error("{}", dialect.failure().text);
    return 1;
  }
  std::unique_ptr<store::StoredBodies> stored;
  if (settings.mode == Mode::check || settings.mode == Mode::compare) {
    Result<std::unique_ptr<store::StoredBodies>> opened = open_stored(settings, place);
    if (!opened) {
      log_error("{}", opened.failure().text);
      return 1;
    }
    stored = std::move(opened).value();
  }
  store::StoredBodies* const watched = stored.get();
  std::unique_ptr<store::Sink> sink = make_sink(settings, place, stored);
  Worker worker(settings, place, std::move(dialect).value(), std::move(sink), std::move(stored));
  if (watched != nullptr) worker.watch(*watched);
  return worker.run();
}

}  // namespace gigafetch::worker
