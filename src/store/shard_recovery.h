// Bringing the shards on disk to what the ledger says of them: before a run hands out its first
// name, and when it has settled its last.
#pragma once

#include <vector>

#include "base/result.h"
#include "store/shard_ends.h"

namespace gigafetch::store {

// Cuts each open shard to its end and puts an end of archive behind it; removes the shards that the
// ledger knows nothing of, with their indexes. Gives the shards that it has finished. Nobody may be
// writing to a shard meanwhile. Done again, after a death in the middle of it, it comes to the
// same.
//
// `sync`: fdatasync each before it is called finished, as its appends were (--durability file).
// Fails (malformed) when an open shard is gone or shorter than its end: files that were stored are
// lost; or (exists) when it is there twice, compressed and not.
Result<std::vector<ShardEnd>> close_shards(int output_fd, const ShardEnds& ends, bool sync);

// Whether a shard, or an index of one, is in the folder.
Result<bool> has_shards(int output_fd);
// Removes all of them.
Result<void> remove_shards(int output_fd);

}  // namespace gigafetch::store
