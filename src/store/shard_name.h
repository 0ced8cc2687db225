// ShardName: what a shard is called in the output folder.
//
//     worker-00-000000.tar         the first shard of worker 0
//     worker-15-000003.tar.zst     one that is compressed
//     worker-15-000003.idx         its index (store/shard_index.h)
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gigafetch::store {

// Which shard: a worker numbers its own. One in which something was committed keeps its number.
struct ShardId {
  uint32_t worker = 0;
  uint32_t number = 0;
  auto operator<=>(const ShardId&) const = default;
};

struct ShardName {
  ShardId id;
  bool compressed = false;
  bool operator==(const ShardName&) const = default;
};

std::string file_of(const ShardName& name);
std::string index_file_of(const ShardId& id);

// The shard whose file is called so; nullopt when no shard is.
std::optional<ShardName> shard_of_file(std::string_view file);
// The same for indexes.
std::optional<ShardId> shard_of_index_file(std::string_view file);

}  // namespace gigafetch::store
