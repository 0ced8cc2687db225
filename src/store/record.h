// Records: how the ledger and the files beside it are framed.
//
//     type       u8, not zero
//     length     of the payload, a varint
//     payload
//     checksum   u64: XXH3-64 over type, length and payload, seeded with the record's offset in its
//                file and with a number that the file is about (its job or run)
//
// The offset in the seed makes a record valid in one place only: bytes that were moved, or left
// over from an earlier life of the file, are not taken for records. A file that was extended and
// not written (zeros, after a power loss) has no valid record either.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gigafetch::store {

struct Record {
  uint8_t type = 0;
  std::string_view payload;  // a view into the file's bytes
  uint64_t end = 0;          // offset behind it
};

// Appends a record that will stand at `offset`.
void append_record(std::string& out, uint64_t offset, uint64_t seed, uint8_t type,
                   std::string_view payload);

// Gives the record that begins at `begin` of `out`, and is its last, another type.
void change_type(std::string& out, size_t begin, uint64_t offset, uint64_t seed, uint8_t type);

// The record at the beginning of `bytes`, which stand at `offset` of their file; false when there
// is none that is whole and valid.
bool read_record(std::string_view bytes, uint64_t offset, uint64_t seed, Record& record);

// Reads records of a file one after the other, in memory bounded by the longest of them.
class RecordFile {
 public:
  // Those from `begin` to `end` of `fd`, which is borrowed.
  RecordFile(int fd, uint64_t seed, uint64_t begin, uint64_t end)
      : fd_(fd), seed_(seed), at_(begin), end_(end), window_begin_(begin) {}

  bool at_end() const { return at_ >= end_; }
  uint64_t offset() const { return at_; }
  // The next record, valid until the next call. Fails (malformed, with the place) when it is
  // damaged, (io) when it cannot be read.
  Result<void> next(Record& record);

 private:
  Result<void> fill(uint64_t bytes);
  int fd_;
  uint64_t seed_;
  uint64_t at_;
  uint64_t end_;
  uint64_t window_begin_;
  std::string window_;  // bytes of the file from window_begin_ on
};

}  // namespace gigafetch::store
