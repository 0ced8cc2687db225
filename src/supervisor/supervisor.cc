#include "supervisor/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include "base/standard_error.h"
#include "base/unique_fd.h"
#include "supervisor/child.h"
#include "supervisor/control.h"
#include "supervisor/crew.h"
#include "supervisor/death_count.h"
#include "supervisor/run_figures.h"
#include "supervisor/silence.h"
#include "supervisor/stop_signals.h"

namespace gigafetch::supervisor {
namespace {

// From a stop signal to the end of the run: how long the coordinator may take to end a drain (its
// own patience is 5 s), and then, whatever the children do, to be rid of them. With what the last
// words may take (cli/summary.cc, base/standard_error.h) not above 10 s together.
constexpr Millis kDrainPatience{6'500};
constexpr Millis kReapPatience{2'000};
// How long the children may take to leave after the end.
constexpr Millis kLeavePatience{5'000};
// How long a killed process may take to die before the run ends without it: a disk's or a network
// file system's hiccup should pass, but nothing is forked in the place of one that may still write.
constexpr Millis kDyingPatience{60'000};
// Shorter than any wait before a fork after so many deaths.
constexpr Millis kGiveUpDelay{50};

class Supervisor final : public Control::Listener {
 public:
  Supervisor(const Job& job, Observer& observer, const Roles& roles)
      : job_(job),
        observer_(observer),
        start_(monotonic_now()),
        random_(static_cast<uint64_t>(::getpid())),
        silence_(job.coordinator_patience),
        crew_(job, roles, signals_, accounts_),
        fork_at_(job.workers) {}

  Report run() {
    if (Result<void> taken = take_signals(); !taken) {
      end(ExitStatus::fatal, taken.failure().text, Leave::at_once);
    } else {
      start_crew();
    }
    while (!ended_)
      turn();
    leave();
    report_.figures = figures_.settled();
    report_.seconds = seconds_between(start_, monotonic_now());
    add_own(accounts_);
    report_.cpu_seconds = accounts_.cpu_seconds;
    report_.peak_rss_bytes = accounts_.peak_rss_bytes;
    read_signals();  // what was asked for has happened
    ::sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
    return report_;
  }

 private:
  // How the children go: by themselves, since they were told, or killed.
  enum class Leave : uint8_t { in_good_order, at_once };

  // From here on signals are read from a descriptor; children undo the mask.
  Result<void> take_signals() {
    sigset_t mask;
    ::sigemptyset(&mask);
    // An ignored one must stay out: a descriptor would read it all the same.
    for (const int signal : stop_signals())
      ::sigaddset(&mask, signal);
    ::sigaddset(&mask, SIGCHLD);
    if (::sigprocmask(SIG_BLOCK, &mask, &old_mask_) != 0) return errno_error(errno, "sigprocmask");
    signals_ = UniqueFd(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
    return signals_ ? Result<void>() : errno_error(errno, "signalfd");
  }

  void start_crew() {
    restart_at_.reset();
    accusation_.clear();
    silence_.broken();
    figures_.begin_coordinator(monotonic_now());
    go_on_if(crew_.start());
    // Each in a turn of its own, so that signals are obeyed in between.
    std::fill(fork_at_.begin(), fork_at_.end(), monotonic_now());
  }

  void go_on_if(const Result<void>& forked) {
    if (!forked) {
      end(exit_status_of(forked.failure().code), forked.failure().text, Leave::at_once);
    }
  }

  // One wait, and whatever it brought.
  void turn() {
    std::array<pollfd, 2> waits{{{signals_.get(), POLLIN, 0}, {crew_.control().fd(), POLLIN, 0}}};
    const TimePoint before = monotonic_now();
    const Millis meant = longest_wait(before);
    if (::poll(waits.data(), waits.size(), static_cast<int>(meant.count())) < 0 && errno != EINTR) {
      return end(ExitStatus::fatal, errno_error(errno, "poll").text, Leave::at_once);
    }
    // First what the coordinator has said: it may have ended in good order before it died.
    if (waits[1].revents != 0) {
      read_control();
    } else {
      silence_.waited(monotonic_now() - before, meant);
    }
    if (waits[0].revents != 0) read_signals();
    standard_error::flush();
    if (!ended_) do_what_is_due(monotonic_now());
  }

  Millis longest_wait(TimePoint now) const {
    TimePoint next = now + silence_.longest_wait();
    if (standard_error::waits()) next = std::min(next, now + standard_error::kRetryPeriod);
    if (drain_deadline_) next = std::min(next, *drain_deadline_);
    if (give_up_at_) next = std::min(next, *give_up_at_);
    // Once it has passed, what is waited for is the last of the dying: a signal tells.
    if (restart_at_ && *restart_at_ > now) next = std::min(next, *restart_at_);
    for (const std::optional<TimePoint>& at : fork_at_) {
      if (at) next = std::min(next, *at);
    }
    return std::max(next - now, Millis(0));
  }

  void do_what_is_due(TimePoint now) {
    if (drain_deadline_ && now >= *drain_deadline_) {
      return end(ExitStatus::interrupted, "stopped on request; not all that was in flight settled",
                 Leave::at_once);
    }
    if (const Member* dying = crew_.killed_before(now - kDyingPatience)) {
      return end(
          ExitStatus::fatal,
          fmt::format("{} (pid {}) was killed and does not end, as if a disk did not answer; "
                      "run the same command again when the cause is mended",
                      dying->name, dying->pid),
          Leave::at_once);
    }
    if (give_up_at_ && now >= *give_up_at_) give_up();
    if (ended_) return;
    if (restart_at_) {
      if (now >= *restart_at_ && crew_.is_gone()) start_crew();
      return;
    }
    if (silence_.is_too_long()) {
      accuse(fmt::format("silent for {} s, killed",
                         static_cast<double>(job_.coordinator_patience.count()) / 1000));
    }
    const auto due = std::find_if(fork_at_.begin(), fork_at_.end(),
                                  [now](const auto& at) { return at && *at <= now; });
    if (due == fork_at_.end()) return;
    due->reset();
    go_on_if(crew_.fork_worker(static_cast<uint32_t>(due - fork_at_.begin())));
  }

  // --- the coordinator ---

  void read_control() {
    switch (crew_.control().read(*this)) {
      case Control::Heard::nothing:
        return;
      case Control::Heard::something:
        return silence_.broken();
      case Control::Heard::rubbish:
        crew_.control().close();
        return accuse("sent what is no message, killed");
    }
  }

  void on_figures(const Figures& figures) override {
    const TimePoint now = monotonic_now();
    if (figures_.take(figures, now)) deaths_.something_was_stored();
    observer_.on_figures(figures_.shown(), seconds_between(start_, now));
  }

  void on_done(const wire::Done& done) override {
    end(static_cast<ExitStatus>(done.exit), done.text, Leave::in_good_order);
  }

  void on_kill_worker(const wire::KillWorker& kill) override {
    if (kill.worker >= crew_.workers().size()) return;
    Member& worker = crew_.workers()[kill.worker];
    // It may have been forked again meanwhile.
    if (worker.pid == static_cast<pid_t>(kill.pid)) Crew::kill(worker);
  }

  // Kills a coordinator that is of no use any more; its death is mended like any other.
  void accuse(const std::string& why) {
    Member& coordinator = crew_.coordinator();
    if (ended_ || coordinator.pid == 0 || coordinator.killed_at) return;
    accusation_ = why;
    log_warning("{} (pid {}): {}", coordinator.name, coordinator.pid, why);
    Crew::kill(coordinator);
  }

  void on_coordinator_death(const Death& death) {
    read_control();  // its last words
    if (ended_) return;
    const std::string why = accusation_.empty() ? death.text() : accusation_;
    if (drain_deadline_) {
      return end(ExitStatus::interrupted,
                 fmt::format("stopped on request; the coordinator died ({}) before all that was in "
                             "flight settled",
                             why),
                 Leave::at_once);
    }
    crew_.control().close();
    crew_.kill_all();
    std::fill(fork_at_.begin(), fork_at_.end(), std::nullopt);
    deaths_.coordinator_died(crew_.coordinator().forked_at, monotonic_now());
    restart_at_ = monotonic_now() + mend(crew_.coordinator(), death.pid, why, "all are");
  }

  // --- the workers ---

  void on_worker_death(uint32_t index, const Death& death) {
    read_control();  // it may have left because the run is done
    if (ended_ || restart_at_) return;
    crew_.control().tell(wire::WorkerReaped{index, static_cast<uint32_t>(death.pid)});
    if (drain_deadline_) return;
    // Its coordinator is gone or as good as gone, and everybody will be replaced.
    if (crew_.control().fd() < 0) return;
    const Member& worker = crew_.workers()[index];
    deaths_.worker_died(worker.forked_at, monotonic_now());
    fork_at_[index] = monotonic_now() + mend(worker, death.pid, death.text(), "it is");
  }

  // After a death was counted: how long to wait before the next fork. When there are too many, the
  // run is to end instead, but not yet: workers that lost their coordinator may be reaped before
  // it, and the last death's reason is to be the right one.
  Millis mend(const Member& member, pid_t pid, const std::string& why, const char* who_returns) {
    last_death_ = fmt::format("{}, {}", member.name, why);
    const Millis wait = deaths_.wait(random_);
    if (deaths_.is_hopeless()) {
      give_up_at_ = monotonic_now() + kGiveUpDelay;
      log_warning("{} (pid {}) died: {}", member.name, pid, why);
    } else {
      log_warning("{} (pid {}) died: {}; {} forked again in {} ms", member.name, pid, why,
                  who_returns, wait.count());
    }
    return wait;
  }

  void give_up() {
    give_up_at_.reset();
    if (!deaths_.is_hopeless()) return;  // something was stored after all
    end(ExitStatus::fatal,
        fmt::format("{} deaths in a row with nothing stored in between, the last: {}; everything "
                    "that is recorded stays; run the same command again when the cause is mended",
                    deaths_.in_a_row(), last_death_),
        Leave::at_once);
  }

  // --- signals ---

  void read_signals() {
    signalfd_siginfo info;
    while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGCHLD) {
        reap();
      } else {
        on_stop_signal(static_cast<int>(info.ssi_signo));
      }
    }
  }

  void on_stop_signal(int signal) {
    if (ended_) return;
    if (drain_deadline_) {
      return end(ExitStatus::interrupted, "stopped at once, on a second request", Leave::at_once);
    }
    // Between two crews nothing is in flight.
    if (restart_at_) return end(ExitStatus::interrupted, "stopped on request", Leave::at_once);
    log_info("signal {}: settling what is in flight", signal);
    drain_deadline_ = monotonic_now() + kDrainPatience;
    give_up_at_.reset();
    std::fill(fork_at_.begin(), fork_at_.end(), std::nullopt);
    crew_.control().tell_drain();
  }

  void reap() {
    Death death;
    if (crew_.reap(crew_.coordinator(), death)) on_coordinator_death(death);
    for (uint32_t i = 0; i < crew_.workers().size(); ++i) {
      if (crew_.reap(crew_.workers()[i], death)) on_worker_death(i, death);
    }
  }

  // --- the end ---

  void end(ExitStatus exit, std::string text, Leave how) {
    if (ended_) return;
    ended_ = true;
    report_.exit = exit;
    report_.text = std::move(text);
    leave_deadline_ = monotonic_now() + (how == Leave::at_once ? Millis(0) : kLeavePatience);
    if (drain_deadline_) leave_deadline_ = std::min(leave_deadline_, *drain_deadline_);
  }

  // Waits for the children, and ends those that stay.
  void leave() {
    while (!crew_.is_gone()) {
      const Millis left = leave_deadline_ - monotonic_now();
      if (left <= Millis(0)) break;
      pollfd wait{signals_.get(), POLLIN, 0};
      ::poll(&wait, 1, static_cast<int>(left.count()));
      read_signals();
    }
    crew_.disband(kReapPatience);
  }

  const Job& job_;
  Observer& observer_;
  TimePoint start_;
  Random random_;

  sigset_t old_mask_{};
  UniqueFd signals_;
  Accounts accounts_;
  Silence silence_;
  Crew crew_;
  DeathCount deaths_;
  RunFigures figures_;
  std::string accusation_;                         // why we killed the coordinator
  std::vector<std::optional<TimePoint>> fork_at_;  // of each worker that is not there
  std::optional<TimePoint>
      restart_at_;          // of a crew: while it is set, the last one is on its way out
  std::string last_death_;  // of the row: who, and why
  std::optional<TimePoint> give_up_at_;
  std::optional<TimePoint> drain_deadline_;

  bool ended_ = false;
  TimePoint leave_deadline_;
  Report report_;
};

}  // namespace

Report supervise(const Job& job, Observer& observer, const Roles& roles) {
  return Supervisor(job, observer, roles).run();
}

Report supervise(const Job& job, Observer& observer) {
  const Roles roles{
      [&job](const coordinator::Place& place) {
        return coordinator::run_coordinator(job.coordinator, place);
      },
      [&job](const worker::Place& place) { return worker::run_worker(job.worker, place); }};
  return supervise(job, observer, roles);
}

}  // namespace gigafetch::supervisor
