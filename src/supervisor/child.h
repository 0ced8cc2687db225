// Child processes of the supervisor: forked, tied to its life, reaped with their accounts.
//
// The supervisor is one thread and never runs an event loop, so that every fork is a clean one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace gigafetch::supervisor {

// What dead children have used.
struct Accounts {
  double cpu_seconds = 0;       // user and system, of all of them
  uint64_t peak_rss_bytes = 0;  // of the largest
};

// How a child ended.
struct Death {
  pid_t pid = 0;
  int wait_status = 0;
  // "killed by signal 9 (Killed)", "exited with 1"
  std::string text() const;
};

// Forks a child that runs `body` and ends with its result. In the child, signals have their usual
// effect but for SIGINT, SIGTERM and SIGHUP, which are the supervisor's to judge, and SIGPIPE; it
// is killed when the supervisor dies. `name` is what ps and top show (15 bytes at most).
Result<pid_t> fork_child(const std::string& name, const std::function<int()>& body);

// Takes the child `pid` if it is dead, and adds what it used to `accounts`; -1 stands for any
// child.
bool reap_child(pid_t pid, Death& death, Accounts& accounts);

// Kills these children and waits until they are gone, but no longer than `patience` for all of them
// together: who waits for a disk cannot be ended. Returns those that are still there.
std::vector<pid_t> kill_and_reap(std::vector<pid_t> pids, Millis patience, Accounts& accounts);

// Adds the calling process's own use.
void add_own(Accounts& accounts);

}  // namespace gigafetch::supervisor
