#include "supervisor/child.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/readable.h"
#include "base/temp_folder.h"

using namespace gigafetch;
using namespace gigafetch::supervisor;
using namespace gigafetch::testing;

namespace {

constexpr Millis kPatience{kPatienceMs};

struct Pipe {
  Pipe() {
    int ends[2] = {-1, -1};
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
  }
  UniqueFd read_end, write_end;
};

// Waits until the child has ended, and leaves it to be reaped.
void wait_for_end(pid_t pid) {
  siginfo_t info;
  while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
}

Death death_of(const std::function<int()>& body) {
  const Result<pid_t> pid = fork_child("test", body);
  REQUIRE(pid);
  wait_for_end(pid.value());
  Death death;
  Accounts accounts;
  REQUIRE(reap_child(-1, death, accounts));
  CHECK(death.pid == pid.value());
  return death;
}

[[noreturn]] void wait_for_ever() {
  for (;;)
    ::pause();
}

}  // namespace

TEST_CASE("a child ends with what its body returns, and its death says so") {
  CHECK(death_of([] { return 0; }).text() == "exited with 0");
  CHECK(death_of([] { return 7; }).text() == "exited with 7");
  CHECK(death_of([] { return 255; }).text() == "exited with 255");
}

TEST_CASE("a child that a signal ends says which") {
  CHECK(death_of([]() -> int { return ::raise(SIGKILL); }).text() == "killed by signal 9 (Killed)");
  CHECK(death_of([]() -> int { return ::raise(SIGUSR1); }).text() ==
        "killed by signal 10 (User defined signal 1)");
}

TEST_CASE("a child leaves the signals of a terminal and of systemd to its supervisor") {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    CAPTURE(signal);
    CHECK(death_of([signal] {
            ::kill(::getpid(), signal);
            return 42;
          }).text() == "exited with 42");
  }
}

TEST_CASE("a child blocks no signals, whatever its parent blocks") {
  sigset_t blocked, old;
  ::sigemptyset(&blocked);
  for (const int signal : {SIGINT, SIGTERM, SIGCHLD, SIGUSR1})
    ::sigaddset(&blocked, signal);
  REQUIRE(::sigprocmask(SIG_BLOCK, &blocked, &old) == 0);
  const Death death = death_of([] {
    sigset_t mask;
    ::sigprocmask(SIG_BLOCK, nullptr, &mask);
    for (int signal = 1; signal < 32; ++signal) {
      if (::sigismember(&mask, signal) == 1) return signal;
    }
    return 0;
  });
  ::sigprocmask(SIG_SETMASK, &old, nullptr);
  CHECK(death.text() == "exited with 0");
}

TEST_CASE("a child is called by its name, as far as the kernel keeps it") {
  const auto name_of_child = [](const std::string& name) {
    Pipe ready, go;
    const Result<pid_t> pid = fork_child(name, [&] {
      (void)!::write(ready.write_end.get(), "x", 1);
      wait_for_ever();
      return 0;
    });
    REQUIRE(pid);
    CHECK(readable(ready.read_end.get()));
    const std::string comm = read_file("/proc/" + std::to_string(pid.value()) + "/comm");
    Accounts accounts;
    CHECK(kill_and_reap({pid.value()}, kPatience, accounts).empty());
    return comm;
  };
  CHECK(name_of_child("gigafetch:w07") == "gigafetch:w07\n");
  CHECK(name_of_child("a name of more than 15 bytes") == "a name of more \n");
}

TEST_CASE("a child dies with the process that forked it") {
  Pipe lives, born;
  const pid_t forker = ::fork();
  REQUIRE(forker >= 0);
  if (forker == 0) {
    lives.read_end.reset();
    const Result<pid_t> child = fork_child("orphan", [&] {
      (void)!::write(born.write_end.get(), "x", 1);
      wait_for_ever();
      return 0;
    });
    if (!child) ::_exit(1);
    wait_for_ever();
  }
  lives.write_end.reset();
  REQUIRE(readable(born.read_end.get()));
  ::kill(forker, SIGKILL);
  REQUIRE(::waitpid(forker, nullptr, 0) == forker);
  // The end of file comes when the last of the two that hold the other end is gone.
  REQUIRE(readable(lives.read_end.get()));
  char byte;
  CHECK(::read(lives.read_end.get(), &byte, 1) == 0);
}

TEST_CASE("without a dead child there is nothing to reap") {
  Death death;
  Accounts accounts;
  CHECK_FALSE(reap_child(-1, death, accounts));
  const Result<pid_t> alive = fork_child("alive", [] {
    wait_for_ever();
    return 0;
  });
  REQUIRE(alive);
  CHECK_FALSE(reap_child(-1, death, accounts));
  CHECK(kill_and_reap({alive.value()}, kPatience, accounts).empty());
  CHECK_FALSE(reap_child(-1, death, accounts));
}

TEST_CASE("several dead children are reaped one by one") {
  std::vector<pid_t> pids;
  for (int i = 0; i < 3; ++i) {
    const Result<pid_t> pid = fork_child("test", [i] { return i; });
    REQUIRE(pid);
    pids.push_back(pid.value());
  }
  for (const pid_t pid : pids)
    wait_for_end(pid);
  std::vector<pid_t> reaped;
  Death death;
  Accounts accounts;
  while (reap_child(-1, death, accounts))
    reaped.push_back(death.pid);
  std::sort(pids.begin(), pids.end());
  std::sort(reaped.begin(), reaped.end());
  CHECK(reaped == pids);
}

