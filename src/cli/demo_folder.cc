#include "cli/demo_folder.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "base/clock.h"
#include "base/escape.h"
#include "cli/summary.h"
#include "supervisor/child.h"
#include "supervisor/stop_signals.h"

namespace gigafetch::cli {
namespace {

namespace fs = std::filesystem;

constexpr Millis kStragglerPatience{10'000};
constexpr Millis kLongWait{60'000};
constexpr Millis kPollPeriod{20};
constexpr Millis kRemovalNews{2'000};  // between two lines on how far a removal is

// Whoever reads may have left, or have stopped reading: neither may keep the folder from going.
void say(std::string_view text) {
  const std::string line = std::string(text) + "\n";
  pollfd out{STDOUT_FILENO, POLLOUT, 0};
  if (::poll(&out, 1, 0) != 1 || (out.revents & POLLOUT) == 0) return;
  if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) {
    // Nobody reads.
  }
}

// The next of these signals that comes within `patience`; 0 when none does.
int next_signal(const sigset_t& signals, Millis patience) {
  const timespec within{patience.count() / 1000, patience.count() % 1000 * 1'000'000};
  const int signal = ::sigtimedwait(&signals, nullptr, &within);
  return signal > 0 ? signal : 0;
}

// A removal, as far as it is. Entries that cannot be removed are left; their folders tell.
class Removal {
 public:
  explicit Removal(const sigset_t& signals) : signals_(signals) {}

  // False when it was told twice to stop.
  bool remove(const fs::path& path) {
    std::error_code ignored;
    if (fs::is_directory(fs::symlink_status(path, ignored))) {
      // Entries that come or go while a folder is read may be seen or not: it is read again.
      while (!fs::is_empty(path, ignored) && !ignored) {
        const uint64_t before = removed_;
        for (fs::directory_iterator entry(path, ignored), end; !ignored && entry != end;
             entry.increment(ignored)) {
          if (!remove(entry->path())) return false;
        }
        if (removed_ == before) break;
      }
    }
    if (fs::remove(path, ignored)) ++removed_;
    return listen();
  }

  uint64_t removed() const { return removed_; }
  bool asked_to_stop() const { return asked_ > 0; }

 private:
  bool listen() {
    if (removed_ % kEntriesBetweenLooks != 0) return true;
    const int signal = next_signal(signals_, Millis{0});
    const TimePoint now = monotonic_now();
    const bool stop = signal != 0 && signal != SIGCHLD;
    if (stop && ++asked_ > 1) return false;
    if (stop || now >= next_news_) {
      say(fmt::format("  {} removed{}", with_commas(removed_),
                      stop ? "; once more to stop, and leave the rest there" : ""));
      next_news_ = now + kRemovalNews;
    }
    return true;
  }

  static constexpr uint64_t kEntriesBetweenLooks = 16;
  const sigset_t& signals_;
  uint64_t removed_ = 0;
  int asked_ = 0;
  TimePoint next_news_ = monotonic_now() + kRemovalNews;
};

}  // namespace

Result<DemoFolder> DemoFolder::make(const std::string& given) {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGCHLD, SIG_DFL);
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : supervisor::stop_signals())
    ::sigaddset(&signals, signal);
  ::sigaddset(&signals, SIGCHLD);
  if (::sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) return errno_error(errno, "sigprocmask");
  if (!given.empty()) {
    say(fmt::format("The files go to '{}', and stay there.", printable(given)));
    return DemoFolder(given, false, signals);
  }
  std::string path = (fs::temp_directory_path() / "gigafetch-demo-XXXXXX").string();
  if (::mkdtemp(path.data()) == nullptr) {
    return errno_error(errno, fmt::format("cannot make a temporary folder '{}' (TMPDIR chooses "
                                          "where)",
                                          printable(path)));
  }
  say(
      fmt::format("The files go to {}, which is removed at the end, also after Ctrl-C\n"
                  "(--out DIR: to a folder that stays).",
                  printable(path)));
  return DemoFolder(path, true, signals);
}

ExitStatus DemoFolder::run_in(const std::function<ExitStatus()>& demo) {
  // What the child leaves behind when it is killed becomes ours to wait for.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ExitStatus status = ExitStatus::fatal;
  Result<pid_t> child = supervisor::fork_child("gigafetch:show", [&demo] {
    const ExitStatus ended = demo();
    std::fflush(stdout);
    return static_cast<int>(ended);
  });
  if (child) {
    status = wait_for(*child);
    wait_for_stragglers();
  } else {
    status = finish(child.failure());
  }
  if (temporary_) remove(status);
  return status;
}

ExitStatus DemoFolder::wait_for(pid_t child) {
  bool stopped = false;
  for (;;) {
    const int signal = next_signal(signals_, stopped ? kStragglerPatience : kLongWait);
    if (signal == 0 && stopped) return ExitStatus::interrupted;
    if (signal != 0 && signal != SIGCHLD && !stopped) {
      stopped = true;
      say("\nStopped.");
      ::kill(child, SIGKILL);
    }
    supervisor::Accounts ignored;
    supervisor::Death death;
    while (supervisor::reap_child(-1, death, ignored)) {
      if (death.pid != child) continue;
      if (stopped) return ExitStatus::interrupted;
      if (WIFEXITED(death.wait_status)) {
        return static_cast<ExitStatus>(WEXITSTATUS(death.wait_status));
      }
      print_error("the demo's process died: " + death.text());
      return ExitStatus::fatal;
    }
  }
}

void DemoFolder::wait_for_stragglers() {
  const TimePoint deadline = monotonic_now() + kStragglerPatience;
  supervisor::Accounts ignored;
  supervisor::Death death;
  while (monotonic_now() < deadline) {
    if (supervisor::reap_child(-1, death, ignored)) continue;
    if (death.pid < 0) return;  // there are none
    ::poll(nullptr, 0, static_cast<int>(kPollPeriod.count()));
  }
}

void DemoFolder::remove(ExitStatus& status) {
  say(fmt::format("\nRemoving {} ...", printable(path_)));
  Removal removal(signals_);
  removal.remove(path_);
  std::error_code ignored;
  if (fs::exists(path_, ignored)) {
    say(fmt::format("  {} removed; the rest is left there: rm -rf {}",
                    with_commas(removal.removed()), printable(path_)));
    if (status == ExitStatus::complete && !removal.asked_to_stop()) status = ExitStatus::fatal;
  } else {
    say("Removed.");
  }
  if (removal.asked_to_stop()) status = ExitStatus::interrupted;
}

}  // namespace gigafetch::cli
