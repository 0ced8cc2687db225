// supervise() with coordinators and workers that do what a test tells them, in real processes.
#include "supervisor/supervisor.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <sstream>
#include <thread>
#include <vector>

#include "base/temp_folder.h"
#include "supervisor/child.h"
#include "wire/messages.h"

using namespace gigafetch;
using namespace gigafetch::supervisor;

namespace {

[[noreturn]] void wait_for_ever() {
  for (;;)
    ::pause();
}

void rest(int ms) {
  std::this_thread::sleep_for(Millis(ms));
}

void burn_cpu(double seconds) {
  timespec now{};
  do {
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  } while (static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9 < seconds);
}

// What a coordinator of these tests can do.
class Voice {
 public:
  explicit Voice(int fd) : fd_(fd) {}
  int fd() const { return fd_; }
  void figures(uint64_t stored, uint64_t fetched, uint64_t requests = 0) const {
    Figures figures;
    figures.stored = stored;
    figures.fetched = fetched;
    figures.requests = requests;
    say(figures);
  }
  void figures(const Figures& figures) const { say(figures); }
  int done(ExitStatus exit, const std::string& text = "") const {
    say(wire::Done{static_cast<uint8_t>(exit), text});
    return 0;
  }
  void wait_for_a_word() const {
    pollfd wait{fd_, POLLIN, 0};
    ::poll(&wait, 1, -1);
  }

 private:
  template <typename Message>
  void say(const Message& message) const {
    std::string frame;
    wire::append(frame, message);
    (void)!::send(fd_, frame.data(), frame.size(), MSG_NOSIGNAL);
  }
  int fd_;
};

// A process of nobody's that does one thing after a while, whatever becomes of the others.
template <typename Body>
pid_t in_the_background(Body body) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  for (int fd = 3; fd < 64; ++fd)
    ::close(fd);
  body();
  ::_exit(0);
}

struct Silent final : Observer {
  void on_figures(const Figures& figures, double) override { last = figures; }
  Figures last;
};

// One run. Every process notes its start in a file, from which a coordinator knows which it is.
class Trial {
 public:
  // Called in each coordinator process with its number, from 1; the result is its exit status.
  std::function<int(const Voice&, size_t number)> coordinator;
  // By default, to be there until a coordinator has ended in good order.
  std::function<int()> worker = [this] {
    while (lines("done").empty())
      rest(5);
    return 0;
  };
  Job job;
  Silent observer;

  Trial() {
    job.workers = 2;
    job.log_level = LogLevel::off;
    init_log(LogLevel::off, "test");
  }
  ~Trial() { init_log(LogLevel::warning, "test"); }

  Report run() {
    job.state_fd = folder_.fd();
    return supervise(job, observer,
                     Roles{[this](const coordinator::Place& place) {
                             note("coordinators", fmt::format("{} {}\n", place.run_id, ::getpid()));
                             const size_t number = lines("coordinators").size();
                             const int status = coordinator(Voice(place.control_fd), number);
                             if (status == 0) note("done", "\n");
                             return status;
                           },
                           [this](const worker::Place& place) {
                             note("workers", fmt::format("{} {}\n", place.run_id, ::getpid()));
                             return worker();
                           }});
  }

  void note(const std::string& file, const std::string& text) const {
    const UniqueFd fd(::open((folder_ / file).c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600));
    (void)!::write(fd.get(), text.data(), text.size());
  }
  std::vector<std::string> lines(const std::string& file) const {
    std::istringstream in(stands(folder_ / file) ? read_file(folder_ / file) : "");
    std::vector<std::string> found;
    for (std::string line; std::getline(in, line);)
      found.push_back(line);
    return found;
  }
  size_t coordinators() const { return lines("coordinators").size(); }
  bool socket_stands() const { return stands(folder_ / "socket"); }
  // Until so many workers have noted their start.
  void wait_for_workers(size_t count) const {
    while (lines("workers").size() < count)
      rest(1);
  }
  static uint64_t run_id(const std::string& line) { return std::stoull(line); }
  static pid_t pid(const std::string& line) { return std::stoi(line.substr(line.find(' '))); }

