// Reads all shards of a job, several at a time, each by a process of its own kind.
#pragma once

#include <string>
#include <vector>

#include "store/shard_sums.h"
#include "supervisor/child.h"
#include "supervisor/supervisor.h"

namespace gigafetch::cli {

struct PackedSums {
  store::ShardSums sums;
  store::NameSums names;
  std::vector<std::string> damages;  // what cannot be read, and where: it is in no sum
  supervisor::Accounts accounts;     // of the processes that read
  double seconds = 0;
};

// With so many `processes`. The calling process must be single-threaded and must never have run an
// event loop. Fails when processes cannot be made, or die.
Result<PackedSums> sum_shards(int output_fd, std::vector<store::CountedShard> shards,
                              store::Layout layout, uint32_t processes,
                              supervisor::Observer& observer);

}  // namespace gigafetch::cli
