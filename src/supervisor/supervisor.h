// The supervisor: forks the coordinator and the workers, keeps them alive, ends them.
//
//     supervise()
//      ├─ coordinator    listens on STATE/socket; a socketpair to the supervisor
//      ├─ worker 0       connects to STATE/socket
//      └─ ...
//
// A worker that dies is forked again. When the coordinator dies, or workers die again and again
// with nothing stored in between, the run ends. SIGINT, SIGTERM and SIGHUP stop the listing and let
// what is in flight settle; a second one stops at once. Everything is waited for in one poll(2).
#pragma once

#include <cstdint>
#include <string>

#include "base/exit_status.h"
#include "base/figures.h"
#include "base/log.h"
#include "coordinator/settings.h"
#include "worker/settings.h"

namespace gigafetch::supervisor {

struct Job {
  coordinator::Settings coordinator;
  worker::Settings worker;
  uint32_t workers = 1;
  LogLevel log_level = LogLevel::warning;
  int output_fd = -1;  // borrowed
  int state_fd = -1;   // borrowed; the folder must be locked by the caller
};

struct Report {
  ExitStatus exit = ExitStatus::fatal;
  std::string text;  // why, when not complete
  Figures figures;
  double seconds = 0;
  double cpu_seconds = 0;       // of the whole process tree
  uint64_t peak_rss_bytes = 0;  // of the largest process
};

// Told about the run while it goes on. Must return soon.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_figures(const Figures& figures, double seconds) = 0;
};

// Runs a job to its end. The calling process must be single-threaded and must never have run an
// event loop. Other children of it are left alone.
Report supervise(const Job& job, Observer& observer);

}  // namespace gigafetch::supervisor
