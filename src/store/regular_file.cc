#include "store/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

namespace gigafetch::store {

UniqueFd open_regular(int folder_fd, const char* file, int flags, mode_t mode) {
  UniqueFd fd(
      ::openat(folder_fd, file, flags | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC, mode));
  struct stat there;
  if (!fd) return fd;
  if (::fstat(fd.get(), &there) != 0) {
    const int failed = errno;
    fd.reset();
    errno = failed;
  } else if (!S_ISREG(there.st_mode)) {
    fd.reset();
    errno = S_ISDIR(there.st_mode) ? EISDIR : ENXIO;
  }
  return fd;
}

Error not_opened(int error_number, std::string_view what) {
  if (error_number != ENXIO) return errno_error(error_number, what);
  return error(ErrorCode::unsafe, "{}: a device, pipe or socket stands there; remove it", what);
}

}  // namespace gigafetch::store
