// StateFolder: what a job keeps beside its output: the lock, the ledger, the socket, failed.jsonl.
//
// The folder is 0700 and belongs to one run at a time. The lock is a flock(2) on the file `lock`,
// which also holds the pid of the run. Child processes inherit the lock's descriptor on purpose: as
// long as one of them lives, nobody else writes.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace gigafetch::store {

class StateFolder {
 public:
  // How long a new run waits for the lock when the run that it names is dead: its children die
  // with it, but not in the same instant.
  static constexpr Millis kLockPatience{10'000};

  // Makes the folder when it is missing, and takes the lock. Fails with `busy` and the other run's
  // pid when that one lives. `path` must not lead through the output folder, but for
  // OUT/.gigafetch.
  static Result<StateFolder> open_and_lock(const std::string& path);

  // The folder's descriptor; lives as long as this object.
  int fd() const { return folder_fd_.get(); }
  const std::string& path() const { return path_; }

 private:
  StateFolder(std::string path, UniqueFd folder_fd, UniqueFd lock_fd)
      : path_(std::move(path)), folder_fd_(std::move(folder_fd)), lock_fd_(std::move(lock_fd)) {}

  std::string path_;
  UniqueFd folder_fd_;
  UniqueFd lock_fd_;
};

}  // namespace gigafetch::store