TEST_CASE("killing a child ends it at once, and leaves nothing to reap") {
  Pipe ready;
  const Result<pid_t> pid = fork_child("stubborn", [&] {
    (void)!::write(ready.write_end.get(), "x", 1);
    wait_for_ever();
    return 0;
  });
  REQUIRE(pid);
  REQUIRE(readable(ready.read_end.get()));
  Accounts accounts;
  CHECK(kill_and_reap({pid.value()}, kPatience, accounts).empty());
  CHECK(::kill(pid.value(), 0) == -1);
  CHECK(errno == ESRCH);
  CHECK(accounts.peak_rss_bytes > 0);
}

TEST_CASE("killing a stopped child, or one that has ended by itself, works as well") {
  Accounts accounts;
  const Result<pid_t> stopped = fork_child("stopped", [] {
    ::raise(SIGSTOP);
    return 0;
  });
  REQUIRE(stopped);
  int status = 0;
  REQUIRE(::waitpid(stopped.value(), &status, WUNTRACED) == stopped.value());
  CHECK(kill_and_reap({stopped.value()}, kPatience, accounts).empty());
  CHECK(::kill(stopped.value(), 0) == -1);

  const Result<pid_t> ended = fork_child("ended", [] { return 0; });
  REQUIRE(ended);
  wait_for_end(ended.value());
  CHECK(kill_and_reap({ended.value()}, kPatience, accounts).empty());
  CHECK(::kill(ended.value(), 0) == -1);
}

TEST_CASE("killing a process that is no child ends in no wait") {
  Accounts accounts;
  CHECK(kill_and_reap({0x3FFFFFFF}, kPatience, accounts).empty());  // above any pid there is
  CHECK(accounts.cpu_seconds == 0);
  CHECK(accounts.peak_rss_bytes == 0);
}

TEST_CASE("several children are killed together, and each is accounted for") {
  std::vector<pid_t> pids;
  for (int i = 0; i < 3; ++i) {
    const Result<pid_t> pid = fork_child("one of many", [] {
      wait_for_ever();
      return 0;
    });
    REQUIRE(pid);
    pids.push_back(pid.value());
  }
  Accounts accounts;
  CHECK(kill_and_reap(pids, kPatience, accounts).empty());
  for (const pid_t pid : pids)
    CHECK(::kill(pid, 0) == -1);
}

// A process that somebody else traces can be reaped by its parent only after its tracer has let go:
// the nearest to one that waits for a disk that can be had at will.
TEST_CASE("a child that cannot be reaped is waited for in vain, but not for long") {
  const Result<pid_t> child = fork_child("traced", [] {
    wait_for_ever();
    return 0;
  });
  REQUIRE(child);
  Pipe traced;
  const Result<pid_t> tracer = fork_child("tracer", [&] {
    const bool seized = ::ptrace(PTRACE_SEIZE, child.value(), nullptr, nullptr) == 0;
    (void)!::write(traced.write_end.get(), seized ? "y" : "n", 1);
    wait_for_ever();
    return 0;
  });
  REQUIRE(tracer);
  char is_traced = 'n';
  REQUIRE(::read(traced.read_end.get(), &is_traced, 1) == 1);
  Accounts accounts;
  if (is_traced == 'y') {
    const TimePoint begin = monotonic_now();
    const std::vector<pid_t> left = kill_and_reap({child.value()}, Millis(100), accounts);
    const Millis took = monotonic_now() - begin;
    CHECK(left == std::vector<pid_t>{child.value()});
    CHECK(took >= Millis(100));
    CHECK(took < Millis(5'000));
  } else {
    MESSAGE("not tested: tracing is not allowed here");
  }
  CHECK(kill_and_reap({tracer.value()}, kPatience, accounts).empty());
  CHECK(kill_and_reap({child.value()}, kPatience, accounts).empty());
}

namespace {

void burn_cpu(double seconds) {
  timespec now{};
  do {
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  } while (static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9 < seconds);
}

void touch(size_t bytes) {
  std::vector<char> memory(bytes);
  std::memset(memory.data(), 1, memory.size());
  asm volatile("" : : "r"(memory.data()) : "memory");
}

}  // namespace

TEST_CASE("the accounts hold the processor time of all children, and the largest of them") {
  Accounts accounts;
  double last = 0;
  for (int i = 0; i < 2; ++i) {
    const Result<pid_t> pid = fork_child("busy", [] {
      burn_cpu(0.1);
      return 0;
    });
    REQUIRE(pid);
    wait_for_end(pid.value());
    Death death;
    REQUIRE(reap_child(-1, death, accounts));
    CHECK(accounts.cpu_seconds >= last + 0.09);
    last = accounts.cpu_seconds;
  }
  const uint64_t small = accounts.peak_rss_bytes;
  CHECK(small > 100'000);

  const Result<pid_t> large = fork_child("large", [] {
    touch(200'000'000);
    return 0;
  });
  REQUIRE(large);
  wait_for_end(large.value());
  CHECK(kill_and_reap({large.value()}, kPatience, accounts).empty());
  CHECK(accounts.peak_rss_bytes >= 200'000'000);
  CHECK(accounts.peak_rss_bytes < 200'000'000 + 2 * small + 200'000'000);
  const uint64_t peak = accounts.peak_rss_bytes;

  const Result<pid_t> again = fork_child("small", [] { return 0; });
  REQUIRE(again);
  wait_for_end(again.value());
  Death death;
  REQUIRE(reap_child(-1, death, accounts));
  CHECK(accounts.peak_rss_bytes == peak);
}

TEST_CASE("the caller's own use can be added") {
  burn_cpu(0.02);
  Accounts accounts;
  add_own(accounts);
  CHECK(accounts.cpu_seconds >= 0.01);
  CHECK(accounts.peak_rss_bytes > 100'000);
}
