// The supervisor: forks the coordinator and the workers, keeps them alive, ends them.
//
//     supervise()
//      ├─ coordinator    listens on STATE/socket; a socketpair to the supervisor
//      ├─ worker 0       connects to STATE/socket
//      └─ ...
//
// A worker that dies is forked again. When the coordinator dies, or says nothing for so long that
// it is killed, all workers are ended and then all is forked again; it goes on from its ledger.
// When that happens again and again with nothing stored in between, the run ends. SIGINT, SIGTERM
// and SIGHUP stop the listing and let what is in flight settle; a second one stops at once.
// Everything is waited for in one poll(2), and every wait has an end.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.h"
#include "base/exit_status.h"
#include "base/figures.h"
#include "base/log.h"
#include "coordinator/coordinator.h"
#include "worker/worker.h"

namespace gigafetch::supervisor {

struct Job {
  coordinator::Settings coordinator;
  worker::Settings worker;
  uint32_t workers = 1;
  LogLevel log_level = LogLevel::warning;
  // A coordinator that says nothing for so long is killed; it speaks several times a second.
  Millis coordinator_patience{60'000};
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

// What the forked processes do; each returns its exit status. For tests: by default coordinator and
// worker of this program.
struct Roles {
  std::function<int(const coordinator::Place&)> coordinator;
  std::function<int(const worker::Place&)> worker;
};

// Runs a job to its end. The calling process must be single-threaded and must never have run an
// event loop. Other children of it are left alone.
Report supervise(const Job& job, Observer& observer);
Report supervise(const Job& job, Observer& observer, const Roles& roles);

}  // namespace gigafetch::supervisor
