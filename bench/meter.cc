// What a command costs, with all the processes that it starts.
//
//     meter CPUS REPORT COMMAND [ARGUMENT]...
//
// Runs COMMAND on the processors CPUS ("0" or "0,1"), waits until it and every process that came
// from it are gone, also those that lost their parent (PR_SET_CHILD_SUBREAPER), and writes to the
// file REPORT, as JSON: status (the command's exit status; 128 + N when signal N ended it),
// seconds, user and system (CPU seconds of all of them) and peak_kib (memory of the largest one).
//
// A program of its own, because a process inherits the peak memory of the one that forks it until
// it calls exec, and counts it as its own ever after: started by an interpreter, nothing would seem
// to be smaller than that.
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace {

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::_Exit(125);
}

void pin(const char* cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (char* end = nullptr; *cpus != '\0'; cpus = *end == ',' ? end + 1 : end) {
    const unsigned long cpu = std::strtoul(cpus, &end, 10);
    if (end == cpus || cpu >= CPU_SETSIZE) {
      std::fprintf(stderr, "not a list of processors: %s\n", cpus);
      std::_Exit(2);
    }
    CPU_SET(cpu, &set);
  }
  if (::sched_setaffinity(0, sizeof set, &set) != 0) die("sched_setaffinity");
}

// The exit status of `command`, once nothing of its tree is left.
int wait_for_all(pid_t command) {
  int result = 0;
  while (true) {
    int status = 0;
    const pid_t gone = ::wait(&status);
    if (gone < 0 && errno == EINTR) continue;
    if (gone < 0) return result;
    if (gone == command) result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: meter CPUS REPORT COMMAND [ARGUMENT]...\n");
    return 2;
  }
  pin(argv[1]);
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) die("prctl");

  const auto begin = std::chrono::steady_clock::now();
  const pid_t command = ::fork();
  if (command < 0) die("fork");
  if (command == 0) {
    ::execvp(argv[3], argv + 3);
    die(argv[3]);
  }
  // What is meant to end the command is sent to it; the report is written nevertheless.
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGTERM, SIG_IGN);
  const int status = wait_for_all(command);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;

  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  std::FILE* report = std::fopen(argv[2], "w");
  if (report == nullptr) die(argv[2]);
  std::fprintf(report, R"({"status":%d,"seconds":%.6f,"user":%.6f,"system":%.6f,"peak_kib":%ld})",
               status, took.count(), seconds(usage.ru_utime), seconds(usage.ru_stime),
               usage.ru_maxrss);
  return std::fclose(report) == 0 ? 0 : 125;
}
