// DeadLetters: the names that did not arrive, one JSON object a line, for people and scripts.
//
//     {"name":"a/b","class":"http-status","status":404,"attempts":1,"error":"..."}
//
// Coordinator, loop thread only. Writes block, and are rare.
#pragma once

#include <string>
#include <string_view>

#include "base/failure.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace gigafetch::store {

class DeadLetters {
 public:
  // Starts `file` in the state folder anew.
  static Result<DeadLetters> create(int state_fd, std::string_view file);
  // Goes on with it.
  static Result<DeadLetters> append_to(int state_fd, std::string_view file);

  // Adds a line; it is on disk (in the page cache) after the next flush. Fails when the disk does:
  // a failure that cannot be recorded must stop the run.
  Result<void> add(std::string_view name, const FileFailure& failure);
  Result<void> flush();

 private:
  static Result<DeadLetters> open(int state_fd, std::string_view file, int flags);
  explicit DeadLetters(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  std::string buffer_;
};

}  // namespace gigafetch::store
