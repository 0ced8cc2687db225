// Reads all shards of a job, several at a time, each by a process of its own kind.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "store/member_table.h"
#include "store/shard_sums.h"
#include "supervisor/child.h"
#include "supervisor/supervisor.h"

namespace gigafetch::cli {

struct PackedSums {
  store::ShardSums sums;
  store::NameSums names;
  std::vector<std::string> damages;  // what cannot be read, and where: it is in no sum
  std::optional<std::string> lost;   // the first damage of which no index tells what it has lost
  supervisor::Accounts accounts;     // of the processes that read
  double seconds = 0;
};

// With so many `processes`; each adds what it reads to `table` too, if there is one. The calling
// process must be single-threaded and must never have run an event loop. Fails when processes
// cannot be made, or die, or when the table cannot be written.
Result<PackedSums> sum_shards(int output_fd, const std::vector<store::CountedShard>& shards,
                              store::Layout layout, uint32_t processes,
                              store::MemberTableBuilder* table, supervisor::Observer& observer);

}  // namespace gigafetch::cli
