// ShardSums: what is in shards, all in all: enough to tell whether it is what was listed and
// stored.
#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"
#include "store/layout.h"
#include "store/name_sums.h"
#include "store/packed_files.h"
#include "store/set_hash.h"
#include "store/shard_members.h"

namespace gigafetch::store {

struct ShardSums {
  SetHash names;           // of the members that are a name's, and whole
  Hash128 content;         // sum of their content_hash
  uint64_t bytes = 0;      // of their bodies
  uint64_t strangers = 0;  // members that no name leads to

  void add(const ShardSums& other);
};

struct SumHooks {
  // Now and then, with what it has so far.
  std::function<void(const ShardSums&)> on_read;
  std::function<void(const Error& why, bool covered)> on_damage;  // as of MemberHooks
  // Of each member that is a name's, whole or not, with the name's hash; may be empty.
  std::function<Result<void>(const ShardMember&, const Hash128&)> on_name;
};

// Reads a shard to its end, around what is damaged: that is in no sum. Its names are added to
// `names` too. Fails only with the error of a hook.
Result<ShardSums> sum_shard(int output_fd, const CountedShard& shard, Layout layout,
                            NameSums& names, const SumHooks& hooks);

}  // namespace gigafetch::store
