#include "store/record.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/byte_order.h"
#include "base/random.h"
#include "base/varint.h"

namespace gigafetch::store {
namespace {

constexpr size_t kWindowBytes = 256 * 1024;
// Longer than most records.
constexpr size_t kCommonRecordBytes = 32 * 1024;
// Longer than all: a name may fill a page of a listing.
constexpr size_t kMaxRecordBytes = 32 * 1024 * 1024;

uint64_t checksum(std::string_view bytes, uint64_t offset, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), mix64(seed + offset * kGoldenGamma));
}

// How long the record at the beginning of `bytes` says that it is; 0 when it does not say.
uint64_t told_size(std::string_view bytes) {
  if (bytes.empty()) return 0;
  VarintReader in(bytes.substr(1));
  const uint64_t length = in.take();
  if (!in.ok() || length > kMaxRecordBytes) return 0;
  return bytes.size() - in.left() + length + sizeof(uint64_t);
}

}  // namespace

void append_record(std::string& out, uint64_t offset, uint64_t seed, uint8_t type,
                   std::string_view payload) {
  const size_t begin = out.size();
  out += static_cast<char>(type);
  put_sized(out, payload);
  put_le<uint64_t>(out, checksum(std::string_view(out).substr(begin), offset, seed));
}

void change_type(std::string& out, size_t begin, uint64_t offset, uint64_t seed, uint8_t type) {
  out[begin] = static_cast<char>(type);
  out.resize(out.size() - sizeof(uint64_t));
  put_le<uint64_t>(out, checksum(std::string_view(out).substr(begin), offset, seed));
}

bool read_record(std::string_view bytes, uint64_t offset, uint64_t seed, Record& record) {
  if (bytes.empty()) return false;
  VarintReader in(bytes.substr(1));
  record.type = static_cast<uint8_t>(bytes[0]);
  record.payload = in.take_text();
  if (record.type == 0 || !in.ok()) return false;
  const size_t checked = bytes.size() - in.left();
  const uint64_t found = in.take_u64();
  if (!in.ok() || found != checksum(bytes.substr(0, checked), offset, seed)) return false;
  record.end = offset + checked + sizeof(uint64_t);
  return true;
}

// Makes the window begin at the next record and hold so many bytes, or all there are.
Result<void> RecordFile::fill(uint64_t bytes) {
  window_.erase(0, at_ - window_begin_);
  window_begin_ = at_;
  const uint64_t wanted = std::min(bytes, end_ - at_);
  while (window_.size() < wanted) {
    const size_t had = window_.size();
    window_.resize(wanted);
    const ssize_t got = ::pread(fd_, window_.data() + had, window_.size() - had,
                                static_cast<off_t>(window_begin_ + had));
    const int failed = errno;
    window_.resize(had + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) break;
    if (got < 0 && failed != EINTR) return errno_error(failed, "cannot read it");
  }
  return {};
}

Result<void> RecordFile::next(Record& record) {
  const auto here = [this] { return std::string_view(window_).substr(at_ - window_begin_); };
  if (window_begin_ + window_.size() < end_ && here().size() < kCommonRecordBytes) {
    if (Result<void> filled = fill(kWindowBytes); !filled) return filled;
  }
  if (const uint64_t size = told_size(here()); size > here().size()) {
    if (Result<void> filled = fill(size); !filled) return filled;
  }
  if (!read_record(here(), at_, seed_, record) || record.end > end_) {
    return error(ErrorCode::malformed, "damaged at byte {}", at_);
  }
  at_ = record.end;
  return {};
}

}  // namespace gigafetch::store
