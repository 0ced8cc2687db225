// MemberJoin: the names that were listed against the members that are in shards, with bounded
// memory: what is missing, what is damaged, what nobody listed.
//
// Both sides may come in any order, with repetitions, and from several processes forked after
// create(), each of which flushes at its end. They are divided over temporary files by their hashes
// (store/partitions.h), and each part is compared in memory: a hash join with partitions on disk
// (DeWitt et al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984). A
// name listed takes some 19 bytes and its own on disk, a member some 50.
//
// Rejected: passes over the shards for one range of hashes after the other (no disk, but a billion
// names in 48 MiB are some 500 passes); merging the indexes beside the shards (32-bit hashes, one
// name in four of a billion to be looked up after all; and indexes may be missing).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/partitions.h"
#include "store/set_hash.h"
#include "store/shard_members.h"

namespace gigafetch::store {

class MemberJoin {
 public:
  // Where a member stands: the shards are numbered by the caller.
  struct Spot {
    uint64_t shard = 0;
    MemberPlace place;
    auto operator<=>(const Spot&) const = default;
  };
  struct Report {
    uint64_t missing = 0;        // names listed that no member is of: told to on_missing
    uint64_t different = 0;      // whose member is damaged: told to on_different
    uint64_t bytes = 0;          // of the bodies of the other names listed
    Hash128 content;             // sum of their content_hash
    uint64_t extra = 0;          // names of members that were not listed
    uint64_t strangers = 0;      // members that no name leads to
    uint64_t again = 0;          // members of names that have another one stored later
    std::vector<Spot> examples;  // of extras and strangers: the first, kMaxExamples at most
  };
  struct Hooks {
    std::function<Result<void>(std::string_view name)> on_missing;
    std::function<Result<void>(std::string_view name, std::string_view damage)> on_different;
    // That of each shard (store/shard_ends.h): of two members the one in the later epoch was stored
    // later; within one, the one with the later time. Empty: all are of one.
    std::vector<size_t> epochs = {};
  };
  static constexpr size_t kMaxExamples = 10;

  // Makes temporary files (without names) in `folder_fd`, which is borrowed.
  static Result<MemberJoin> create(int folder_fd);

  Result<void> add_listed(const Hash128& hash, std::string_view name);
  // `hash` is its name's; of a stranger, its path's.
  Result<void> add_member(const Hash128& hash, const ShardMember& member, uint64_t shard);
  // Writes what this process has added.
  Result<void> flush();

  // Compares; call once, in the process that created it, when all others have flushed. A name that
  // is listed several times is told as often; of several members of a name the one stored last
  // counts. Ends early with the error of a hook.
  Result<Report> finish(const Hooks& hooks);

 private:
  explicit MemberJoin(Partitions records) : records_(std::move(records)) {}

  Partitions records_;
  std::string record_;
};

}  // namespace gigafetch::store