 private:
  TempFolder folder_;
};

bool is_gone(pid_t pid) {
  return ::kill(pid, 0) != 0;
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a run goes as its coordinator says") {
  Trial trial;
  trial.coordinator = [&](const Voice& voice, size_t) {
    voice.figures(7, 7, 8);
    return voice.done(ExitStatus::failures, "some");
  };
  trial.worker = [] { return 0; };
  const Report report = trial.run();
  CHECK(report.exit == ExitStatus::failures);
  CHECK(report.text == "some");
  CHECK(report.figures.stored == 7);
  CHECK(trial.coordinators() == 1);
  CHECK_FALSE(trial.socket_stands());
}

TEST_CASE("after the coordinator's death everybody is ended, and another crew finishes") {
  Trial trial;
  trial.coordinator = [&](const Voice& voice, size_t number) {
    trial.wait_for_workers(2 * number);
    if (number == 1) {
      voice.figures(100, 60, 70);
      ::raise(SIGKILL);
    }
    for (size_t i = 0; i < 2; ++i) {
      if (!is_gone(Trial::pid(trial.lines("workers")[i]))) return 1;
    }
    voice.figures(150, 30, 40);
    return voice.done(ExitStatus::complete);
  };
  const Report report = trial.run();
  CHECK(report.exit == ExitStatus::complete);
  const std::vector<std::string> coordinators = trial.lines("coordinators");
  const std::vector<std::string> workers = trial.lines("workers");
  REQUIRE(coordinators.size() == 2);
  REQUIRE(workers.size() == 4);
  CHECK(Trial::run_id(coordinators[0]) != Trial::run_id(coordinators[1]));
  for (size_t i = 0; i < 4; ++i) {
    CHECK(Trial::run_id(workers[i]) == Trial::run_id(coordinators[i / 2]));
    CHECK(is_gone(Trial::pid(workers[i])));
  }
  CHECK(report.figures.stored == 150);
  CHECK(report.figures.fetched == 90);
  CHECK(report.figures.requests == 110);
  CHECK(trial.observer.last.requests == 110);
}

