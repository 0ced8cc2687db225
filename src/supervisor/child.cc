#include "supervisor/child.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/process_limit.h"
#include "base/standard_error.h"

namespace gigafetch::supervisor {
namespace {

constexpr int kReapPeriodMs = 2;
// For what a child has still to say, where standard error is slow.
constexpr Millis kLastWordsPatience{500};

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

void add_usage(const rusage& usage, Accounts& accounts) {
  accounts.cpu_seconds += seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
  // ru_maxrss is in KiB (getrusage(2)).
  accounts.peak_rss_bytes =
      std::max(accounts.peak_rss_bytes, static_cast<uint64_t>(usage.ru_maxrss) * 1024);
}

// VmHWM of proc(5). getrusage's figure outlives execve: it would be that of whoever started us.
long own_peak_kib() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("VmHWM:")) return std::strtol(line.c_str() + 6, nullptr, 10);
  }
  return 0;
}

void prepare_child(const std::string& name, pid_t supervisor) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The supervisor may have died before the line above took effect.
  if (::getppid() != supervisor) ::_exit(1);
  ::prctl(PR_SET_NAME, name.c_str());
  for (const int ignored : {SIGINT, SIGTERM, SIGHUP, SIGPIPE})
    ::signal(ignored, SIG_IGN);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace

std::string Death::text() const {
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    return fmt::format("killed by signal {} ({})", signal, ::strsignal(signal));
  }
  return fmt::format("exited with {}", WEXITSTATUS(wait_status));
}

Result<pid_t> fork_child(const std::string& name, const std::function<int()>& body) {
  const pid_t supervisor = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return process_error(errno, fmt::format("cannot fork {}", name));
  if (pid == 0) {
    prepare_child(name, supervisor);
    standard_error::open(name);  // what waits in the copy is the parent's to write
    const int status = body();
    standard_error::drain(kLastWordsPatience);
    ::_exit(status);
  }
  return pid;
}

bool reap_child(pid_t pid, Death& death, Accounts& accounts) {
  rusage usage{};
  death.pid = ::wait4(pid, &death.wait_status, WNOHANG, &usage);
  if (death.pid <= 0) return false;
  add_usage(usage, accounts);
  return true;
}

std::vector<pid_t> kill_and_reap(std::vector<pid_t> pids, Millis patience, Accounts& accounts) {
  for (const pid_t pid : pids)
    ::kill(pid, SIGKILL);
  const TimePoint deadline = monotonic_now() + patience;
  const auto is_gone = [&accounts](pid_t pid) {
    Death death;
    return reap_child(pid, death, accounts) || (death.pid < 0 && errno == ECHILD);
  };
  for (;;) {
    std::erase_if(pids, is_gone);
    if (pids.empty() || monotonic_now() >= deadline) return pids;
    // There is no wait4 with a deadline, and SIGCHLD may be blocked, ignored or somebody else's.
    ::poll(nullptr, 0, kReapPeriodMs);
  }
}

void add_own(Accounts& accounts) {
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return;
  usage.ru_maxrss = own_peak_kib();
  add_usage(usage, accounts);
}

}  // namespace gigafetch::supervisor
