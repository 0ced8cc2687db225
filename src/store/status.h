// StoreStatus: whether a file could be stored, and whom a failure concerns.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/failure.h"

namespace gigafetch::store {

class [[nodiscard]] StoreStatus {
 public:
  enum class Kind : uint8_t {
    ok,
    file,   // this file cannot be stored, whatever is tried: `cause` says why
    later,  // this file cannot be stored now, but it may be when it is asked for again
    busy,   // descriptors or memory ran out for a moment: try the file again later
    run,    // nothing can be stored any more (a full or failing disk): stop the run; the text
            // ends with what to do first
  };

  StoreStatus() = default;
  static StoreStatus file(FailureClass cause, std::string text) {
    return StoreStatus(Kind::file, cause, std::move(text));
  }
  static StoreStatus later(std::string text) {
    return StoreStatus(Kind::later, FailureClass::store_error, std::move(text));
  }
  static StoreStatus run(std::string text) {
    return StoreStatus(Kind::run, FailureClass::store_error, std::move(text));
  }
  // The status that belongs to an errno from working on `path`.
  static StoreStatus of_errno(int error_number, std::string_view operation, std::string_view path);
  // The same for an errno from creating `path`, which may be about its name.
  static StoreStatus of_creation(int error_number, std::string_view operation,
                                 std::string_view path);
  // The file system refuses the name, and says so as it does when something is broken.
  static StoreStatus refused_name(std::string_view path, std::string_view why);
  // The status that belongs to what stands at `path`: ok for a regular file.
  static StoreStatus of_mode(mode_t mode, std::string_view operation, std::string_view path);
  // Whether of_errno has met, in this process, a device that fails: files that were stored before
  // may be lost, too.
  static bool device_has_failed();

  bool ok() const { return kind_ == Kind::ok; }
  Kind kind() const { return kind_; }
  FailureClass cause() const { return cause_; }      // when Kind::file or later
  const std::string& text() const { return text_; }  // when not ok

 private:
  StoreStatus(Kind kind, FailureClass cause, std::string text)
      : kind_(kind), cause_(cause), text_(std::move(text)) {}

  Kind kind_ = Kind::ok;
  FailureClass cause_ = FailureClass::store_error;
  std::string text_;
};

}  // namespace gigafetch::store
