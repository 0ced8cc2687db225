#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace gigafetch {

std::string_view name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::usage:
      return "usage";
    case ErrorCode::io:
      return "io";
    case ErrorCode::not_found:
      return "not-found";
    case ErrorCode::exists:
      return "exists";
    case ErrorCode::permission:
      return "permission";
    case ErrorCode::no_space:
      return "no-space";
    case ErrorCode::no_resource:
      return "no-resource";
    case ErrorCode::busy:
      return "busy";
    case ErrorCode::unsafe:
      return "unsafe";
    case ErrorCode::malformed:
      return "malformed";
    case ErrorCode::too_large:
      return "too-large";
    case ErrorCode::refused:
      return "refused";
    case ErrorCode::origin:
      return "origin";
    case ErrorCode::interrupted:
      return "interrupted";
  }
  return "unknown";
}

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
