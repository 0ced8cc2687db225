#include "coordinator/coordinator.h"

#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/escape.h"
#include "base/exit_status.h"
#include "base/log.h"
#include "coordinator/lister.h"
#include "coordinator/origin_watch.h"
#include "coordinator/page_intake.h"
#include "coordinator/plan.h"
#include "coordinator/wait_meter.h"
#include "coordinator/worker_link.h"
#include "net/unix_listener.h"
#include "store/dead_letters.h"
#include "store/set_hash.h"

namespace gigafetch::coordinator {
namespace {

constexpr Millis kFiguresPeriod{250};
// How long what is in flight may take to settle after the operator asked for the end.
constexpr Millis kDrainPatience{5'000};
// So many failing answers of one status, with nothing stored in between, end the run: the service
// is ill, or wants something else of us.
constexpr uint32_t kMaxFailingAnswers = 1000;

class Coordinator final : private Lister::Client,
                          private WorkerLink::Client,
                          private net::Stream::Handler {
 public:
  Coordinator(const Settings& settings, const Place& place,
              std::unique_ptr<listing::Dialect> dialect, store::DeadLetters dead_letters)
      : settings_(settings),
        place_(place),
        dialect_(std::move(dialect)),
        dead_letters_(std::move(dead_letters)),
        plan_(plan_limits(settings)),
        intake_(settings.filter, settings.limit),
        wait_meter_(settings.workers, loop_.now()),
        control_(loop_, *this),
        listener_(loop_, [this] { accept_worker(); }),
        lister_(loop_, settings.listing, *dialect_, *this),
        watch_(loop_, settings.listing.origin.canonical(),
               [this](const std::string& why) { give_up(why); }),
        figures_timer_(loop_, [this] { send_figures(); }),
        drain_timer_(loop_, [this] { finish(ExitStatus::interrupted, "stopped on request"); }),
        reaper_(loop_, [this] { std::erase_if(links_, is_gone); }) {}

  int run() {
    if (Result<void> linked = control_.adopt_unix(UniqueFd(place_.control_fd)); !linked) {
      log_error("{}", linked.failure().text);
      return 1;
    }
    if (Result<void> listens = listener_.open(UniqueFd(place_.listen_fd)); !listens) {
      give_up(listens.failure().text);
      return 0;
    }
    figures_timer_.start(kFiguresPeriod, kFiguresPeriod);
    if (settings_.limit == 0) {
      end_listing();
    } else {
      lister_.start();
    }
    loop_.run();
    return finished_ ? 0 : 1;
  }

 private:
  static Plan::Limits plan_limits(const Settings& settings) {
    Plan::Limits limits;
    limits.workers = settings.workers;
    limits.batch_names = settings.batch_names;
    return limits;
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
          on_worker_reaped(static_cast<pid_t>(reaped.value().pid));
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

  void send_figures() {
    figures_.requests = lister_.requests() + workers_gone_.requests;
    figures_.retries = lister_.retries() + workers_gone_.retries;
    for (const auto& [holder, counters] : counters_) {
      figures_.requests += counters.requests;
      figures_.retries += counters.retries;
    }
    figures_.pages = lister_.pages();
    figures_.listing_bound = wait_meter_.share(loop_.now());
    tell_supervisor(figures_);
  }

  void drain() {
    if (draining_ || finished_) return;
    draining_ = true;
    lister_.stop();
    for (const auto& link : links_) {
      if (link->greeted()) link->send_empty(wire::MessageType::drain);
    }
    drain_timer_.start(kDrainPatience);
    check_finished();
  }

  void finish(ExitStatus status, std::string_view text) {
    if (finished_) return;
    finished_ = true;
    lister_.stop();
    if (Result<void> flushed = dead_letters_.flush(); !flushed && status != ExitStatus::fatal) {
      status = ExitStatus::fatal;
      final_text_ = flushed.failure().text;
      text = final_text_;
    }
    // Names that were not settled count as not yet listed: a later run will list them again.
    if (!plan_.finished()) {
      figures_.listed = figures_.stored + figures_.failed + figures_.rejected + figures_.duplicates;
    }
    update_wait_meter();
    send_figures();
    // Done before stop: a worker that leaves must not look like one that died.
    tell_supervisor(wire::Done{static_cast<uint8_t>(status), std::string(text)});
    for (const auto& link : links_)
      link->send_empty(wire::MessageType::stop);
    if (control_.backlog() == 0) loop_.stop();
  }

  void give_up(const std::string& why) { finish(ExitStatus::fatal, why); }

  void check_finished() {
    if (finished_) return;
    if (plan_.finished()) {
      if (!figures_.balanced()) {
        return give_up("internal error: the figures of the run do not add up");
      }
      const bool all_stored = figures_.failed + figures_.rejected == 0;
      return finish(all_stored ? ExitStatus::complete : ExitStatus::failures, "");
    }
    if (draining_ && plan_.leases() == 0) finish(ExitStatus::interrupted, "stopped on request");
  }

  // --- the listing ---

  bool wants_page() override { return !intake_.limit_reached() && plan_.wants_page(); }

  Result<uint64_t> on_page(listing::PageReader& page, bool last) override {
    intake_.begin_page();
    if (Result<void> read = page.read_names(intake_); !read) return std::move(read).failure();
    figures_.listed += intake_.listed();
    figures_.duplicates += intake_.duplicates();
    figures_.filtered += intake_.filtered();
    for (const std::string& name : intake_.too_long()) {
      ++figures_.rejected;
      const FileFailure failure{
          FailureClass::name_too_long, 0, 0,
          fmt::format("{} bytes; at most {} are taken", name.size(), kMaxNameBytes)};
      if (Result<void> added = dead_letters_.add(name, failure); !added) {
        return std::move(added).failure();
      }
    }
    plan_.add_page(intake_.names());
    const uint64_t names = intake_.listed() + intake_.filtered();
    if (last || intake_.limit_reached()) {
      end_listing();
    } else {
      dispatch();
    }
    return names;
  }

  void end_listing() {
    lister_.stop();
    plan_.end_listing();
    dispatch();
    check_finished();
  }

  void on_origin_alive() override { watch_.alive(); }
  void on_origin_trouble(const std::string& text) override { watch_.trouble(text); }
  void on_listing_failed(const Error& why) override { give_up(why.text); }

  // --- the workers ---

  void accept_worker() {
    auto link = std::make_unique<WorkerLink>(loop_, static_cast<WorkerLink::Client&>(*this),
                                             next_holder_++);
    if (listener_.accept(link->stream())) links_.push_back(std::move(link));
  }

  bool on_hello(WorkerLink& link, const wire::Hello& hello) override {
    const auto pid = static_cast<pid_t>(hello.pid);
    // A worker may have died, and been reaped, before its greeting was read.
    if (hello.run_id != place_.run_id || !link.is_peer(pid) || reaped_.contains(pid)) return false;
    log_debug("worker {} (pid {}) is here", hello.worker, hello.pid);
    if (draining_) link.send_empty(wire::MessageType::drain);
    dispatch();
    return true;
  }

  void on_outcome(WorkerLink& link, wire::Outcome outcome) override {
    take_counters(link, outcome.counters);
    if (outcome.stored > 0) failing_answers_ = 0;
    Result<void> recorded;
    const auto on_failure = [&](std::string_view name, const FileFailure& failure) {
      ++(is_rejection(failure.cause) ? figures_.rejected : figures_.failed);
      count_failing_answers(failure);
      if (recorded) recorded = dead_letters_.add(name, failure);
    };
    if (!plan_.settle(link.holder(), outcome, on_failure)) {
      return link.refuse("it reported on a batch that it does not hold");
    }
    figures_.stored += outcome.stored;
    figures_.bytes += outcome.bytes;
    store::SetHash set{{figures_.set_hash_low, figures_.set_hash_high}, 0};
    set.add_sum({outcome.set_hash_low, outcome.set_hash_high}, outcome.stored);
    figures_.set_hash_low = set.sum.low;
    figures_.set_hash_high = set.sum.high;
    if (recorded && !outcome.failures.empty()) recorded = dead_letters_.flush();
    if (!recorded) return give_up(recorded.failure().text);
    if (failing_answers_ >= kMaxFailingAnswers) {
      return give_up(fmt::format(
          "{} answers in a row had status {}; see to the service, then run the same command again",
          failing_answers_, failing_status_));
    }
    dispatch();
    check_finished();
  }

  void count_failing_answers(const FileFailure& failure) {
    if (failure.cause != FailureClass::http_status) return;
    if (failure.status != failing_status_) failing_answers_ = 0;
    failing_status_ = failure.status;
    failing_answers_ += failure.attempts;
  }

  void on_pulse(WorkerLink& link, wire::Pulse pulse) override {
    take_counters(link, pulse.counters);
    if (!pulse.trouble.empty()) watch_.trouble(pulse.trouble);
  }

  void take_counters(WorkerLink& link, const wire::WorkerCounters& counters) {
    wire::WorkerCounters& last = counters_[link.holder()];
    if (counters.responses + counters.received > last.responses + last.received) watch_.alive();
    last = counters;
  }

  void on_fatal(WorkerLink& link, const wire::Fatal& fatal) override {
    give_up(fmt::format("worker {}: {} and run the same command again", link.worker(), fatal.text));
  }

  void on_link_ended(WorkerLink& link, const std::string& why) override {
    reaper_.start(Millis(0));
    if (!link.greeted() || finished_) return;
    if (!why.empty()) {
      log_error("worker {} (pid {}) is ended: {}", link.worker(), link.pid(), why);
      tell_supervisor(wire::KillWorker{link.worker(), static_cast<uint32_t>(link.pid())});
    }
    // Only when its process is gone as well can nothing of it touch a file any more.
    if (reaped_.erase(link.pid()) > 0) {
      holder_gone(link.holder());
    } else {
      orphaned_[link.pid()] = link.holder();
    }
  }

  void on_worker_reaped(pid_t pid) {
    if (const auto orphan = orphaned_.find(pid); orphan != orphaned_.end()) {
      const HolderId holder = orphan->second;
      orphaned_.erase(orphan);
      return holder_gone(holder);
    }
    reaped_.insert(pid);
  }

  void holder_gone(HolderId holder) {
    const wire::WorkerCounters& last = counters_[holder];
    workers_gone_.requests += last.requests;
    workers_gone_.retries += last.retries;
    counters_.erase(holder);
    plan_.holder_gone(holder);
    dispatch();
    check_finished();
  }

  static bool is_gone(const std::unique_ptr<WorkerLink>& link) { return link->ended(); }

  // Hands out what is queued, always to the worker that holds least.
  void dispatch() {
    while (!draining_ && !finished_ && plan_.has_queued()) {
      WorkerLink* least = nullptr;
      for (const auto& link : links_) {
        if (!link->greeted() || link->ended()) continue;
        if (least == nullptr ||
            plan_.leases_of(link->holder()) < plan_.leases_of(least->holder())) {
          least = link.get();
        }
      }
      if (least == nullptr) break;
      const std::optional<wire::BatchView> batch = plan_.next(least->holder());
      if (!batch) break;
      least->send(*batch);
    }
    update_wait_meter();
    if (wants_page() && !draining_ && !finished_ && !plan_.listing_ended()) lister_.want_more();
  }

  void update_wait_meter() {
    uint32_t waiting = 0;
    if (!plan_.listing_ended() && !plan_.has_queued() && !finished_) {
      const auto busy = std::count_if(links_.begin(), links_.end(), [&](const auto& link) {
        return plan_.leases_of(link->holder()) > 0;
      });
      waiting = settings_.workers - std::min(settings_.workers, static_cast<uint32_t>(busy));
    }
    wait_meter_.update(waiting, loop_.now());
  }

  const Settings& settings_;
  const Place& place_;
  net::Loop loop_;
  std::unique_ptr<listing::Dialect> dialect_;
  store::DeadLetters dead_letters_;
  Plan plan_;
  PageIntake intake_;
  WaitMeter wait_meter_;
  Figures figures_;
  std::string final_text_;
  uint32_t failing_answers_ = 0;  // of failing_status_, with nothing stored in between
  uint16_t failing_status_ = 0;
  bool draining_ = false;
  bool finished_ = false;

  net::Stream control_;
  wire::FrameReader control_reader_;
  net::UnixListener listener_;
  Lister lister_;
  OriginWatch watch_;
  net::Timer figures_timer_;
  net::Timer drain_timer_;
  net::Timer reaper_;  // destroys links that have ended, outside their callbacks

  HolderId next_holder_ = 1;
  std::vector<std::unique_ptr<WorkerLink>> links_;
  std::unordered_map<HolderId, wire::WorkerCounters> counters_;
  wire::WorkerCounters workers_gone_;             // of workers that died
  std::unordered_map<pid_t, HolderId> orphaned_;  // link ended, process not yet reaped
  std::set<pid_t> reaped_;                        // process reaped, end of its link not yet seen
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
  auto dead_letters = store::DeadLetters::create(place.state_fd, settings.dead_letters);
  if (!dead_letters) return refuse_to_start(place, dead_letters.failure().text);
  Coordinator coordinator(settings, place, std::move(dialect).value(),
                          std::move(dead_letters).value());
  return coordinator.run();
}

}  // namespace gigafetch::coordinator