TEST_CASE("the fifth death of a coordinator with nothing stored in between ends the run") {
  Trial trial;
  trial.coordinator = [](const Voice& voice, size_t) {
    voice.figures(1'000, 0);
    return 3;
  };
  const Report report = trial.run();
  CHECK(report.exit == ExitStatus::fatal);
  CHECK(trial.coordinators() == 5);
  for (const char* part : {"5 deaths in a row", "nothing stored in between",
                           "the last: the coordinator, exited with 3",
                           "everything that is recorded stays", "run the same command again"}) {
    CAPTURE(part);
    CHECK(holds(report.text, part));
  }
  CHECK_FALSE(trial.socket_stands());
}

TEST_CASE("deaths of the coordinator and of workers are counted together") {
  Trial trial;
  trial.job.workers = 1;
  // The first two coordinators die, then workers do.
  trial.coordinator = [&](const Voice& voice, size_t number) {
    trial.wait_for_workers(number);
    if (number <= 2) return 1;
    for (;;) {
      voice.figures(0, 0);
      rest(50);
    }
  };
  trial.worker = [&] {
    if (trial.lines("workers").size() < 3) wait_for_ever();
    return 9;
  };
  const Report report = trial.run();
  CHECK(report.exit == ExitStatus::fatal);
  CHECK(trial.coordinators() == 3);
  CHECK(holds(report.text, "5 deaths in a row"));
  CHECK(holds(report.text, "the last: worker 0, exited with 9"));
}

TEST_CASE("as long as something is stored in between, deaths go on and so does the run") {
  Trial trial;
  trial.coordinator = [](const Voice& voice, size_t number) {
    if (number > 7) return voice.done(ExitStatus::complete);
    voice.figures(number, 0);
    voice.figures(number + 1, 1);
    return 1;
  };
  CHECK(trial.run().exit == ExitStatus::complete);
  CHECK(trial.coordinators() == 8);
}

TEST_CASE("a coordinator that falls silent is killed, and what it used is accounted for") {
  Accounts before;
  add_own(before);
  Trial trial;
  trial.job.coordinator_patience = Millis(1'000);
  trial.worker = [stay = trial.worker] {
    burn_cpu(0.15);
    return stay();
  };
  SUBCASE("it is stopped") {
    trial.coordinator = [](const Voice& voice, size_t number) {
      if (number > 1) return voice.done(ExitStatus::complete);
      burn_cpu(0.15);
      voice.figures(1, 1);
      return ::raise(SIGSTOP);
    };
  }
  SUBCASE("it has closed its end, and lives") {
    trial.coordinator = [](const Voice& voice, size_t number) {
      if (number > 1) return voice.done(ExitStatus::complete);
      burn_cpu(0.15);
      ::close(voice.fd());
      wait_for_ever();
      return 0;
    };
  }
  SUBCASE("it sends what is no message") {
    trial.coordinator = [](const Voice& voice, size_t number) {
      if (number > 1) return voice.done(ExitStatus::complete);
      burn_cpu(0.15);
      (void)!::send(voice.fd(), "hello, world", 12, MSG_NOSIGNAL);
      wait_for_ever();
      return 0;
    };
  }
  const Report report = trial.run();
  CHECK(report.exit == ExitStatus::complete);
  CHECK(trial.coordinators() == 2);
  CHECK(report.cpu_seconds - before.cpu_seconds > 0.2);
}

TEST_CASE("a run whose coordinators all fall silent ends with that reason") {
  Trial trial;
  trial.job.coordinator_patience = Millis(20);
  trial.coordinator = [](const Voice&, size_t) { return ::raise(SIGSTOP); };
  const Report report = trial.run();
  CHECK(report.exit == ExitStatus::fatal);
  CHECK(holds(report.text, "the last: the coordinator, silent for 0.02 s, killed"));
}

TEST_CASE("a supervisor that was away itself accuses nobody") {
  Trial trial;
  trial.job.coordinator_patience = Millis(1'000);
  bool both = false;
  SUBCASE("alone") {}
  SUBCASE("the coordinator too") {
    both = true;
  }
  trial.coordinator = [&](const Voice& voice, size_t) {
    const pid_t supervisor = ::getppid();
    const pid_t self = ::getpid();
    in_the_background([=] {
      rest(1'500);
      ::kill(supervisor, SIGCONT);
      rest(200);  // in which it could judge
      ::kill(self, SIGCONT);
    });
    ::kill(supervisor, SIGSTOP);
    if (both) ::raise(SIGSTOP);
    for (int i = 0; i < 40; ++i) {
      voice.figures(1, 1);
      rest(50);
    }
    return voice.done(ExitStatus::complete);
  };
  // In a process that may be stopped.
  CHECK(in_child([&] { return static_cast<int>(trial.run().exit); }) == 0);
  CHECK(trial.coordinators() == 1);
}

TEST_CASE("a coordinator that dies while draining ends the run as interrupted") {
  Trial trial;
  trial.coordinator = [](const Voice& voice, size_t) {
    voice.figures(3, 3);
    ::kill(::getppid(), SIGTERM);
    voice.wait_for_a_word();
    return ::raise(SIGKILL);
  };
  const Report report = trial.run();
  CHECK(report.exit == ExitStatus::interrupted);
  CHECK(
      holds(report.text, "stopped on request; the coordinator died (killed by signal 9 (Killed))"));
  CHECK(report.figures.stored == 3);
  CHECK(trial.coordinators() == 1);
}

TEST_CASE("a stop signal is obeyed before the next worker is forked") {
  Trial trial;
  trial.job.workers = 1'000;
  trial.coordinator = [](const Voice& voice, size_t) {
    voice.wait_for_a_word();
    return voice.done(ExitStatus::interrupted, "stopped on request");
  };
  sigset_t stop, before;
  ::sigemptyset(&stop);
  ::sigaddset(&stop, SIGTERM);
  REQUIRE(::sigprocmask(SIG_BLOCK, &stop, &before) == 0);
  ::raise(SIGTERM);  // so that it is there from the start
  const Report report = trial.run();
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  CHECK(report.exit == ExitStatus::interrupted);
  CHECK(trial.lines("workers").size() <= 1);
}

TEST_CASE("the figures of a run that is given up add up") {
  Trial trial;
  trial.coordinator = [](const Voice& voice, size_t) {
    Figures figures;
    figures.listed = 600;
    figures.stored = 34;
    voice.figures(figures);
    return 1;
  };
  const Report report = trial.run();
  CHECK(report.exit == ExitStatus::fatal);
  CHECK(report.figures.stored == 34);
  CHECK(report.figures.listed == 34);
}

TEST_CASE("between two coordinators a stop signal ends the run at once") {
  Trial trial;
  trial.coordinator = [](const Voice&, size_t number) {
    const pid_t supervisor = ::getppid();
    const pid_t self = ::getpid();
    if (number == 4) {  // after which there is a wait of at least 400 ms
      in_the_background([=] {
        while (!is_gone(self))
          rest(1);
        ::kill(supervisor, SIGTERM);
      });
    }
    return 1;
  };
  const Report report = trial.run();
  CHECK(report.exit == ExitStatus::interrupted);
  CHECK(report.text == "stopped on request");
  CHECK(trial.coordinators() == 4);
}

TEST_CASE("no crew is started before the last of the one before is reaped") {
  Trial trial;
  trial.job.workers = 1;
  trial.coordinator = [&](const Voice& voice, size_t number) {
    trial.wait_for_workers(1);
    const pid_t worker = Trial::pid(trial.lines("workers")[0]);
    if (number > 1) return is_gone(worker) ? voice.done(ExitStatus::complete) : 1;
    in_the_background([&] {
      trial.note("traced", ::ptrace(PTRACE_SEIZE, worker, nullptr, nullptr) == 0 ? "y\n" : "n\n");
      rest(1'000);
    });
    while (trial.lines("traced").empty())
      rest(1);
    return 1;
  };
  const TimePoint begin = monotonic_now();
  CHECK(trial.run().exit == ExitStatus::complete);
  CHECK(trial.coordinators() == 2);
  if (trial.lines("traced").front() == "y") CHECK(monotonic_now() - begin >= Millis(900));
}

TEST_CASE("a child that cannot be reaped does not keep a run from its end") {
  Trial trial;
  trial.job.workers = 1;
  // Held by a tracer that does not let go, a killed child stays (child_test.cc).
  trial.coordinator = [&](const Voice& voice, size_t) {
    trial.wait_for_workers(1);
    const pid_t worker = Trial::pid(trial.lines("workers")[0]);
    const pid_t tracer = in_the_background([&] {
      trial.note("traced", ::ptrace(PTRACE_SEIZE, worker, nullptr, nullptr) == 0 ? "y\n" : "n\n");
      rest(60'000);
    });
    trial.note("tracer", fmt::format("{}\n", tracer));
    while (trial.lines("traced").empty())
      rest(1);
    ::kill(::getppid(), SIGTERM);
    voice.wait_for_a_word();
    ::kill(::getppid(), SIGTERM);
    wait_for_ever();
    return 0;
  };
  const TimePoint begin = monotonic_now();
  const Report report = trial.run();
  const Millis took = monotonic_now() - begin;
  CHECK(report.exit == ExitStatus::interrupted);
  CHECK(took < Millis(6'000));
  const bool was_traced = trial.lines("traced").front() == "y";
  if (was_traced) CHECK(took >= Millis(2'000));
  CHECK_FALSE(trial.socket_stands());
  ::kill(std::stoi(trial.lines("tracer").front()), SIGKILL);
  if (was_traced) {
    const pid_t worker = Trial::pid(trial.lines("workers")[0]);
    CHECK(::waitpid(worker, nullptr, 0) == worker);
  }
}
