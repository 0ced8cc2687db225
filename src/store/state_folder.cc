#include "store/state_folder.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/escape.h"
#include "base/io.h"
#include "store/folder_lock.h"

namespace gigafetch::store {
namespace {

bool is_link(const std::string& path) {
  struct stat there;
  return ::lstat(path.c_str(), &there) == 0 && S_ISLNK(there.st_mode);
}

Result<void> record_pid(int lock_fd) {
  const std::string text = fmt::format("{}\n", ::getpid());
  if (::ftruncate(lock_fd, 0) != 0) return errno_error(errno, "cannot write the lock file");
  if (const int failed = write_all(lock_fd, text); failed != 0) {
    return errno_error(failed, "cannot write the lock file");
  }
  return {};
}

}  // namespace

Result<StateFolder> StateFolder::open_and_lock(const std::string& path) {
  const std::string shown = printable(path);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    Error why = errno_error(errno, fmt::format("cannot make the state folder '{}'", shown));
    if (errno == ENOENT) why.text += "; make the folder that it stands in first";
    return why;
  }
  UniqueFd folder_fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder_fd && is_link(path)) {
    return error(ErrorCode::unsafe, "'{}' is a symbolic link; the state folder must be a folder",
                 shown);
  }
  if (!folder_fd) {
    return errno_error(errno, fmt::format("cannot open the state folder '{}'", shown));
  }
  struct stat folder;
  if (::fstat(folder_fd.get(), &folder) != 0)
    return errno_error(errno, "cannot examine the state folder");
  if (folder.st_uid != ::geteuid()) {
    return error(ErrorCode::permission, "the state folder '{}' belongs to another user (uid {})",
                 shown, folder.st_uid);
  }
  if ((folder.st_mode & 0077) != 0) {
    return error(ErrorCode::permission,
                 "others can use the state folder '{}'; make it private (chmod 700), or choose "
                 "another one",
                 shown);
  }
  UniqueFd lock_fd(
      ::openat(folder_fd.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock_fd) return errno_error(errno, fmt::format("cannot open the lock file in '{}'", shown));
  Result<void> locked = lock_folder(folder_fd.get(), lock_fd.get(), shown);
  if (locked) locked = record_pid(lock_fd.get());
  if (!locked) return std::move(locked).failure();
  return StateFolder(path, std::move(folder_fd), std::move(lock_fd));
}

}  // namespace gigafetch::store
