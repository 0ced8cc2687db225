// FailureLog: the file `failures` in the state folder, one record for each FAIL of the ledger: the
// name and why it did not arrive. The ledger says how much of it counts; what stands behind that is
// of a run that died, and is cut.
//
//     records    store/record.h, seeded with the job's id
//     payload    class u8, status u16, attempts u16 (all varints), name, text
//
// It is a file of its own because failures outlive checkpoints and can be many, while the ledger is
// rewritten in one piece. Coordinator, loop thread only; writes block, and are rare.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/failure.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace gigafetch::store {

// In the state folder.
inline constexpr char kFailuresFile[] = "failures";

struct FailureEntry {
  uint64_t offset = 0;
  uint64_t end = 0;
  std::string_view name;
  FileFailure failure;
};

class FailureLog {
 public:
  // An empty log in place of any that is there.
  static Result<FailureLog> create(int state_fd, uint64_t job_id);
  // The one that is there, cut to `size`. Fails (malformed) when it is shorter.
  static Result<FailureLog> open(int state_fd, uint64_t job_id, uint64_t size);

  // Appends an entry; written with the next flush.
  void add(std::string_view name, const FileFailure& failure);
  Result<void> flush();

  uint64_t size() const { return size_; }  // with what is not yet flushed
  int fd() const { return fd_.get(); }

 private:
  FailureLog(UniqueFd fd, uint64_t job_id, uint64_t size)
      : fd_(std::move(fd)), job_id_(job_id), size_(size) {}
  UniqueFd fd_;
  uint64_t job_id_;
  uint64_t size_;
  std::string buffer_;
  std::string payload_;
};

// Calls `on_entry` for each entry from `begin` to before `end`, until it returns false. Memory is
// bounded. Fails (malformed) with the place when an entry is damaged.
Result<void> read_failures(int state_fd, uint64_t job_id, uint64_t begin, uint64_t end,
                           const std::function<bool(const FailureEntry& entry)>& on_entry);

}  // namespace gigafetch::store
