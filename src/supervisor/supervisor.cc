#include "supervisor/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include "base/backoff.h"
#include "base/unique_fd.h"
#include "base/unix_socket.h"
#include "coordinator/coordinator.h"
#include "supervisor/child.h"
#include "supervisor/limits.h"
#include "supervisor/stop_signals.h"
#include "wire/messages.h"
#include "worker/worker.h"

namespace gigafetch::supervisor {
namespace {

constexpr char kSocketName[] = "socket";
constexpr uint32_t kMaxDeathsInARow = 5;
constexpr Millis kFirstRefork{100};
constexpr Millis kLongestRefork{5'000};
// How long the coordinator may take to end a drain (its own patience is 5 s), and the children to
// leave after the end.
constexpr Millis kDrainPatience{8'000};
constexpr Millis kLeavePatience{5'000};

class Supervisor {
 public:
  Supervisor(const Job& job, Observer& observer)
      : job_(job),
        observer_(observer),
        cpus_(allowed_cpus()),
        start_(monotonic_now()),
        random_(static_cast<uint64_t>(::getpid())),
        refork_backoff_(kFirstRefork, kLongestRefork) {}

  Report run() {
    if (Result<void> begun = begin(); !begun) {
      end(exit_status_of(begun.failure().code), begun.failure().text, Leave::at_once);
    }
    while (!ended_)
      turn();
    leave();
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

  struct Worker {
    pid_t pid = 0;  // 0 while there is no process
    TimePoint forked_at;
    std::optional<TimePoint> refork_at;
  };

  Result<void> begin() {
    if (Result<void> blocked = take_signals(); !blocked) return blocked;
    Result<UniqueFd> listener = listen_in_folder(job_.state_fd, kSocketName);
    if (!listener) return std::move(listener).failure();
    listener_ = std::move(listener).value();
    if (::getrandom(&run_id_, sizeof run_id_, 0) != sizeof run_id_) {
      return errno_error(errno, "no random numbers");
    }
    if (Result<void> forked = fork_coordinator(); !forked) return forked;
    workers_.resize(job_.workers);
    for (uint32_t i = 0; i < job_.workers; ++i) {
      if (Result<void> forked = fork_worker(i); !forked) return forked;
    }
    return {};
  }

  // From here on signals are read from a descriptor; children undo the mask.
  Result<void> take_signals() {
    // Whoever reads our standard error may leave; the job goes on.
    ::signal(SIGPIPE, SIG_IGN);
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

  Result<void> fork_coordinator() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
      return errno_error(errno, "socketpair");
    }
    control_ = UniqueFd(ends[0]);
    UniqueFd coordinator_end(ends[1]);
    Result<pid_t> pid = fork_child("gigafetch:coord", [&] {
      control_.reset();
      signals_.reset();
      init_log(job_.log_level, "coordinator");
      coordinator::Place place;
      place.run_id = run_id_;
      place.state_fd = job_.state_fd;
      place.output_fd = job_.output_fd;
      place.listen_fd = listener_.release();
      place.control_fd = coordinator_end.release();
      return coordinator::run_coordinator(job_.coordinator, place);
    });
    if (!pid) return std::move(pid).failure();
    coordinator_ = *pid;
    // Held open here, the socket would keep workers waiting whom no coordinator will ever accept.
    listener_.reset();
    return {};
  }

  Result<void> fork_worker(uint32_t index) {
    Result<pid_t> pid = fork_child(fmt::format("gigafetch:w{:02}", index), [&] {
      // What stays open in a sibling would hide the coordinator's end from everybody.
      control_.reset();
      signals_.reset();
      init_log(job_.log_level, fmt::format("worker {}", index));
      if (Result<void> pinned = pin_to_cpu(cpus_[index % cpus_.size()]); !pinned) {
        log_warning("{}", pinned.failure().text);
      }
      worker::Place place;
      place.index = index;
      place.run_id = run_id_;
      place.state_fd = job_.state_fd;
      place.output_fd = job_.output_fd;
      return worker::run_worker(job_.worker, place);
    });
    if (!pid) return std::move(pid).failure();
    workers_[index].pid = *pid;
    workers_[index].forked_at = monotonic_now();
    workers_[index].refork_at.reset();
    return {};
  }

  // One wait, and whatever it brought.
  void turn() {
    std::array<pollfd, 2> waits{{{signals_.get(), POLLIN, 0}, {control_.get(), POLLIN, 0}}};
    if (::poll(waits.data(), waits.size(), poll_timeout()) < 0 && errno != EINTR) {
      return end(ExitStatus::fatal, errno_error(errno, "poll").text, Leave::at_once);
    }
    // First what the coordinator has said: it may have ended in good order before it died.
    if (waits[1].revents != 0) read_control();
    if (waits[0].revents != 0) read_signals();
    if (ended_) return;
    const TimePoint now = monotonic_now();
    if (drain_deadline_ && now >= *drain_deadline_) {
      return end(ExitStatus::interrupted, "stopped on request; not all that was in flight settled",
                 Leave::at_once);
    }
    for (uint32_t i = 0; i < workers_.size(); ++i) {
      if (!workers_[i].refork_at || now < *workers_[i].refork_at) continue;
      if (Result<void> forked = fork_worker(i); !forked) {
        return end(ExitStatus::fatal, forked.failure().text, Leave::at_once);
      }
    }
  }

  int poll_timeout() const {
    std::optional<TimePoint> next = drain_deadline_;
    for (const Worker& worker : workers_) {
      if (worker.refork_at && (!next || *worker.refork_at < *next)) next = worker.refork_at;
    }
    if (!next) return -1;
    return static_cast<int>(std::clamp<int64_t>((*next - monotonic_now()).count(), 0, 60'000));
  }

  // --- the coordinator's messages ---

  void read_control() {
    char bytes[16 * 1024];
    ssize_t got;
    while ((got = ::recv(control_.get(), bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
      control_reader_.feed(std::string_view(bytes, static_cast<size_t>(got)));
      wire::Frame frame;
      while (control_reader_.next(frame) == wire::FrameReader::Status::frame)
        on_frame(frame);
    }
    // At its end poll would report the socket for ever; what is to be done then comes with SIGCHLD.
    if (got == 0) control_.reset();
  }

  void on_frame(const wire::Frame& frame) {
    switch (frame.type) {
      case wire::MessageType::figures:
        if (Result<Figures> figures = wire::parse_figures(frame.payload)) on_figures(*figures);
        return;
      case wire::MessageType::done:
        if (Result<wire::Done> done = wire::parse_done(frame.payload)) {
          end(static_cast<ExitStatus>(done->exit), done->text, Leave::in_good_order);
        }
        return;
      case wire::MessageType::kill_worker:
        if (Result<wire::KillWorker> kill = wire::parse_kill_worker(frame.payload)) {
          const bool is_ours = kill->worker < workers_.size() && kill->pid != 0 &&
                               workers_[kill->worker].pid == static_cast<pid_t>(kill->pid);
          if (is_ours) ::kill(static_cast<pid_t>(kill->pid), SIGKILL);
        }
        return;
      default:
        return;
    }
  }

  void on_figures(const Figures& figures) {
    if (figures.stored != report_.figures.stored) deaths_in_a_row_ = 0;
    report_.figures = figures;
    observer_.on_figures(figures, seconds_between(start_, monotonic_now()));
  }

  template <typename Append>
  void tell_coordinator(Append&& append) {
    std::string frame;
    append(frame);
    // A coordinator that does not read for so long that the buffer is full is not helped by more.
    if (control_) ::send(control_.get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
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
    log_info("signal {}: settling what is in flight", signal);
    drain_deadline_ = monotonic_now() + kDrainPatience;
    for (Worker& worker : workers_)
      worker.refork_at.reset();
    tell_coordinator([](std::string& out) { wire::append_empty(out, wire::MessageType::drain); });
  }

  void reap() {
    Death death;
    if (coordinator_ != 0 && reap_child(coordinator_, death, accounts_)) {
      coordinator_ = 0;
      on_coordinator_death(death);
    }
    for (Worker& worker : workers_) {
      if (worker.pid != 0 && reap_child(worker.pid, death, accounts_)) {
        on_worker_death(worker, death);
      }
    }
  }

  void on_coordinator_death(const Death& death) {
    if (control_) read_control();  // its last words
    if (ended_) return;
    end(ExitStatus::fatal,
        fmt::format("the coordinator died ({}); run the same command again", death.text()),
        Leave::at_once);
  }

  void on_worker_death(Worker& worker, const Death& death) {
    worker.pid = 0;
    if (control_) read_control();  // it may have left because the run is done
    if (ended_) return;
    const auto index = static_cast<uint32_t>(&worker - workers_.data());
    tell_coordinator([&](std::string& out) {
      wire::append(out, wire::WorkerReaped{index, static_cast<uint32_t>(death.pid)});
    });
    if (drain_deadline_) return;
    // Workers that die of one cause die together: that is one death.
    if (deaths_in_a_row_ == 0 || worker.forked_at > last_counted_death_) {
      ++deaths_in_a_row_;
      last_counted_death_ = monotonic_now();
    }
    if (deaths_in_a_row_ >= kMaxDeathsInARow) {
      return end(ExitStatus::fatal,
                 fmt::format("workers died {} times with nothing stored in between, the last {}; "
                             "run the same command again when the cause is mended",
                             deaths_in_a_row_, death.text()),
                 Leave::at_once);
    }
    const Millis wait = refork_backoff_.delay(deaths_in_a_row_, random_);
    worker.refork_at = monotonic_now() + wait;
    log_warning("worker {} (pid {}) died: {}; forked again in {} ms", index, death.pid,
                death.text(), wait.count());
  }

  // --- the end ---

  void end(ExitStatus exit, std::string text, Leave how) {
    if (ended_) return;
    ended_ = true;
    report_.exit = exit;
    report_.text = std::move(text);
    leave_deadline_ = monotonic_now() + (how == Leave::at_once ? Millis(0) : kLeavePatience);
  }

  bool any_child() const {
    return coordinator_ != 0 || std::any_of(workers_.begin(), workers_.end(),
                                            [](const Worker& worker) { return worker.pid != 0; });
  }

  // Waits for the children, and ends those that stay.
  void leave() {
    while (any_child()) {
      const Millis left = leave_deadline_ - monotonic_now();
      if (left <= Millis(0)) break;
      pollfd wait{signals_.get(), POLLIN, 0};
      ::poll(&wait, 1, static_cast<int>(left.count()));
      read_signals();
    }
    if (coordinator_ != 0) kill_and_reap(coordinator_, accounts_);
    for (const Worker& worker : workers_) {
      if (worker.pid != 0) kill_and_reap(worker.pid, accounts_);
    }
    ::unlinkat(job_.state_fd, kSocketName, 0);
  }

  const Job& job_;
  Observer& observer_;
  std::vector<int> cpus_;
  TimePoint start_;
  Random random_;
  Backoff refork_backoff_;
  uint64_t run_id_ = 0;

  sigset_t old_mask_{};
  UniqueFd signals_;
  UniqueFd listener_;
  UniqueFd control_;
  wire::FrameReader control_reader_;

  pid_t coordinator_ = 0;
  std::vector<Worker> workers_;
  uint32_t deaths_in_a_row_ = 0;  // with nothing stored in between
  TimePoint last_counted_death_;
  std::optional<TimePoint> drain_deadline_;

  bool ended_ = false;
  TimePoint leave_deadline_;
  Accounts accounts_;
  Report report_;
};

}  // namespace

Report supervise(const Job& job, Observer& observer) {
  return Supervisor(job, observer).run();
}

}  // namespace gigafetch::supervisor
