// What the host allows: descriptors and processors.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace gigafetch::supervisor {

// Raises the soft limit on open descriptors (RLIMIT_NOFILE) to the hard one; returns the limit.
uint64_t raise_descriptor_limit();

// How many of `wanted` connections a worker may open under that limit, beside the descriptors it
// needs for other things; 0 when there is no room for any.
uint32_t connections_within(uint64_t descriptor_limit, uint32_t wanted);

// The processors this process may run on, ascending (sched_getaffinity(2)).
std::vector<int> allowed_cpus();

// Pins the calling process to one processor.
Result<void> pin_to_cpu(int cpu);

}  // namespace gigafetch::supervisor
