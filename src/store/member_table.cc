#include "store/member_table.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "base/byte_order.h"
#include "base/io.h"
#include "store/tar_format.h"

namespace gigafetch::store {
namespace {

constexpr size_t kEntryBytes = 24;
constexpr unsigned kFanBits = 6;
constexpr size_t kFan = size_t{1} << kFanBits;
constexpr unsigned kMaxLevel = 64 / kFanBits - 1;
constexpr size_t kSpillBytes = kEntryBytes * 1024;
// What is sorted in memory; with what points into it twice as much.
constexpr size_t kMaxInMemory = 6 * 1024 * 1024;
constexpr size_t kReadBytes = kEntryBytes * 32 * 1024;
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

UniqueFd temporary_file(int folder_fd) {
  return UniqueFd(::openat(folder_fd, ".", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600));
}

Error cannot_make() {
  return errno_error(errno, "cannot make a temporary file in the state folder");
}

Result<void> read_entries(int fd, uint64_t first, std::span<char> to) {
  for (size_t done = 0; done < to.size();) {
    const ssize_t got = ::pread(fd, to.data() + done, to.size() - done,
                                static_cast<off_t>(first * kEntryBytes + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return errno_error(got < 0 ? errno : EIO, "cannot re-read a temporary file");
    done += static_cast<size_t>(got);
  }
  return {};
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
    read = read_entries(fd_.get(), probe, bytes);
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
    read = read_entries(fd_.get(), range.begin, std::span(bytes, count * kEntryBytes));
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
  Result<Partitions> partitions = make_partitions(folder_fd);
  if (!partitions) return std::move(partitions).failure();
  return MemberTableBuilder(folder_fd, std::move(*partitions));
}

// Appended to, so that several processes may write.
Result<MemberTableBuilder::Partitions> MemberTableBuilder::make_partitions(int folder_fd) {
  Partitions partitions(kFan);
  for (Partition& partition : partitions) {
    partition.fd = temporary_file(folder_fd);
    if (!partition.fd) return cannot_make();
  }
  return partitions;
}

Result<void> MemberTableBuilder::spill(Partition& partition) {
  if (const int failed = write_all(partition.fd.get(), partition.buffer); failed != 0) {
    return errno_error(failed, "cannot write a temporary file in the state folder");
  }
  partition.buffer.clear();
  return {};
}

Result<void> MemberTableBuilder::put(Partitions& to, unsigned level, std::string_view entry) {
  const uint64_t hash = get_le<uint64_t>(entry.data());
  Partition& partition = to[hash >> (64 - (level + 1) * kFanBits) & (kFan - 1)];
  partition.buffer += entry;
  if (partition.buffer.size() < kSpillBytes) return {};
  return spill(partition);
}

Result<void> MemberTableBuilder::add(const Hash128& name, const MemberSpot& spot) {
  std::string entry;
  const uint64_t block = spot.place.skip / kTarBlock;
  if (block > UINT32_MAX) return error(ErrorCode::too_large, "a frame of a shard is too long");
  put_entry(entry, {name.low, spot.place.offset, spot.shard, static_cast<uint32_t>(block)});
  return put(partitions_, 0, entry);
}

Result<void> MemberTableBuilder::flush() {
  for (Partition& partition : partitions_)
    if (Result<void> spilled = spill(partition); !spilled) return spilled;
  return {};
}

Result<std::unique_ptr<const MemberTable>> MemberTableBuilder::finish(std::vector<ShardId> shards,
                                                                      std::optional<Error> lost) {
  auto table = std::make_unique<MemberTable>();
  table->fd_ = temporary_file(folder_fd_);
  if (!table->fd_) return cannot_make();
  table->shards_ = std::move(shards);
  table->lost_ = std::move(lost);
  table->begins_.resize((size_t{1} << kPrefixBits) + 1);
  for (Partition& partition : partitions_)
    if (Result<void> sorted = sort_into(*table, partition, 0); !sorted) {
      return std::move(sorted).failure();
    }
  // From how many there are of each to where they begin.
  uint64_t next = 0;
  for (uint64_t& begin : table->begins_)
    next += std::exchange(begin, next);
  return std::unique_ptr<const MemberTable>(std::move(table));
}

Result<void> MemberTableBuilder::sort_into(MemberTable& table, Partition& partition,
                                           unsigned level) {
  if (Result<void> spilled = spill(partition); !spilled) return spilled;
  partition.buffer = {};
  struct stat there;
  if (::fstat(partition.fd.get(), &there) != 0) {
    return errno_error(errno, "cannot re-read a temporary file");
  }
  const auto size = static_cast<size_t>(there.st_size);
  // Names that are alike in all that divides them are the same name.
  if (size > kMaxInMemory && level < kMaxLevel) return divide_into(table, partition, level + 1);
  std::string bytes(size, '\0');
  if (Result<void> read = read_entries(partition.fd.get(), 0, bytes); !read) return read;
  partition.fd.reset();
  std::vector<Entry> entries;
  entries.reserve(size / kEntryBytes);
  for (size_t at = 0; at < size; at += kEntryBytes)
    entries.push_back(entry_at(bytes.data() + at));
  std::sort(entries.begin(), entries.end());
  bytes.clear();
  for (const Entry& entry : entries) {
    put_entry(bytes, entry);
    ++table.begins_[entry.hash >> (64 - kPrefixBits)];
  }
  if (const int failed = write_all(table.fd_.get(), bytes); failed != 0) {
    return errno_error(failed, "cannot write a temporary file in the state folder");
  }
  return {};
}

Result<void> MemberTableBuilder::divide_into(MemberTable& table, Partition& partition,
                                             unsigned level) {
  struct stat there;
  if (::fstat(partition.fd.get(), &there) != 0) {
    return errno_error(errno, "cannot re-read a temporary file");
  }
  Result<Partitions> parts = make_partitions(folder_fd_);
  if (!parts) return std::move(parts).failure();
  const auto size = static_cast<size_t>(there.st_size);
  std::string bytes;
  for (size_t done = 0; done < size; done += bytes.size()) {
    bytes.resize(std::min(size - done, kReadBytes));
    if (Result<void> read = read_entries(partition.fd.get(), done / kEntryBytes, bytes); !read)
      return read;
    for (size_t at = 0; at < bytes.size(); at += kEntryBytes) {
      const std::string_view entry = std::string_view(bytes).substr(at, kEntryBytes);
      if (Result<void> written = put(*parts, level, entry); !written) return written;
    }
  }
  bytes = {};
  partition.fd.reset();
  for (Partition& part : *parts)
    if (Result<void> sorted = sort_into(table, part, level); !sorted) return sorted;
  return {};
}

}  // namespace gigafetch::store
