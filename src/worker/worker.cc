#include "worker/worker.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/escape.h"
#include "base/log.h"
#include "base/standard_error.h"
#include "base/unix_socket.h"
#include "listing/dialect.h"
#include "net/stream.h"
#include "net/timer.h"
#include "store/coding_log.h"
#include "store/compare_sink.h"
#include "store/file_sink.h"
#include "store/ledger.h"
#include "store/member_table.h"
#include "store/packed_files.h"
#include "store/place.h"
#include "store/room.h"
#include "store/stored_files.h"
#include "store/tar_sink.h"
#include "wire/messages.h"
#include "worker/fetcher.h"
#include "worker/outbox.h"

namespace gigafetch::worker {
namespace {

constexpr Millis kPulsePeriod{1000};
// The origin's wish for less is passed on at once, but not more often than this.
constexpr Millis kPushbackPeriod{50};
// What an operator is told of an origin that misframes its answers.
constexpr std::string_view kSurplus =
    "the origin sends answers that were not asked for (each answer twice, say): what was answered "
    "before on such a connection is fetched again, one file a connection";
constexpr std::string_view kWrongEnd =
    "an answer of the origin does not end where it says (its Content-Length or chunks are wrong): "
    "such files are fetched again, one a connection";

// What is stored already, for a verify.
Result<std::unique_ptr<store::StoredBodies>> open_stored(const Settings& settings,
                                                         const Place& place) {
  using Stored = std::unique_ptr<store::StoredBodies>;
  if (!settings.pack) {
    return Stored(
        std::make_unique<store::StoredFiles>(place.output_fd, settings.layout, settings.names));
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
  options.names = settings.names;
  return std::make_unique<store::FileSink>(output_fd, options);
}

class Worker final : private net::Stream::Handler, private Fetcher::Client, private Outbox::Client {
 public:
  // `stored` in Mode::check.
  Worker(const Settings& settings, const Place& place, std::unique_ptr<listing::Dialect> dialect,
         std::unique_ptr<store::Sink> sink, std::unique_ptr<store::StoredBodies> stored)
      : settings_(settings),
        place_(place),
        dialect_(std::move(dialect)),
        sink_(std::move(sink)),
        stored_(std::move(stored)),
        codings_(place.state_fd, place.output_fd, settings.sync_codings),
        link_(loop_, *this),
        outbox_(*sink_, *this),
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
    straggler_timer_.start(Outbox::kLookPeriod, Outbox::kLookPeriod);
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
    Batch& batch = outbox_.add(view.value());
    if (outbox_.is_broken()) return;
    if (draining_) return outbox_.report(batch);
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
        return outbox_.end_broken(status.text());
      }
    }
    outbox_.report(batch);
  }

  void count(Batch& batch) {
    for (uint32_t i = 0; i < batch.count(); ++i)
      batch.settle_stored(i, 0, {});
    outbox_.report(batch);
  }

  Part* on_answered(const Task& task, bool stored) override {
    return outbox_.on_answered(task, stored);
  }
  void on_stored(std::span<const FileRun> files) override {
    for (const FileRun& each : files) {
      if (each.batch->has_codings() && !record_codings(*each.batch)) return;
    }
    outbox_.on_stored(files);
  }
  void on_taken_back(std::span<const Answer> answers) override { outbox_.on_taken_back(answers); }

  void on_failed(const Task& task, FileFailure failure) override {
    log_debug("'{}' failed: {}", printable(task.name()), failure.text);
    outbox_.on_failed(task, std::move(failure));
  }

  void on_released(const Task& task) override {
    log_debug("'{}' is handed back: the origin keeps it waiting", printable(task.name()));
    outbox_.on_released(task);
  }

  void on_misframed(Misframing kind) override {
    send(wire::Warning{std::string(kind == Misframing::surplus ? kSurplus : kWrongEnd)});
  }

  void on_pushback() override {
    if (!pushback_timer_.active()) pushback_timer_.start(kPushbackPeriod);
  }

  void on_store_broken(std::string_view text) override { outbox_.end_broken(text); }

  void on_broken(std::string_view text) override {
    if (store::StoreStatus::device_has_failed()) store::note_io_error(place_.state_fd);
    fetcher_.halt();
    send(wire::Fatal{std::string(text)});
  }

  void on_fetcher_drained() override { outbox_.report_all(); }

  void tell_parts() { outbox_.tell_parts(draining_, fetcher_.proof_patience()); }

  // In which codings the batch's files are, before they are told of. False when that cannot be
  // recorded, which breaks the run.
  bool record_codings(Batch& batch) {
    if (settings_.mode != Mode::store) return true;
    for (const Batch::Coded& coded : batch.take_codings())
      codings_.add(batch.name(coded.index), coded.coding);
    const Result<void> recorded = codings_.flush();
    if (!recorded) outbox_.end_broken(recorded.failure().text);
    return recorded.ok();
  }

  // Before what was stored meanwhile is told: a worker that dies then leaves it to the next one.
  void tell_pipelining() {
    const wire::Pipelining found = fetcher_.pipelining();
    if (std::exchange(told_pipelining_, found) != found) send(found);
  }

  void send_outcome(wire::Outcome outcome) override {
    tell_pipelining();
    outcome.counters = fetcher_.counters();
    send(outcome);
  }

  void send_pulse() {
    last_pulse_ = monotonic_now();
    standard_error::flush();
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
  store::CodingLog codings_;
  net::Stream link_;
  wire::FrameReader reader_;
  std::string out_;
  Outbox outbox_;
  bool draining_ = false;
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
  store::Room room(store::Room::free_at(place.output_fd), settings.min_free,
                   settings.zstd_level > 0);
  Settings own = settings;
  if (settings.mode == Mode::store) own.body.room = &room;
  Worker worker(own, place, std::move(dialect).value(), std::move(sink), std::move(stored));
  if (watched != nullptr) worker.watch(*watched);
  return worker.run();
}

}  // namespace gigafetch::worker
