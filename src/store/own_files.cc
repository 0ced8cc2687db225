#include "store/own_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/io.h"
#include "store/failure_log.h"
#include "store/ledger_format.h"
#include "store/page_archive.h"
#include "store/regular_file.h"

namespace gigafetch::store {
namespace {

constexpr const char* kWrittenInPlace[] = {kLedgerFile, kFailuresFile, kArchiveFile};
constexpr size_t kChunkBytes = 256 * 1024;

Result<bool> is_shared(int state_fd, const char* file) {
  struct stat there;
  if (::fstatat(state_fd, file, &there, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return false;
    return errno_error(errno,
                       fmt::format("cannot examine the file '{}' of the state folder", file));
  }
  return S_ISREG(there.st_mode) && there.st_nlink > 1;
}

// 0, or an errno.
int copy(int from_fd, int to_fd) {
  std::string chunk(kChunkBytes, '\0');
  for (;;) {
    const ssize_t got = ::read(from_fd, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return ::fdatasync(to_fd) == 0 ? 0 : errno;
    const std::string_view piece(chunk.data(), static_cast<size_t>(got));
    if (const int failed = write_all(to_fd, piece); failed != 0) return failed;
  }
}

Result<void> unshare(int state_fd, const std::string& file) {
  const std::string new_file = file + ".new";
  if (::unlinkat(state_fd, new_file.c_str(), 0) != 0 && errno != ENOENT) {
    return errno_error(errno, fmt::format("cannot remove '{}'", new_file));
  }
  const UniqueFd from = open_regular(state_fd, file.c_str(), O_RDONLY);
  const UniqueFd to = open_regular(state_fd, new_file.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
  const int failed = from && to ? copy(from.get(), to.get()) : errno;
  if (failed != 0) return errno_error(failed, fmt::format("cannot copy the file '{}'", file));
  if (::renameat(state_fd, new_file.c_str(), state_fd, file.c_str()) != 0) {
    return errno_error(errno, fmt::format("cannot put the copy of '{}' in place", file));
  }
  return {};
}

}  // namespace

Result<std::optional<std::string>> shared_file(int state_fd) {
  for (const char* const file : kWrittenInPlace) {
    Result<bool> shared = is_shared(state_fd, file);
    if (!shared) return std::move(shared).failure();
    if (*shared) return std::optional<std::string>(file);
  }
  return std::optional<std::string>();
}

Result<void> unshare_files(int state_fd) {
  for (const char* const file : kWrittenInPlace) {
    Result<bool> shared = is_shared(state_fd, file);
    if (!shared) return std::move(shared).failure();
    if (!*shared) continue;
    if (Result<void> done = unshare(state_fd, file); !done) return done;
  }
  if (::fsync(state_fd) != 0) return errno_error(errno, "cannot sync the state folder");
  return {};
}

}  // namespace gigafetch::store
