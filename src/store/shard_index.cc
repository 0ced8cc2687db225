#include "store/shard_index.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>

#include "base/byte_order.h"
#include "base/io.h"
#include "base/log.h"
#include "store/tar_format.h"

namespace gigafetch::store {
namespace {

constexpr uint32_t kMagic = 0x49534647;  // "GFSI"
constexpr size_t kHeaderBytes = 40;
constexpr size_t kChecksumAt = 32;
constexpr size_t kPairBytes = 2 * sizeof(uint32_t);
// Two MiB of entries. A shard of a gigabyte has some eighty runs of small files.
constexpr size_t kRunEntries = size_t{1} << 18;

// By hash, keeping the order of equal ones: a radix sort, several times as fast as a comparing one.
void sort_by_hash(std::vector<IndexEntry>& entries) {
  constexpr unsigned kBits = 11;
  constexpr size_t kBuckets = size_t{1} << kBits;
  std::vector<IndexEntry> other(entries.size());
  for (unsigned shift = 0; shift < 32; shift += kBits) {
    std::array<uint32_t, kBuckets> begins{};
    const auto bucket = [shift](const IndexEntry& entry) {
      return entry.hash >> shift & (kBuckets - 1);
    };
    for (const IndexEntry& entry : entries)
      ++begins[bucket(entry)];
    uint32_t next = 0;
    for (uint32_t& begin : begins)
      next += std::exchange(begin, next);
    for (const IndexEntry& entry : entries)
      other[begins[bucket(entry)]++] = entry;
    entries.swap(other);
  }
}

void put_pair(std::string& out, uint32_t first, uint32_t second) {
  put_le<uint32_t>(out, first);
  put_le<uint32_t>(out, second);
}

uint64_t checksum_of(std::string_view run) {
  const std::string_view head = run.substr(0, kChecksumAt), rest = run.substr(kHeaderBytes);
  return XXH3_64bits_withSeed(rest.data(), rest.size(), XXH3_64bits(head.data(), head.size()));
}

}  // namespace

uint32_t index_hash(std::string_view name) {
  return static_cast<uint32_t>(XXH3_64bits(name.data(), name.size()));
}

void IndexWriter::add(std::span<const IndexEntry> members, uint64_t blocks, uint64_t offset,
                      uint64_t end) {
  if (!fd_) return;
  const bool fits = blocks_ + blocks <= UINT32_MAX && end - begin_ <= UINT32_MAX &&
                    entries_.size() + members.size() <= kRunEntries;
  if (!entries_.empty() && !fits) flush();
  if (entries_.empty()) {
    // At once, and not by doubling: what is never used of it takes no memory.
    entries_.reserve(kRunEntries);
    begin_ = offset;
    blocks_ = 0;
  }
  const auto base = static_cast<uint32_t>(blocks_);
  if (compressed_) frames_.push_back({base, static_cast<uint32_t>(offset - begin_)});
  for (const IndexEntry& member : members)
    entries_.push_back({member.hash, base + member.block});
  blocks_ += blocks;
  end_ = end;
}

void IndexWriter::flush() {
  if (!fd_ || entries_.empty()) return;
  sort_by_hash(entries_);
  std::string run;
  run.reserve(kHeaderBytes + (entries_.size() + frames_.size()) * kPairBytes);
  put_pair(run, kMagic, static_cast<uint32_t>(entries_.size()));
  put_pair(run, static_cast<uint32_t>(frames_.size()), 0);
  put_le<uint64_t>(run, begin_);
  put_le<uint64_t>(run, end_);
  put_le<uint64_t>(run, 0);
  for (const IndexEntry& entry : entries_)
    put_pair(run, entry.hash, entry.block);
  for (const Frame& frame : frames_)
    put_pair(run, frame.block, frame.offset);
  std::string checksum;
  put_le<uint64_t>(checksum, checksum_of(run));
  run.replace(kChecksumAt, checksum.size(), checksum);
  if (write_all(fd_.get(), run) != 0) {
    log_warning("the index of a shard cannot be written: 'cat' will have to read the shard");
    fd_.reset();
  }
  entries_.clear();
  frames_.clear();
}

// Each frame has a member or more.
const size_t IndexRun::kMaxBytes = kHeaderBytes + 2 * kRunEntries * kPairBytes;

std::optional<IndexRun> IndexRun::take(std::string_view& bytes) {
  if (bytes.size() < kHeaderBytes || get_le<uint32_t>(bytes.data()) != kMagic) return std::nullopt;
  const uint64_t entries = get_le<uint32_t>(bytes.data() + 4);
  const uint64_t frames = get_le<uint32_t>(bytes.data() + 8);
  const uint64_t size = kHeaderBytes + (entries + frames) * kPairBytes;
  if (bytes.size() < size) return std::nullopt;
  IndexRun run;
  run.run_ = bytes.substr(0, size);
  run.entries_ = bytes.substr(kHeaderBytes, entries * kPairBytes);
  run.frames_ = bytes.substr(kHeaderBytes + entries * kPairBytes, frames * kPairBytes);
  run.begin_ = get_le<uint64_t>(bytes.data() + 16);
  run.end_ = get_le<uint64_t>(bytes.data() + 24);
  bytes.remove_prefix(size);
  return run;
}

bool IndexRun::intact() const {
  return get_le<uint64_t>(run_.data() + kChecksumAt) == checksum_of(run_);
}

IndexEntry IndexRun::entry(size_t at) const {
  const char* const pair = entries_.data() + at * kPairBytes;
  return {get_le<uint32_t>(pair), get_le<uint32_t>(pair + 4)};
}

std::vector<MemberPlace> IndexRun::find(uint32_t hash) const {
  size_t low = 0, high = entries_.size() / kPairBytes;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (entry(middle).hash < hash) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  std::vector<MemberPlace> places;
  for (; low < entries_.size() / kPairBytes && entry(low).hash == hash; ++low)
    places.push_back(place_of(entry(low).block));
  return places;
}

std::vector<IndexedMember> IndexRun::members() const {
  std::vector<IndexedMember> members;
  members.reserve(entries_.size() / kPairBytes);
  for (size_t at = 0; at < entries_.size() / kPairBytes; ++at)
    members.push_back({place_of(entry(at).block), entry(at).hash});
  std::sort(members.begin(), members.end(),
            [](const auto& a, const auto& b) { return a.place < b.place; });
  return members;
}

MemberPlace IndexRun::place_of(uint32_t block) const {
  if (frames_.empty()) return {begin_ + uint64_t{block} * kTarBlock, 0};
  const auto frame = [&](size_t at) {
    const char* const pair = frames_.data() + at * kPairBytes;
    return MemberPlace{get_le<uint32_t>(pair + 4), get_le<uint32_t>(pair)};
  };
  // The last frame that begins at or before the block.
  size_t low = 0, high = frames_.size() / kPairBytes;
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    (frame(middle).skip <= block ? low : high) = middle;
  }
  const MemberPlace found = frame(low);
  return {begin_ + found.offset, (block - std::min<uint64_t>(block, found.skip)) * kTarBlock};
}

}  // namespace gigafetch::store
