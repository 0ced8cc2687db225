// The worker process: batches in, files into the sink, outcomes out.
#pragma once

#include <cstdint>

#include "worker/settings.h"

namespace gigafetch::worker {

// What the supervisor hands to a worker process, besides the settings. The descriptors are
// borrowed.
struct Place {
  uint32_t index = 0;   // of the worker, from 0
  uint64_t run_id = 0;  // proves to the coordinator that the worker is of this run
  int state_fd = -1;    // the state folder: the coordinator's socket is in it
  int output_fd = -1;   // the output folder
};

// Runs until the coordinator says stop or is gone; returns the process's exit status. Called once,
// in a freshly forked process that has not run a loop.
int run_worker(const Settings& settings, const Place& place);

}  // namespace gigafetch::worker
