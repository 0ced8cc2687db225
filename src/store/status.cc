#include "store/status.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/escape.h"

namespace gigafetch::store {
namespace {

bool the_device_has_failed = false;

}  // namespace

bool StoreStatus::device_has_failed() {
  return the_device_has_failed;
}

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
    case ENXIO:  // what open(2) says of a socket
      return file(FailureClass::unsafe_path,
                  fmt::format("a device, pipe or socket stands at '{}'", printable(path)));
    case ENAMETOOLONG:
      return file(FailureClass::name_too_long, std::move(text));
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
    case EINTR:
      return StoreStatus(Kind::busy, FailureClass::store_error, std::move(text));
    case ENOSPC:
    case EDQUOT:
      return StoreStatus(Kind::run, FailureClass::store_error, text + "; free some space");
    case EROFS:
    case EIO:
      the_device_has_failed = true;
      return StoreStatus(Kind::run, FailureClass::store_error, text + "; mend the file system");
    case EFBIG:
      return file(FailureClass::store_error, text + "; let files grow larger (ulimit -f)");
    default:
      return file(FailureClass::store_error, std::move(text));
  }
}

StoreStatus StoreStatus::of_creation(int error_number, std::string_view operation,
                                     std::string_view path) {
  switch (error_number) {
    case EINVAL:
    case EILSEQ:
      return refused_name(path, std::strerror(error_number));
    case ENAMETOOLONG:
      return file(FailureClass::name_too_long,
                  fmt::format("the file system takes no name as long as '{}'; --sink tar does",
                              printable(path)));
    default:
      return of_errno(error_number, operation, path);
  }
}

StoreStatus StoreStatus::refused_name(std::string_view path, std::string_view why) {
  return file(FailureClass::bad_name,
              fmt::format("the file system takes no file called '{}' ({}); --sink tar does, no "
                          "--layout",
                          printable(path), why));
}

StoreStatus StoreStatus::of_mode(mode_t mode, std::string_view operation, std::string_view path) {
  if (S_ISREG(mode)) return {};
  return of_errno(S_ISDIR(mode) ? EISDIR : S_ISLNK(mode) ? ELOOP : ENXIO, operation, path);
}

}  // namespace gigafetch::store
