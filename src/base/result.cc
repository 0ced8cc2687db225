#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace gigafetch {

ErrorCode code_of_errno(int error_number) {
  switch (error_number) {
    case ENOENT:
      return ErrorCode::not_found;
    case EEXIST:
    case ENOTEMPTY:
      return ErrorCode::exists;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::permission;
    case ENOSPC:
    case EDQUOT:
      return ErrorCode::no_space;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EAGAIN:
    case EADDRNOTAVAIL:
      return ErrorCode::no_resource;
    case ELOOP:
    case EXDEV:
      return ErrorCode::unsafe;
    case ECONNREFUSED:
      return ErrorCode::refused;
    default:
      return ErrorCode::io;
  }
}

Error errno_error(int error_number, std::string_view what) {
  return error(code_of_errno(error_number), "{}: {}", what, std::strerror(error_number));
}

}  // namespace gigafetch
