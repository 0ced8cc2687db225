#include "store/state_folder.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <fstream>
#include <thread>

#include "base/escape.h"
#include "base/io.h"

namespace gigafetch::store {
namespace {

constexpr Millis kLockPoll{50};

// The pid that a lock file names, 0 when it names none.
pid_t recorded_pid(int lock_fd) {
  char text[32];
  const ssize_t got = ::pread(lock_fd, text, sizeof text, 0);
  pid_t pid = 0;
  if (got > 0) std::from_chars(text, text + got, pid);
  return pid > 0 ? pid : 0;
}

// Whether it runs; a process that is dead and not yet reaped does not.
bool is_alive(pid_t pid) {
  if (::kill(pid, 0) != 0 && errno != EPERM) return false;
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string stat;
  std::getline(file, stat);
  const size_t name_end = stat.rfind(") ");  // the name itself may hold anything
  return name_end == stat.npos || stat.substr(name_end + 2, 1) != "Z";
}

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

Result<void> take_lock(int lock_fd, const std::string& shown) {
  const TimePoint deadline = monotonic_now() + StateFolder::kLockPatience;
  while (::flock(lock_fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return errno_error(errno, "cannot lock the state folder");
    const pid_t holder = recorded_pid(lock_fd);
    if (holder != 0 && is_alive(holder)) {
      return error(ErrorCode::busy,
                   "another run (pid {}) works on '{}'; wait for it, or stop it with: kill {}",
                   holder, shown, holder);
    }
    if (monotonic_now() >= deadline) {
      return error(ErrorCode::busy,
                   "processes of a dead run (pid {}) still hold '{}'; end them first", holder,
                   shown);
    }
    std::this_thread::sleep_for(kLockPoll);
  }
  return record_pid(lock_fd);
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
  if (Result<void> locked = take_lock(lock_fd.get(), shown); !locked) {
    return std::move(locked).failure();
  }
  return StateFolder(path, std::move(folder_fd), std::move(lock_fd));
}

}  // namespace gigafetch::store
