#include "store/status.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>

#include "base/escape.h"

namespace gigafetch::store {

StoreStatus StoreStatus::of_errno(int error_number, std::string_view operation,
                                  std::string_view path) {
  std::string text =
      fmt::format("cannot {} '{}': {}", operation, printable(path), std::strerror(error_number));
  switch (error_number) {
    case ENOENT:
      return file(FailureClass::missing, fmt::format("'{}' is not there", printable(path)));
    case ENOTDIR:
    case EISDIR:
      return file(FailureClass::name_conflict,
                  fmt::format("'{}' is needed both as a file and as a folder", printable(path)));
    case ELOOP:
    case EXDEV:
      return file(FailureClass::unsafe_path,
                  fmt::format("a symbolic link stands in the way of '{}'", printable(path)));
    case ENAMETOOLONG:
      return file(FailureClass::name_too_long, std::move(text));
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
      return StoreStatus(Kind::busy, FailureClass::store_error, std::move(text));
    case ENOSPC:
    case EDQUOT:
    case EROFS:
    case EIO:
      return StoreStatus(Kind::run, FailureClass::store_error, std::move(text));
    default:
      return file(FailureClass::store_error, std::move(text));
  }
}

}  // namespace gigafetch::store
