// StateFolder: what a job keeps beside its output: the lock, the ledger, the socket, failed.jsonl.
//
// The folder is 0700 and belongs to one run at a time: it is locked (store/folder_lock.h), and so
// is the file `lock` in it, which holds the pid of the run.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gigafetch::store {

class StateFolder {
 public:
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
