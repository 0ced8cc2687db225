#include "store/shard_index.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <type_traits>
#include <utility>

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
// Half a MiB of entries. A shard of a gigabyte has some sixteen runs of files of 100 bytes, or two
// hundred when it is compressed.
constexpr size_t kRunEntries = size_t{1} << 16;
// Earlier programs wrote longer ones, which are read all the same.
constexpr size_t kLongestRunEntries = size_t{1} << 18;
// How far from where evenly spread hashes would have it an entry is, at most times.
constexpr size_t kNear = 256;

bool is_before(const IndexEntry& a, const IndexEntry& b) {
  return a.hash != b.hash ? a.hash < b.hash : a.block < b.block;
}

// By hash, and where that is equal in the order of their places, without further memory: each goes
// to the bucket of its first bits, in a circle of swaps, and there are few in a bucket. Names that
// were chosen to have one hash make it slower, not quadratic.
void sort_in_place(std::span<IndexEntry> entries) {
  constexpr unsigned kBits = 12;
  constexpr size_t kBuckets = size_t{1} << kBits;
  const auto bucket = [](const IndexEntry& entry) { return entry.hash >> (32 - kBits); };
  std::array<uint32_t, kBuckets> next{}, ends{};
  for (const IndexEntry& entry : entries)
    ++ends[bucket(entry)];
  uint32_t end = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    next[i] = end;
    end = ends[i] += end;
  }
  uint32_t begin = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    for (; next[i] < ends[i]; ++next[i]) {
      IndexEntry entry = entries[next[i]];
      while (bucket(entry) != i)
        std::swap(entry, entries[next[bucket(entry)]++]);
      entries[next[i]] = entry;
    }
    std::sort(entries.begin() + begin, entries.begin() + ends[i], is_before);
    begin = ends[i];
  }
}

void put_pair(std::string& out, uint32_t first, uint32_t second) {
  put_le<uint32_t>(out, first);
  put_le<uint32_t>(out, second);
}

// `pairs` as they are in the file. (See base/byte_order.h.)
template <typename Pair>
std::string_view bytes_of(const std::vector<Pair>& pairs) {
  static_assert(sizeof(Pair) == kPairBytes && std::is_trivially_copyable_v<Pair>);
  return {reinterpret_cast<const char*>(pairs.data()), pairs.size() * sizeof(Pair)};
}

// Of a run that is in parts: its header up to the checksum, and what stands behind that.
uint64_t checksum_of(std::string_view head, std::initializer_list<std::string_view> rest) {
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_64bits_reset_withSeed(&state, XXH3_64bits(head.data(), head.size()));
  for (const std::string_view part : rest)
    XXH3_64bits_update(&state, part.data(), part.size());
  return XXH3_64bits_digest(&state);
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
  sort_in_place(entries_);
  std::string head;
  put_pair(head, kMagic, static_cast<uint32_t>(entries_.size()));
  put_pair(head, static_cast<uint32_t>(frames_.size()), 0);
  put_le<uint64_t>(head, begin_);
  put_le<uint64_t>(head, end_);
  const std::string_view entries = bytes_of(entries_), frames = bytes_of(frames_);
  put_le<uint64_t>(head, checksum_of(head, {entries, frames}));
  for (const std::string_view part : {std::string_view(head), entries, frames}) {
    if (write_all(fd_.get(), part) == 0) continue;
    log_warning("the index of a shard cannot be written: 'cat' will have to read the shard");
    fd_.reset();
    break;
  }
  entries_.clear();
  frames_.clear();
}

// Each frame has a member or more.
const size_t IndexRun::kMaxBytes = kHeaderBytes + 2 * kLongestRunEntries * kPairBytes;

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
  return get_le<uint64_t>(run_.data() + kChecksumAt) ==
         checksum_of(run_.substr(0, kChecksumAt), {run_.substr(kHeaderBytes)});
}

IndexEntry IndexRun::entry(size_t at) const {
  const char* const pair = entries_.data() + at * kPairBytes;
  return {get_le<uint32_t>(pair), get_le<uint32_t>(pair + 4)};
}

// The first entry of this hash, or of a higher one. Hashes are spread evenly: it is looked for
// where it is to be expected, and from there in steps that double, so that few pages are read.
size_t IndexRun::first_of(uint32_t hash) const {
  const size_t count = entries_.size() / kPairBytes;
  if (count == 0) return 0;
  size_t low = 0, high = count;  // those before `low` are lower, those from `high` on are not
  const auto lies_behind = [&](size_t at) {
    const bool behind = entry(at).hash < hash;
    (behind ? low : high) = behind ? at + 1 : at;
    return behind;
  };
  const bool up = lies_behind(static_cast<size_t>(uint64_t{hash} * count >> 32));
  for (size_t step = kNear; high - low > step; step *= 2) {
    if (lies_behind(up ? low + step : high - step) != up) break;
  }
  while (low < high)
    lies_behind(low + (high - low) / 2);
  return low;
}

std::vector<MemberPlace> IndexRun::find(uint32_t hash) const {
  std::vector<MemberPlace> places;
  const size_t count = entries_.size() / kPairBytes;
  for (size_t at = first_of(hash); at < count && entry(at).hash == hash; ++at)
    places.push_back(place_of(entry(at).block));
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
