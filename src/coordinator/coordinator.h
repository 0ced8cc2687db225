// The coordinator process: lists names, plans batches, hands them to workers, counts outcomes.
#pragma once

#include <cstdint>

#include "coordinator/settings.h"

namespace gigafetch::coordinator {

// What the supervisor hands to the coordinator process, besides the settings.
struct Place {
  uint64_t run_id = 0;
  int state_fd = -1;    // the state folder, borrowed
  int output_fd = -1;   // the output folder, borrowed
  int listen_fd = -1;   // the socket that workers connect to, listening; taken over
  int control_fd = -1;  // a stream socket to the supervisor; taken over
};

// Runs until the job is done, stopped or hopeless; the supervisor learns which from a wire::Done.
// Returns the process's exit status: 0 when Done was sent. Called once, in a freshly forked process
// that has not run a loop.
int run_coordinator(const Settings& settings, const Place& place);

}  // namespace gigafetch::coordinator
