// Partitions: records that memory does not hold, divided by their keys over temporary files, and
// handed back in parts that it does.
//
// A record begins with its key, a u64 (little-endian) that is spread evenly, as a hash is. It goes
// to one of 64 files by the first bits of it, and a file that is too large for memory is divided by
// the next ones in the same way. Records may be added by several processes that were forked after
// create(), which share the files: each flushes at its end.
//
// Memory: 1.5 MiB of buffers in each process that adds, and in the one that finishes as much for
// each time that a file is divided again, beside the part that it gives away.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/temporary_file.h"

namespace gigafetch::store {

class Partitions {
 public:
  static constexpr size_t kMaxPartBytes = 6 * 1024 * 1024;

  // How many bytes the first record of `bytes` has; 0 when it is not all there.
  using RecordSize = size_t (*)(std::string_view bytes);
  // Makes temporary files in `folder_fd`, which is borrowed.
  static Result<Partitions> create(int folder_fd, RecordSize record_size);

  Result<void> add(std::string_view record);
  // Writes what this process has added.
  Result<void> flush();

  using Take = std::function<Result<void>(std::string part)>;
  // Gives all records away, those of one key in one part, and parts by ascending keys; a part may
  // be empty, or over kMaxPartBytes when the records of one key are. Call once, in the process that
  // created it, when all others have flushed. Ends early with the error of `take`.
  Result<void> finish(const Take& take);

 private:
  struct File {
    TemporaryFile on_disk;
    std::string buffer;
  };
  using Files = std::vector<File>;

  Partitions(int folder_fd, RecordSize record_size, Files files)
      : folder_fd_(folder_fd), record_size_(record_size), files_(std::move(files)) {}
  static Result<Files> make_files(int folder_fd);
  static Result<void> spill(File& file);
  static Result<void> put(Files& to, unsigned level, std::string_view record);
  Result<void> give(File& file, unsigned level, const Take& take);
  Result<void> divide(File& file, uint64_t size, unsigned level, Files& to);

  int folder_fd_;
  RecordSize record_size_;
  Files files_;
};

}  // namespace gigafetch::store
