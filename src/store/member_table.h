// MemberTable: where in the shards each name's member stands, for whoever looks for all names in
// another order: one or two reads for a name, however many there are, and no index beside a shard.
//
// A file without a name, 24 bytes for each member, sorted by the hash of its name:
//
//     hash u64 | offset u64 | shard u32 | block u32
//
// where a place's bytes to be left out are counted in tar blocks. It is built from parts of the
// members that are each sorted in memory (store/partitions.h).
//
// Rejected: the indexes beside the shards (a search in each of their runs: of a billion names there
// are 4,000; and as mapped files they are memory).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/partitions.h"
#include "store/set_hash.h"
#include "store/shard_index.h"
#include "store/shard_name.h"
#include "store/temporary_file.h"

namespace gigafetch::store {

struct MemberSpot {
  uint32_t shard = 0;  // its place among all
  MemberPlace place;
};

class MemberTable {
 public:
  // The members whose names may be this one, in the order of the shards and of their places.
  Result<std::vector<MemberSpot>> find(const Hash128& name) const;
  // The shards that MemberSpot counts.
  const std::vector<ShardId>& shards() const { return shards_; }
  // What is damaged, and may have held any name.
  const std::optional<Error>& lost() const { return lost_; }

 private:
  friend class MemberTableBuilder;
  struct Range {
    uint64_t begin = 0;
    uint64_t end = 0;
  };
  Range narrowed(Range range, uint64_t hash, Result<void>& read) const;

  TemporaryFile entries_;
  std::vector<uint64_t> begins_;  // of the entries, by the first bits of their hash
  std::vector<ShardId> shards_;
  std::optional<Error> lost_;
};

// Members may be added by several processes that were forked after create(): each flushes at its
// end.
class MemberTableBuilder {
 public:
  // Makes temporary files (without names) in `folder_fd`, which is borrowed.
  static Result<MemberTableBuilder> create(int folder_fd);

  Result<void> add(const Hash128& name, const MemberSpot& spot);
  Result<void> flush();
  // Sorts; call once, in the process that created it, when all others have flushed.
  Result<std::unique_ptr<const MemberTable>> finish(std::vector<ShardId> shards,
                                                    std::optional<Error> lost);

 private:
  MemberTableBuilder(int folder_fd, Partitions entries)
      : folder_fd_(folder_fd), entries_(std::move(entries)) {}

  int folder_fd_;
  Partitions entries_;
  std::string entry_;
};

}  // namespace gigafetch::store
