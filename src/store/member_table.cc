#include "store/member_table.h"

#include <algorithm>
#include <span>

#include "base/byte_order.h"
#include "store/tar_format.h"

namespace gigafetch::store {
namespace {

constexpr size_t kEntryBytes = 24;
// Entries that are read at once rather than searched.
constexpr uint64_t kFewEntries = 256;
constexpr unsigned kPrefixBits = 16;

struct Entry {
  uint64_t hash = 0;
  uint64_t offset = 0;
  uint32_t shard = 0;
  uint32_t block = 0;
  auto operator<=>(const Entry&) const = default;
};

Entry entry_at(const char* at) {
  return {get_le<uint64_t>(at), get_le<uint64_t>(at + 8), get_le<uint32_t>(at + 16),
          get_le<uint32_t>(at + 20)};
}

void put_entry(std::string& out, const Entry& entry) {
  put_le<uint64_t>(out, entry.hash);
  put_le<uint64_t>(out, entry.offset);
  put_le<uint32_t>(out, entry.shard);
  put_le<uint32_t>(out, entry.block);
}

size_t entry_size(std::string_view bytes) {
  return bytes.size() < kEntryBytes ? 0 : kEntryBytes;
}

// Sorts a part of all entries, in as much memory again, and appends it; counts by first bits.
Result<void> append_sorted(std::string part, TemporaryFile& to, std::span<uint64_t> counts) {
  if (part.size() % kEntryBytes != 0) return TemporaryFile::spoilt();
  std::vector<Entry> entries;
  entries.reserve(part.size() / kEntryBytes);
  for (size_t at = 0; at < part.size(); at += kEntryBytes)
    entries.push_back(entry_at(part.data() + at));
  std::sort(entries.begin(), entries.end());
  part.clear();
  for (const Entry& entry : entries) {
    put_entry(part, entry);
    ++counts[entry.hash >> (64 - kPrefixBits)];
  }
  return to.append(part);
}

}  // namespace

// Narrows where entries of `hash` may begin, to few, by where they should be among evenly spread
// ones, and by halves where that does not help.
MemberTable::Range MemberTable::narrowed(Range range, uint64_t hash, Result<void>& read) const {
  const double share =
      static_cast<double>(hash << kPrefixBits >> kPrefixBits) * 0x1p-48 /* of 64 - kPrefixBits */;
  const uint64_t count = range.end - range.begin;
  const uint64_t guess = range.begin + static_cast<uint64_t>(share * static_cast<double>(count));
  uint64_t probes[2] = {
      guess > range.begin + kFewEntries / 2 ? guess - kFewEntries / 2 : range.begin,
      guess + kFewEntries / 2};
  for (size_t i = 0; range.end - range.begin > kFewEntries && read; ++i) {
    const uint64_t middle = range.begin + (range.end - range.begin) / 2;
    const uint64_t probe =
        i < 2 && probes[i] > range.begin && probes[i] < range.end ? probes[i] : middle;
    char bytes[kEntryBytes];
    read = entries_.read(probe * kEntryBytes, bytes);
    (entry_at(bytes).hash < hash ? range.begin : range.end) = probe;
  }
  return range;
}

Result<std::vector<MemberSpot>> MemberTable::find(const Hash128& name) const {
  const uint64_t hash = name.low;
  const size_t prefix = hash >> (64 - kPrefixBits);
  const uint64_t last = begins_[prefix + 1];
  Result<void> read;
  Range range = narrowed({begins_[prefix], last}, hash, read);
  std::vector<MemberSpot> spots;
  char bytes[kFewEntries * kEntryBytes];
  for (bool more = true; more && read && range.begin < last;) {
    const uint64_t count = std::min(last - range.begin, kFewEntries);
    read = entries_.read(range.begin * kEntryBytes, std::span(bytes, count * kEntryBytes));
    for (uint64_t i = 0; i < count && more && read; ++i) {
      const Entry entry = entry_at(bytes + i * kEntryBytes);
      more = entry.hash <= hash;
      if (entry.hash == hash)
        spots.push_back({entry.shard, {entry.offset, uint64_t{entry.block} * kTarBlock}});
    }
    range.begin += count;
  }
  if (!read) return std::move(read).failure();
  std::sort(spots.begin(), spots.end(), [](const MemberSpot& a, const MemberSpot& b) {
    return a.shard != b.shard ? a.shard < b.shard : a.place < b.place;
  });
  return spots;
}

Result<MemberTableBuilder> MemberTableBuilder::create(int folder_fd) {
  Result<Partitions> entries = Partitions::create(folder_fd, entry_size);
  if (!entries) return std::move(entries).failure();
  return MemberTableBuilder(folder_fd, std::move(*entries));
}

Result<void> MemberTableBuilder::add(const Hash128& name, const MemberSpot& spot) {
  const uint64_t block = spot.place.skip / kTarBlock;
  if (block > UINT32_MAX) return error(ErrorCode::too_large, "a frame of a shard is too long");
  entry_.clear();
  put_entry(entry_, {name.low, spot.place.offset, spot.shard, static_cast<uint32_t>(block)});
  return entries_.add(entry_);
}

Result<void> MemberTableBuilder::flush() {
  return entries_.flush();
}

Result<std::unique_ptr<const MemberTable>> MemberTableBuilder::finish(std::vector<ShardId> shards,
                                                                      std::optional<Error> lost) {
  Result<TemporaryFile> sorted = TemporaryFile::create(folder_fd_);
  if (!sorted) return std::move(sorted).failure();
  auto table = std::make_unique<MemberTable>();
  table->shards_ = std::move(shards);
  table->lost_ = std::move(lost);
  table->begins_.resize((size_t{1} << kPrefixBits) + 1);
  Result<void> done = entries_.finish(
      [&](std::string part) { return append_sorted(std::move(part), *sorted, table->begins_); });
  if (!done) return std::move(done).failure();
  table->entries_ = std::move(*sorted);
  // From how many there are of each to where they begin.
  uint64_t next = 0;
  for (uint64_t& begin : table->begins_)
    next += std::exchange(begin, next);
  return std::unique_ptr<const MemberTable>(std::move(table));
}

}  // namespace gigafetch::store
