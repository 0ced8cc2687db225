// ShardSums: what is in shards, all in all: enough to tell whether it is what was listed and
// stored.
#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"
#include "store/layout.h"
#include "store/packed_files.h"
#include "store/set_hash.h"

namespace gigafetch::store {

struct ShardSums {
  SetHash names;           // of the members that are a name's
  Hash128 content;         // sum of their content_hash
  uint64_t bytes = 0;      // of their bodies
  uint64_t strangers = 0;  // members that no name leads to

  void add(const ShardSums& other);
};

// Reads a shard to its end. Calls `on_read` now and then, with what it has so far. Fails
// (malformed, with the place) when the shard is damaged.
Result<ShardSums> sum_shard(int output_fd, const CountedShard& shard, Layout layout,
                            const std::function<void(const ShardSums&)>& on_read);

// Calls `on_member` with the path of each member, and its name if it has one.
Result<void> for_members(
    int output_fd, const CountedShard& shard, Layout layout,
    const std::function<Result<void>(std::string_view path,
                                     const std::optional<std::string>& name)>& on_member);

}  // namespace gigafetch::store
