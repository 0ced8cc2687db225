// The index beside a shard: where in it a name's member stands. Built as the shard is written; an
// aid, not a record: what it does not cover, or no longer rightly, is looked for in the shard.
//
// A file of runs, each sorted, so that a name is found with one search a run, which reads a page of
// it or two:
//
//     magic u32 | entries u32 | frames u32 | zero u32 | begin u64 | end u64 | checksum u64
//     entries times: hash u32, block u32       ascending
//     frames times: block u32, offset u32      ascending
//
// A run covers the shard's bytes from `begin` to `end`. `hash` is the low half of XXH3-64 of the
// name. `block` counts the tar blocks (512 bytes) of the run up to the member's header, before any
// compression. A frame begins at `block` and stands in the shard at `begin` + `offset`; a shard
// that is not compressed has none. The checksum is XXH3-64 of all else in the run. Integers are
// little-endian.
//
// A run is short, for it is held in memory until it is written, by each worker.
//
// Rejected: a hash table over the whole shard (does not grow as it is written; a gigabyte of 20
// million names would have to be held until then); sorted runs merged into larger ones (writes
// everything several times, for a search that takes milliseconds); a filter a batch (half the size,
// but reads all of it for one name).
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gigafetch::store {

// What a name is looked for by.
uint32_t index_hash(std::string_view name);

// A member as it waits for its place: its header begins at `block` of what is appended next.
struct IndexEntry {
  uint32_t hash = 0;
  uint32_t block = 0;
};

// Writes the index of one shard. Worker, loop thread only. An index that cannot be written is
// given up silently: the shard is what counts.
class IndexWriter {
 public:
  IndexWriter() = default;
  // Appends to `fd`, the empty index of a shard that is compressed or not.
  IndexWriter(UniqueFd fd, bool compressed) : fd_(std::move(fd)), compressed_(compressed) {}

  // `members` were appended to the shard: `blocks` tar blocks, which begin at `offset` of the shard
  // and end before `end`.
  // (A file that was streamed stands alone in its frames: for it `blocks` need not be right.)
  void add(std::span<const IndexEntry> members, uint64_t blocks, uint64_t offset, uint64_t end);
  // Writes what has gathered.
  void flush();

 private:
  struct Frame {
    uint32_t block = 0;
    uint32_t offset = 0;
  };

  UniqueFd fd_;
  bool compressed_ = false;
  std::vector<IndexEntry> entries_;
  std::vector<Frame> frames_;
  uint64_t begin_ = 0;  // of the run, in the shard
  uint64_t end_ = 0;
  uint64_t blocks_ = 0;  // in the run so far
};

// Where a member stands, or may: read the shard from `offset` on, and leave out `skip` bytes of the
// archive that comes.
struct MemberPlace {
  uint64_t offset = 0;
  uint64_t skip = 0;
  auto operator<=>(const MemberPlace&) const = default;
};

// A member that an index names: where, and the hash of its name.
struct IndexedMember {
  MemberPlace place;
  uint32_t hash = 0;
};

// One run as read back. Views into the index's bytes.
class IndexRun {
 public:
  // The run that `bytes` begins with, and takes it off them; nullopt when there is none whole.
  static std::optional<IndexRun> take(std::string_view& bytes);

  uint64_t begin() const { return begin_; }
  uint64_t end() const { return end_; }
  // Whether its bytes are those that were written. Reads them all.
  bool intact() const;

  // Places of members whose name has this hash, in the order in which they were written.
  std::vector<MemberPlace> find(uint32_t hash) const;
  // All members, in the order of their places.
  std::vector<IndexedMember> members() const;

  // Bytes of the longest run that is ever written.
  static const size_t kMaxBytes;

 private:
  IndexEntry entry(size_t at) const;
  size_t first_of(uint32_t hash) const;
  MemberPlace place_of(uint32_t block) const;

  std::string_view run_;  // whole
  std::string_view entries_;
  std::string_view frames_;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
};

}  // namespace gigafetch::store
