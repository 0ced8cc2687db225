#include "store/folder_lock.h"

#include <fmt/core.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>
#include <thread>

namespace gigafetch::store {
namespace {

constexpr Millis kLockPoll{50};

// The pid that a lock file names, 0 when it names none.
pid_t recorded_pid(int lock_fd) {
  char text[32];
  const ssize_t got = lock_fd >= 0 ? ::pread(lock_fd, text, sizeof text, 0) : 0;
  pid_t pid = 0;
  if (got > 0) std::from_chars(text, text + got, pid);
  return pid > 0 ? pid : 0;
}

// Who has locked the folder, as the kernel tells, 0 when it does not. A line of /proc/locks:
// "1: FLOCK  ADVISORY  WRITE 712 08:01:131074 0 EOF"
pid_t locking_pid(int folder_fd) {
  struct stat folder {};
  if (::fstat(folder_fd, &folder) != 0) return 0;
  const std::string wanted =
      fmt::format("{:02x}:{:02x}:{}", major(folder.st_dev), minor(folder.st_dev), folder.st_ino);
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream fields(line);
    std::string number, kind, mode, access, place;
    pid_t pid = 0;
    if (fields >> number >> kind >> mode >> access >> pid >> place && kind == "FLOCK" &&
        place == wanted) {
      return pid;
    }
  }
  return 0;
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

// 0, or an errno.
int try_lock(int fd) {
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

int try_both(int folder_fd, int lock_fd) {
  if (try_lock(folder_fd) == EWOULDBLOCK) return EWOULDBLOCK;  // else it cannot be locked at all
  return lock_fd >= 0 ? try_lock(lock_fd) : 0;
}

}  // namespace

Result<void> lock_folder(int folder_fd, int lock_fd, const std::string& shown) {
  const TimePoint deadline = monotonic_now() + kLockPatience;
  int failed;
  while ((failed = try_both(folder_fd, lock_fd)) != 0) {
    if (failed != EWOULDBLOCK) return errno_error(failed, fmt::format("cannot lock '{}'", shown));
    // The file may have been removed and made anew since; and we may hold the folder ourselves.
    pid_t holder = locking_pid(folder_fd);
    if (holder == 0 || holder == ::getpid()) holder = recorded_pid(lock_fd);
    if (holder != 0 && is_alive(holder)) {
      return error(ErrorCode::busy,
                   "another run (pid {}) works on '{}'; wait for it, or stop it with: kill {}",
                   holder, shown, holder);
    }
    if (monotonic_now() >= deadline) {
      return error(ErrorCode::busy, "processes of a dead run{} still hold '{}'; end them first",
                   holder != 0 ? fmt::format(" (pid {})", holder) : "", shown);
    }
    std::this_thread::sleep_for(kLockPoll);
  }
  return {};
}

}  // namespace gigafetch::store
