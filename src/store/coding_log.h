// CodingLog: `encodings.jsonl` in the state folder, which says of each file that was stored in a
// content coding in which (--content-encoding keep). Worker, loop thread only; the workers of a job
// append to one file.
//
//     {"coding":"gzip","name":"a/b.txt"}
//
// The last line of a name counts. A name is in it before it is told of as stored; that a name is in
// it does not say that it was stored. A job without codings has no such file, and costs nothing.
//
// Rejected: a record in the ledger, which counts names and holds none; an attribute of each file,
// which archives and many file systems cannot have.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gigafetch::store {

class CodingLog {
 public:
  // `state_fd` and `output_fd` are borrowed. With `sync`, what is flushed survives a power loss as
  // soon as what a sync of the output's file system covers does.
  CodingLog(int state_fd, int output_fd, bool sync)
      : state_fd_(state_fd), output_fd_(output_fd), sync_(sync) {}

  void add(std::string_view name, std::string_view coding);
  // Writes what was added, if anything. After a failure nothing of it counts.
  Result<void> flush();

  // Forgets what a job has recorded.
  static Result<void> remove(int state_fd);
  // Lines a coding; the codings beyond the first few are counted as "other". Empty without a log.
  static Result<std::map<std::string, uint64_t>> count(int state_fd);

 private:
  Result<void> open();

  int state_fd_;
  int output_fd_;
  bool sync_;
  UniqueFd fd_;
  std::string buffer_;
};

}  // namespace gigafetch::store
