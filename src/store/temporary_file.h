// TemporaryFile: a file in the state folder that has no name and is gone with the last process that
// has it, for what memory does not hold. Written at its end, read anywhere.
//
// Where the file system has no files without names (NFS and others), it has one for a moment.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gigafetch::store {

class TemporaryFile {
 public:
  TemporaryFile() = default;  // none
  // One at a time in a folder, which is borrowed for the call.
  static Result<TemporaryFile> create(int folder_fd);

  // Of several processes that append to one file, the bytes of each call stay together. When it
  // fails, a part of `bytes` may have been written. A full disk is no_space.
  Result<void> append(std::string_view bytes);
  Result<uint64_t> size() const;
  // Fills `to`; fails when the file ends before.
  Result<void> read(uint64_t offset, std::span<char> to) const;
  void close() { fd_.reset(); }

  // The error of who finds other bytes in it than were written.
  static Error spoilt();

 private:
  explicit TemporaryFile(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace gigafetch::store
