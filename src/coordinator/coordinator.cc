#include "coordinator/coordinator.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/exit_status.h"
#include "base/log.h"
#include "base/standard_error.h"
#include "coordinator/books.h"
#include "coordinator/failing_answers.h"
#include "coordinator/group_commit.h"
#include "coordinator/handout.h"
#include "coordinator/listing_walk.h"
#include "coordinator/origin_watch.h"
#include "coordinator/pacer.h"
#include "coordinator/plan.h"
#include "coordinator/wait_meter.h"
#include "coordinator/workforce.h"
#include "store/shard_recovery.h"

namespace gigafetch::coordinator {
namespace {

constexpr Millis kFiguresPeriod{250};
// How long what is in flight may take to settle after the operator asked for the end.
constexpr Millis kDrainPatience{5'000};
// Outcomes are gathered for so long before they are written to the ledger, so that one record
// speaks of many; but never more of them than there are workers.
constexpr Millis kWritePeriod{10};
constexpr uint32_t kRetryPageNames = 1000;

class Coordinator final : private ListingWalk::Client,
                          private Workforce::Client,
                          private Plan::Receiver,
                          private net::Stream::Handler {
 public:
  Coordinator(const Settings& settings, const Place& place,
              std::unique_ptr<listing::Dialect> dialect, std::unique_ptr<Books> books)
      : settings_(settings),
        place_(place),
        dialect_(std::move(dialect)),
        books_(std::move(books)),
        plan_(plan_limits(settings)),
        wait_meter_(settings.workers, loop_.now()),
        control_(loop_, *this),
        workforce_(loop_, place.run_id, static_cast<Workforce::Client&>(*this)),
        pacer_(loop_, pace_limits(settings), settings.workers, workforce_,
               [this](HolderId holder) { return plan_.leases_of(holder) > 0; }),
        walk_(loop_, settings, place.state_fd, *dialect_, *books_, plan_,
              static_cast<ListingWalk::Client&>(*this)),
        watch_(loop_, settings.listing.origin.canonical(),
               [this](const std::string& why) { give_up(why); }),
        figures_timer_(loop_, [this] { send_figures(); }),
        write_timer_(loop_, [this] { write_books(); }),
        drain_timer_(loop_, [this] { finish(ExitStatus::interrupted, "stopped on request"); }) {
    if (store::Ledger* const ledger = books_->ledger()) {
      commit_.emplace(loop_, *ledger, settings.durability, place.output_fd,
                      [this](const Error& why) { give_up(why.text); });
    }
  }

  int run() {
    if (Result<void> linked = control_.adopt_unix(UniqueFd(place_.control_fd)); !linked) {
      log_error("{}", linked.failure().text);
      return 1;
    }
    figures_timer_.start(kFiguresPeriod, kFiguresPeriod);
    send_figures();
    if (Result<void> begun = begin(); !begun) give_up(begun.failure().text);
    loop_.run();
    // A device that hangs must not hold up a run that was told to stop: nothing is lost by leaving.
    if (commit_ && commit_->busy()) {
      standard_error::flush();
      ::_exit(finished_ ? 0 : 1);
    }
    return finished_ ? 0 : 1;
  }

 private:
  static Plan::Limits plan_limits(const Settings& settings) {
    Plan::Limits limits;
    limits.workers = settings.workers;
    limits.batch_names = settings.batch_names;
    return limits;
  }

  static Governor::Limits pace_limits(const Settings& settings) {
    Governor::Limits limits;
    limits.max_in_flight =
        static_cast<uint32_t>(std::min<uint64_t>(settings.max_in_flight, UINT32_MAX));
    limits.rate_cap = settings.rate;
    return limits;
  }

  const store::LedgerState& state() const { return books_->state(); }

  // --- the start: from where the ledger says ---

  Result<void> begin() {
    if (Result<void> listens = workforce_.open(UniqueFd(place_.listen_fd)); !listens)
      return listens;
    if (Result<void> written = books_->write_failures(); !written) return written;
    if (Result<void> closed = close_shards(); !closed) return closed;
    if (store::Ledger* const ledger = books_->ledger()) ledger->begin_shard_epoch();
    if (commit_) {
      if (Result<void> started = commit_->start(); !started) return started;
    }
    log_end_at_start_ = books_->log_end();
    for (const auto& [number, page] : state().open()) {
      if (!page.retry) continue;
      if (Result<void> queued = queue_retries(number, page); !queued) return queued;
    }
    return walk_.begin();
  }

  // When no worker writes to one.
  Result<void> close_shards() {
    if (!settings_.pack || books_->ledger() == nullptr) return {};
    if (Result<void> written = books_->flush(); !written) return written;
    Result<std::vector<ShardEnd>> finished = store::close_shards(
        place_.output_fd, state().shards(), settings_.durability == Durability::file);
    if (!finished) return std::move(finished).failure();
    for (const ShardEnd& end : *finished)
      books_->add_shard(end);
    return books_->flush();
  }

  Result<void> queue_retries(uint64_t number, const store::OpenPage& page) {
    NameList names;
    Result<void> read =
        books_->ledger()->read_retry_names(*page.retry, [&](uint32_t, std::string_view name) {
          names.append(name);
          return true;
        });
    if (!read) return read;
    if (names.count() != page.facts.names) {
      return error(ErrorCode::malformed,
                   "the ledger and its record of failed files do not agree; "
                   "--restart forgets the job");
    }
    plan_.add_page(number, std::move(names), page.settled.gaps(page.facts.names));
    return {};
  }

  // --- the supervisor ---

  void on_bytes(std::string_view bytes) override {
    control_reader_.feed(bytes);
    wire::Frame frame;
    while (control_reader_.next(frame) == wire::FrameReader::Status::frame) {
      if (frame.type == wire::MessageType::drain) {
        drain();
      } else if (frame.type == wire::MessageType::worker_reaped) {
        if (const auto reaped = wire::parse_worker_reaped(frame.payload)) {
          workforce_.on_reaped(static_cast<pid_t>(reaped.value().pid));
        }
      }
    }
  }

  // Without the supervisor nobody may go on; it is gone, and its death signal is on its way too.
  void on_ended(int) override { loop_.stop(); }

  void on_drained() override {
    if (finished_) loop_.stop();
  }

  template <typename Message>
  void tell_supervisor(const Message& message) {
    std::string frame;
    wire::append(frame, message);
    control_.write(frame);
  }

  Figures figures() const {
    const store::LedgerTotals& totals = state().totals();
    Figures figures;
    figures.listed = totals.listed;
    figures.stored = totals.stored;
    figures.failed = totals.failed;
    figures.rejected = totals.rejected;
    figures.duplicates = totals.duplicates;
    figures.filtered = totals.filtered;
    figures.bytes = totals.bytes;
    figures.pages = totals.pages;
    figures.content_low = totals.content.low;
    figures.content_high = totals.content.high;
    figures.requests = walk_.requests() + workforce_.requests();
    figures.retries = walk_.retries() + workforce_.retries();
    figures.fetched = fetched_;
    figures.listing_bound = wait_meter_.share(loop_.now());
    books_->complete(figures);
    // Of a run that ends early: names that are not settled will be listed, or handed out, again.
    if (finished_ && !state().open().empty()) figures.listed = figures.settled();
    return figures;
  }

  // What is told has been recorded: a coordinator that takes over knows no less.
  void send_figures() {
    write_books();
    standard_error::flush();
    tell_supervisor(figures());
  }

  void drain() {
    if (draining_ || finished_) return;
    draining_ = true;
    walk_.stop();
    workforce_.drain();
    drain_timer_.start(kDrainPatience);
    check_finished();
  }

  // --- the end ---

  void give_up(const std::string& why) { finish(ExitStatus::fatal, why); }

  void finish(ExitStatus status, std::string text) {
    if (finished_) return;
    finished_ = true;
    walk_.stop();
    Result<void> written = books_->flush();
    if (written) written = books_->write_failures();
    if (!written && status != ExitStatus::fatal) {
      status = ExitStatus::fatal;
      text = written.failure().text;
    }
    update_wait_meter();
    send_figures();
    // Done before stop: a worker that leaves must not look like one that died.
    tell_supervisor(wire::Done{static_cast<uint8_t>(status), text});
    workforce_.stop();
    if (control_.backlog() == 0) loop_.stop();
  }

  void check_finished() {
    if (finished_ || finishing_) return;
    if (plan_.finished() && !draining_) {
      write_books();
      if (finished_) return;
      if (queue_failures()) return dispatch();
      return complete();
    }
    if (plan_.leases() > 0) return;
    if (listing_failure_ && !draining_ && (walk_.holds() || !plan_.has_queued())) {
      return give_up(*listing_failure_);
    }
    if (!draining_) return;
    if (Result<void> closed = close_shards(); !closed) return give_up(closed.failure().text);
    finish(ExitStatus::interrupted, "stopped on request");
  }

  // All is settled: once it is durable, too, the run is complete.
  void complete() {
    if (!figures().balanced()) {
      return give_up("internal error: the figures of the run do not add up");
    }
    finishing_ = true;
    watch_.stop();
    if (Result<void> closed = close_shards(); !closed) return give_up(closed.failure().text);
    if (!commit_) return on_durable();
    commit_->finish([this] { on_durable(); });
  }

  void on_durable() {
    const store::LedgerTotals& totals = state().totals();
    const bool all_stored = totals.failed + totals.rejected == 0;
    finish(all_stored ? ExitStatus::complete : ExitStatus::failures, "");
  }

  // At the end come the names that had failed in earlier runs, for a passing reason: once more.
  // False when there are none (left).
  bool queue_failures() {
    store::Ledger* const ledger = books_->ledger();
    if (ledger == nullptr || finished_) return false;
    Result<std::optional<store::Ledger::RetryPlan>> retry =
        ledger->plan_retry(settings_.retry_failed, log_end_at_start_, kRetryPageNames);
    if (!retry) return give_up(retry.failure().text), true;
    if (!*retry) return false;
    const uint64_t number = ledger->add_retry_page((*retry)->range, (*retry)->names);
    Result<void> queued = ledger->flush();
    if (queued) queued = queue_retries(number, state().open().at(number));
    if (!queued) give_up(queued.failure().text);
    return true;
  }

  // --- the listing ---

  void on_names() override { dispatch(); }
  void on_listing_over() override {
    dispatch();
    check_finished();
  }
  void on_page_asked(const std::string& page, Millis patience) override {
    watch_.asked(page, patience);
  }
  void on_origin_alive() override { watch_.alive(); }
  void on_origin_trouble(const std::string& text) override { watch_.trouble(text); }
  // What has been listed is fetched first.
  void on_listing_failed(const Error& why) override {
    if (!walk_.holds() && (plan_.has_queued() || plan_.leases() > 0)) {
      log_error("{}; what has been listed is fetched before the run ends", why.text);
    }
    listing_failure_ = why.text;
    check_finished();
  }

  // --- the workers ---

  void on_worker(WorkerLink& link) override {
    if (settings_.pack) link.send(wire::Shards{state().shards().next_number(link.worker())});
    pacer_.update();
    dispatch();
  }

  void on_outcome(WorkerLink& link, const wire::Outcome& outcome) override {
    if (!plan_.settle(link.holder(), outcome, *this)) {
      return link.refuse("it reported on names that it does not hold");
    }
    if (failing_.reached(loop_.now())) return give_up(failing_.text());
    if (++unwritten_ >= settings_.workers) {
      write_books();
    } else if (!write_timer_.active()) {
      write_timer_.start(kWritePeriod);
    }
    settled_ = true;
  }

  // Once for all outcomes of a read: the batches for them are one write.
  void on_read_end() override {
    if (!std::exchange(settled_, false)) return;
    dispatch();
    check_finished();
  }

  void on_shard(const ShardEnd& end) override { books_->add_shard(end); }
  void on_stored(uint64_t page, IndexRange names) override {
    fetched_ += names.count();
    books_->add_stored(page, names);
  }
  void on_content(uint64_t page, const wire::Outcome::Content& content) override {
    books_->add_content(page, content.bytes, {content.sum_low, content.sum_high});
  }
  void on_failure(uint64_t page, uint32_t index, std::string_view name,
                  const FileFailure& failure) override {
    failing_.on_failure(failure);
    books_->add_failed(page, index, name, failure);
  }

  void write_books() {
    unwritten_ = 0;
    write_timer_.stop();
    if (finished_) return;
    if (Result<void> written = books_->flush(); !written) give_up(written.failure().text);
  }

  void on_pulse(const wire::Pulse& pulse) override {
    if (!pulse.trouble.empty()) watch_.trouble(pulse.trouble);
    if (pulse.retry_after_ms > 0) pacer_.on_retry_after(Millis(pulse.retry_after_ms));
    if (failing_.reached(loop_.now())) give_up(failing_.text());
  }

  void on_counters(const wire::WorkerCounters& before, const wire::WorkerCounters& now) override {
    if (now.responses + now.received > before.responses + before.received) watch_.alive();
    pacer_.on_counters(before, now);
    failing_.on_counters(before, now, loop_.now());
  }

  // Once: it is tried again, and may break again, but there is nothing more to say about it.
  void on_pipelining(const wire::Pipelining& found) override {
    const bool too_many = found.breaks >= found.kBreaksToStop && found.borne < settings_.pipeline;
    if (!too_many || std::exchange(told_of_pipeline_, true)) return;
    log_warning(
        "the origin breaks connections with more than {} requests in flight: no more are sent "
        "ahead on each, whatever --pipeline says, but to try it again after long",
        found.borne);
  }

  void on_fatal(const WorkerLink& link, const std::string& text) override {
    give_up(fmt::format("worker {}: {} and run the same command again", link.worker(), text));
  }

  void on_warning(const std::string& text) override { log_warning("{}", text); }

  void kill(const WorkerLink& link) override {
    tell_supervisor(wire::KillWorker{link.worker(), static_cast<uint32_t>(link.pid())});
  }

  void on_gone(HolderId holder) override {
    pacer_.on_gone(holder);
    plan_.holder_gone(holder);
    dispatch();
    check_finished();
  }

  void dispatch() {
    const bool goes_on = !draining_ && !finished_;
    if (goes_on && !walk_.holds() && plan_.has_queued()) handout_.run();
    update_wait_meter();
    if (goes_on) walk_.want_more();
  }

  void update_wait_meter() {
    uint32_t waiting = 0;
    if (!plan_.listing_ended() && !plan_.has_queued() && !finished_) {
      waiting = settings_.workers - std::min(settings_.workers, handout_.busy());
    }
    wait_meter_.update(waiting, loop_.now());
  }

  const Settings& settings_;
  const Place& place_;
  net::Loop loop_;
  std::unique_ptr<listing::Dialect> dialect_;
  std::unique_ptr<Books> books_;
  std::optional<GroupCommit> commit_;  // not in a verify
  Plan plan_;
  FailingAnswers failing_;
  WaitMeter wait_meter_;
  uint64_t fetched_ = 0;           // files stored since this process began
  uint32_t unwritten_ = 0;         // outcomes since the books were written
  uint64_t log_end_at_start_ = 0;  // failures behind it are of this run: they had their tries
  bool settled_ = false;           // an outcome has been taken since the last dispatch
  bool told_of_pipeline_ = false;  // that it is more than the origin bears
  std::optional<std::string> listing_failure_;  // why nothing more is listed
  bool draining_ = false;
  bool finishing_ = false;  // all is settled, the last commit is under way
  bool finished_ = false;

  net::Stream control_;
  wire::FrameReader control_reader_;
  Workforce workforce_;
  Handout handout_{plan_, workforce_};
  Pacer pacer_;
  ListingWalk walk_;
  OriginWatch watch_;
  net::Timer figures_timer_;
  net::Timer write_timer_;
  net::Timer drain_timer_;
};

int refuse_to_start(const Place& place, const std::string& why) {
  std::string frame;
  wire::append(frame, wire::Done{static_cast<uint8_t>(ExitStatus::fatal), why});
  const auto sent = ::send(place.control_fd, frame.data(), frame.size(), MSG_NOSIGNAL);
  return sent == static_cast<ssize_t>(frame.size()) ? 0 : 1;
}

}  // namespace

int run_coordinator(const Settings& settings, const Place& place) {
  auto dialect = listing::make_dialect(settings.listing.api, settings.listing.origin.base_path);
  if (!dialect) return refuse_to_start(place, dialect.failure().text);
  Result<std::unique_ptr<Books>> books = open_books(settings, place.state_fd, place.output_fd);
  if (!books) return refuse_to_start(place, books.failure().text);
  Coordinator coordinator(settings, place, std::move(dialect).value(), std::move(books).value());
  return coordinator.run();
}

}  // namespace gigafetch::coordinator
