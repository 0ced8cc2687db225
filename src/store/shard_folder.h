// The shards in an output folder, by their names.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "store/shard_name.h"

namespace gigafetch::store {

// Calls `on_file` with the shard that a file of the folder is (`shard`), or is the index of; ends
// early with its error.
Result<void> for_shard_files(
    int output_fd,
    const std::function<Result<void>(const std::string& file, const ShardId& id,
                                     const std::optional<ShardName>& shard)>& on_file);

// What to say of a shard that is there compressed and not compressed: somebody has unpacked it.
Error two_of_one(const ShardId& id);

}  // namespace gigafetch::store
