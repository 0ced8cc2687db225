#include "store/temporary_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace gigafetch::store {
namespace {

constexpr int kFlags = O_RDWR | O_APPEND | O_CLOEXEC;
constexpr mode_t kMode = 0600;
constexpr char kName[] = "temporary";  // where there must be one

UniqueFd open_temporary(int folder_fd) {
  UniqueFd fd(::openat(folder_fd, ".", O_TMPFILE | kFlags, kMode));
  if (fd || errno != EOPNOTSUPP) return fd;
  // One may have been left by a process that was killed.
  if (::unlinkat(folder_fd, kName, 0) != 0 && errno != ENOENT) return {};
  fd = UniqueFd(::openat(folder_fd, kName, O_CREAT | O_EXCL | O_NOFOLLOW | kFlags, kMode));
  if (fd && ::unlinkat(folder_fd, kName, 0) != 0) return {};
  return fd;
}

}  // namespace

Result<TemporaryFile> TemporaryFile::create(int folder_fd) {
  UniqueFd fd = open_temporary(folder_fd);
  if (!fd) return errno_error(errno, "cannot make a temporary file in the state folder");
  return TemporaryFile(std::move(fd));
}

Result<void> TemporaryFile::append(std::string_view bytes) {
  if (bytes.empty()) return {};
  const auto write = [&](std::string_view some) {
    ssize_t written;
    do {
      written = ::write(fd_.get(), some.data(), some.size());
    } while (written < 0 && errno == EINTR);
    return written;
  };
  ssize_t written = write(bytes);
  if (written == static_cast<ssize_t>(bytes.size())) return {};
  // A disk that filled up meanwhile, or a limit on file sizes, lets a part be written. The rest
  // could only stand behind what other processes have written since: it is tried to learn the
  // cause.
  if (written >= 0) written = write(bytes.substr(static_cast<size_t>(written)));
  return errno_error(written < 0 ? errno : ENOSPC,
                     "cannot write a temporary file in the state folder");
}

Result<uint64_t> TemporaryFile::size() const {
  struct stat there;
  if (::fstat(fd_.get(), &there) != 0) {
    return errno_error(errno, "cannot re-read a temporary file in the state folder");
  }
  return static_cast<uint64_t>(there.st_size);
}

Result<void> TemporaryFile::read(uint64_t offset, std::span<char> to) const {
  for (size_t done = 0; done < to.size();) {
    const ssize_t got =
        ::pread(fd_.get(), to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return errno_error(got < 0 ? errno : EIO,
                         "cannot re-read a temporary file in the state folder");
    }
    done += static_cast<size_t>(got);
  }
  return {};
}

Error TemporaryFile::spoilt() {
  return error(ErrorCode::malformed, "a temporary file in the state folder has been changed");
}

}  // namespace gigafetch::store
