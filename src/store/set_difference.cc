#include "store/set_difference.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <iterator>

#include "base/byte_order.h"
#include "base/io.h"

namespace gigafetch::store {
namespace {

// A record is the hash and a byte that tells the side.
constexpr size_t kRecordBytes = 17;
constexpr size_t kSpillBytes = kRecordBytes * 256;
// Hashes a side that one range should hold: some 8 MiB in memory for both sides.
constexpr uint64_t kRangeHashes = 256 * 1024;
constexpr uint64_t kMaxPartitions = 1024;

void sort_once(std::vector<Hash128>& hashes) {
  std::sort(hashes.begin(), hashes.end());
  hashes.erase(std::unique(hashes.begin(), hashes.end()), hashes.end());
}

}  // namespace

Result<SetDifference> SetDifference::create(int folder_fd, uint64_t expected) {
  const uint64_t count =
      std::clamp<uint64_t>(std::bit_ceil(expected / kRangeHashes + 1), 1, kMaxPartitions);
  std::vector<Partition> partitions(count);
  for (Partition& partition : partitions) {
    partition.fd = UniqueFd(::openat(folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!partition.fd)
      return errno_error(errno, "cannot make a temporary file in the state folder");
  }
  return SetDifference(std::move(partitions));
}

Result<void> SetDifference::add(const Hash128& hash, Side side) {
  Partition& partition = partitions_[hash.low & (partitions_.size() - 1)];
  put_le<uint64_t>(partition.buffer, hash.low);
  put_le<uint64_t>(partition.buffer, hash.high);
  put_le<uint8_t>(partition.buffer, static_cast<uint8_t>(side));
  return partition.buffer.size() >= kSpillBytes ? spill(partition) : Result<void>();
}

Result<void> SetDifference::spill(Partition& partition) {
  if (const int failed = write_all(partition.fd.get(), partition.buffer); failed != 0) {
    return errno_error(failed, "cannot write a temporary file in the state folder");
  }
  partition.buffer.clear();
  return {};
}

Result<SetDifference::Report> SetDifference::finish() {
  Report report;
  for (Partition& partition : partitions_) {
    if (Result<void> spilled = spill(partition); !spilled) return std::move(spilled).failure();
    if (::lseek(partition.fd.get(), 0, SEEK_SET) != 0) {
      return errno_error(errno, "cannot re-read a temporary file");
    }
    Result<std::string> bytes = read_to_end(partition.fd.get(), SIZE_MAX, "a temporary file");
    if (!bytes) return std::move(bytes).failure();
    std::vector<Hash128> listed, found, extra;
    for (size_t at = 0; at + kRecordBytes <= bytes->size(); at += kRecordBytes) {
      const char* record = bytes->data() + at;
      const Hash128 hash{get_le<uint64_t>(record), get_le<uint64_t>(record + 8)};
      (record[16] == static_cast<char>(Side::listed) ? listed : found).push_back(hash);
    }
    sort_once(listed);
    sort_once(found);
    std::set_difference(found.begin(), found.end(), listed.begin(), listed.end(),
                        std::back_inserter(extra));
    report.listed_once += listed.size();
    report.extra += extra.size();
    const size_t room = kMaxExamples - report.examples.size();
    report.examples.insert(
        report.examples.end(), extra.begin(),
        extra.begin() + static_cast<std::ptrdiff_t>(std::min(room, extra.size())));
    partition.fd.reset();
  }
  std::sort(report.examples.begin(), report.examples.end());
  return report;
}

}  // namespace gigafetch::store
