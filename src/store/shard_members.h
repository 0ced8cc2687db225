// The members of a shard from its beginning to its end, whatever in it is damaged.
//
// Behind damage the index beside the shard tells where the next member begins, and where what it
// covers ends. Of what no good run of it covers, all behind damage is lost, up to where the next
// run begins. Memory is bounded.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "store/layout.h"
#include "store/packed_files.h"
#include "store/set_hash.h"
#include "store/shard_index.h"

namespace gigafetch::store {

struct ShardMember {
  std::string path;
  std::optional<std::string> name;  // whose path it is; nullopt: no name leads there
  MemberPlace place;
  uint64_t size = 0;
  uint64_t mtime = 0;
  Hash128 content;     // content_hash, where bodies of names are read
  std::string damage;  // what is wrong with the body; empty when it is whole, or was not read
};

struct MemberHooks {
  // An error ends the walk.
  std::function<Result<void>(const ShardMember&)> on_member;
  // What cannot be read, and where. `covered`: the index names all members that were lost by it
  // and stand before the next one that is told; else nobody knows which they are.
  std::function<void(const Error& why, bool covered)> on_damage;
};

enum class Bodies : uint8_t { read, leave_out };

// `output_fd` is borrowed for the call. Fails only with the error of a hook.
Result<void> for_members(int output_fd, const CountedShard& shard, Layout layout, Bodies bodies,
                         const MemberHooks& hooks);

}  // namespace gigafetch::store
