// The embedded file service: an origin for trials, tests and benchmarks.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "origin/service.h"

namespace gigafetch::origin {

struct Settings {
  uint64_t files = 1'000'000;
  uint64_t size = 100;  // bytes of each file
  uint64_t page_size = 10'000;
  uint64_t seed = 1;
  Millis lag{0};          // between a request and its answer
  Faults faults;          // of each process
  bool counting = false;  // answer GET /count; sensible with a single process
};

// Serves `listening_fd` until the process is ended; returns only with an error. `instance` makes
// the faults of several processes differ.
Result<void> serve(const Settings& settings, UniqueFd listening_fd, uint32_t instance);

}  // namespace gigafetch::origin
