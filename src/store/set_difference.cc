#include "store/set_difference.h"

#include <algorithm>

#include "base/byte_order.h"

namespace gigafetch::store {
namespace {

// The hash and a byte that tells the side.
constexpr size_t kEntryBytes = 17;

size_t entry_size(std::string_view bytes) {
  return bytes.size() < kEntryBytes ? 0 : kEntryBytes;
}

}  // namespace

struct SetDifference::Entry {
  Hash128 hash;
  Side side = Side::listed;
  auto operator<=>(const Entry&) const = default;
};

Result<SetDifference> SetDifference::create(int folder_fd) {
  Result<Partitions> entries = Partitions::create(folder_fd, entry_size);
  if (!entries) return std::move(entries).failure();
  return SetDifference(std::move(*entries));
}

Result<void> SetDifference::add(const Hash128& hash, Side side) {
  entry_.clear();
  put_le<uint64_t>(entry_, hash.low);
  put_le<uint64_t>(entry_, hash.high);
  put_le<uint8_t>(entry_, static_cast<uint8_t>(side));
  return entries_.add(entry_);
}

Result<SetDifference::Report> SetDifference::finish() {
  Report report;
  Result<void> done =
      entries_.finish([&](const std::string& part) { return compare(part, report); });
  if (!done) return std::move(done).failure();
  return report;
}

// A part of all entries, in twice as much memory again.
Result<void> SetDifference::compare(std::string_view part, Report& report) {
  if (part.size() % kEntryBytes != 0) return TemporaryFile::spoilt();
  std::vector<Entry> entries;
  entries.reserve(part.size() / kEntryBytes);
  for (size_t at = 0; at < part.size(); at += kEntryBytes) {
    const char* const entry = part.data() + at;
    entries.push_back({{get_le<uint64_t>(entry), get_le<uint64_t>(entry + 8)},
                       static_cast<Side>(get_le<uint8_t>(entry + 16))});
  }
  std::sort(entries.begin(), entries.end());
  for (size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    if (i > 0 && entries[i - 1].hash == entry.hash) continue;
    // Where a hash was listed, that stands first.
    if (entry.side == Side::listed) {
      ++report.listed_once;
    } else {
      ++report.extra;
      if (report.examples.size() < kMaxExamples) report.examples.push_back(entry.hash);
    }
  }
  return {};
}

}  // namespace gigafetch::store
