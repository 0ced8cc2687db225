// A library for LD_PRELOAD that makes system calls fail, notes their order and pretends a reboot.
//
//   GIGAFETCH_FAULTS   "calls=write,openat;error=ENOSPC;nth=17;count=2;path=/ledger": of the calls
//                      listed, the 17th and the 18th of the whole process tree fail. nth and count
//                      are 1 unless given, count=0 is all that follow; with every=3 the 17th and
//                      each third behind it, `count` of them. With `path` only calls count
//                      whose path contains it. The error `short` lets write, pwrite and writev
//                      write half of their bytes, and is nothing to other calls.
//   GIGAFETCH_TRACE    a file that gets one line a call: its name, path, result ("ENOSPC" for a
//                      failure), process id and, for a call that was made to fail or fall short,
//                      "injected"; tabs between. The path of a rename is "OLD -> NEW".
//   GIGAFETCH_FOLD     "RULES FOLDER": below the folder names fold as the rules say (folding.h), as
//                      far as open, openat, openat2, mkdir, mkdirat, fstatat and unlinkat go.
//   GIGAFETCH_BOOT_ID  what /proc/sys/kernel/random/boot_id says.
//   GIGAFETCH_MOUNT_ID what statx(2) says that the mount of everything is called (a number); marks
//                      in memory (F_GET_RW_HINT) are not to be had. Another value is another mount.
//
// The count is kept over fork(2), and starts anew with execve(2). Standard input, output and error,
// sockets, pipes and the system's own folders are left alone. fork and pthread_create have no path.
// What the C library does inside itself (fopen(3)) is not seen. A close that fails has closed, as
// on Linux.
#undef _FILE_OFFSET_BITS  // or the headers would call open64 what is open here

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>

#include "folding.h"

// The function of this name behind this library.
#define REAL(name)                                                                           \
  ([] {                                                                                      \
    static const auto next = reinterpret_cast<decltype(&::name)>(::dlsym(RTLD_NEXT, #name)); \
    return next;                                                                             \
  }())

namespace {

using namespace std::string_view_literals;

int errno_of(std::string_view name) {
  for (int value = 1; value < 200; ++value) {
    const char* const known = ::strerrorname_np(value);
    if (known != nullptr && known == name) return value;
  }
  return 0;
}

// As one of a list whose items have commas around them.
std::string item(std::string_view name) {
  return std::string(",").append(name).append(",");
}

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

struct Settings {
  Settings() {
    if (faults.empty()) return;
    void* const shared =
        ::mmap(nullptr, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared != MAP_FAILED) seen = new (shared) std::atomic<uint64_t>(0);
    if (seen != nullptr && calls != ",," && nth > 0 && every > 0 && (error != 0 || falls_short))
      return;
    ::dprintf(2, "fault shim: GIGAFETCH_FAULTS cannot be carried out\n");
    ::_exit(127);
  }
  // The value of KEY=VALUE in the faults.
  std::string value_of(const std::string& key, const char* without = "") const {
    const size_t at = (";" + faults).find(";" + key + "=");
    if (at == faults.npos) return without;
    const size_t begin = at + key.size() + 1;
    return faults.substr(begin, faults.find(';', begin) - begin);
  }

  const std::string trace = environment("GIGAFETCH_TRACE");
  const std::string boot_id = environment("GIGAFETCH_BOOT_ID");
  const std::string mount_id = environment("GIGAFETCH_MOUNT_ID");
  const std::string faults = environment("GIGAFETCH_FAULTS");
  const bool active = !faults.empty() || !trace.empty();
  const std::string calls = item(value_of("calls"));
  const std::string path = value_of("path");
  const bool falls_short = value_of("error") == "short";
  const int error = errno_of(value_of("error"));
  const uint64_t nth = std::strtoull(value_of("nth", "1").c_str(), nullptr, 10);
  const uint64_t count = std::strtoull(value_of("count", "1").c_str(), nullptr, 10);
  const uint64_t every = std::strtoull(value_of("every", "1").c_str(), nullptr, 10);
  std::atomic<uint64_t>* seen = nullptr;  // calls of the whole tree that could have failed
};

// Made when first used, for other libraries call before this one's constructors run; but before the
// first fork, so that the count is shared.
const Settings& settings() {
  static const Settings& the_settings = *new Settings;  // calls go on while the process ends
  return the_settings;
}
[[maybe_unused]] const bool made_at_start = (settings(), true);

std::string path_of(int fd) {
  const std::string link =
      fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/" + std::to_string(fd);
  char path[PATH_MAX];
  const ssize_t length = ::readlink(link.c_str(), path, sizeof path);
  return std::string(path, length < 0 ? 0 : static_cast<size_t>(length));
}

std::string path_at(int folder, std::string_view name) {
  return name.starts_with('/') ? std::string(name) : path_of(folder).append("/").append(name);
}

bool matters(std::string_view path) {
  if (!path.starts_with('/')) return false;  // "socket:[1]", "pipe:[2]", "anon_inode:..."
  if (path.starts_with("/dev/shm/")) return true;
  for (const auto system : {"/proc/"sv, "/dev/"sv, "/sys/"sv, "/usr/"sv, "/lib/"sv, "/lib64/"sv,
                            "/etc/"sv, "/memfd:"sv}) {
    if (path.starts_with(system)) return false;
  }
  return true;
}

bool is_struck(std::string_view call, std::string_view path) {
  const Settings& s = settings();
  if (s.seen == nullptr || path.find(s.path) == path.npos ||
      s.calls.find(item(call)) == s.calls.npos ||
      (s.falls_short && call.find("write") == call.npos)) {
    return false;
  }
  const uint64_t number = ++*s.seen;
  if (number < s.nth || (number - s.nth) % s.every != 0) return false;
  return s.count == 0 || (number - s.nth) / s.every < s.count;
}

void trace(const std::string& call, const std::string& path, long result, bool struck) {
  const Settings& s = settings();
  if (s.trace.empty()) return;
  const int saved = errno;
  const std::string line = call + '\t' + path + '\t' +
                           (result < 0 ? ::strerrorname_np(saved) : std::to_string(result)) + '\t' +
                           std::to_string(::getpid()) + (struck ? "\tinjected\n" : "\n");
  // Opened for each line: the program may close descriptors that it does not know.
  const int fd = REAL(open)(s.trace.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  REAL(write)(fd, line.data(), line.size());
  REAL(close)(fd);
  errno = saved;
}

// `real(is_short)` makes the call.
template <typename Real>
auto intercept(const std::string& call, const std::string& path, Real real) {
  if (!matters(path)) return real(false);
  const bool struck = is_struck(call, path);
  const bool fails = struck && !settings().falls_short;
  decltype(real(false)) result = -1;
  if (!fails || call == "close") result = real(struck);
  if (fails) {
    errno = settings().error;
    result = -1;
  }
  trace(call, path, result, struck);
  return result;
}

template <typename Real>
auto on_descriptor(const char* call, int fd, Real real) {
  if (!settings().active || (fd >= 0 && fd <= 2)) return real(false);
  return intercept(call, path_of(fd), real);
}

template <typename Real>
auto on_name(const char* call, int folder, const char* name, Real real) {
  if (!settings().active) return real(false);
  return intercept(call, path_at(folder, name), real);
}

bool is_boot_id(const char* name) {
  return !settings().boot_id.empty() && name == "/proc/sys/kernel/random/boot_id"sv;
}

int open_boot_id() {
  const int fd = ::memfd_create("boot_id", MFD_CLOEXEC);
  const std::string text = settings().boot_id + "\n";
  REAL(write)(fd, text.data(), text.size());
  ::lseek(fd, 0, SEEK_SET);
  return fd;
}

size_t part_of(size_t bytes, bool is_short) {
  return is_short && bytes > 1 ? bytes / 2 : bytes;
}

// Names of a folder whose names fold, as the calls below are to find them.
class Folded {
 public:
  // `name`, given to a call that makes an entry or not.
  Folded(int folder, const char* name, bool makes) : name_(name) {
    static const std::string setting = environment("GIGAFETCH_FOLD");
    if (setting.empty()) return;
    static const folding::Rules rules(setting.substr(0, setting.find(' ')));
    static const std::string root = setting.substr(setting.find(' ') + 1);
    const int saved = errno;
    const std::string path = path_at(folder, name_);
    if (path.starts_with(root + "/")) {
      refused_ = makes && rules.refuses(path.substr(path.rfind('/') + 1));
      name_ = root + "/" + rules.find_path(root, path.substr(root.size() + 1), ::opendir);
      // Relative to its folder, as it was given: openat2 takes no other.
      const std::string base = path_of(folder) + "/";
      if (!std::string_view(name).starts_with('/')) name_.erase(0, base.size());
    }
    errno = saved;
  }
  const char* name() const { return name_.c_str(); }
  bool is_refused() const {
    if (refused_) errno = EINVAL;
    return refused_;
  }

 private:
  std::string name_;
  bool refused_ = false;
};

ssize_t write_vector(int fd, const iovec* pieces, int count, bool is_short) {
  if (!is_short) return REAL(writev)(fd, pieces, count);
  std::string bytes;
  for (const iovec* piece = pieces; piece < pieces + count; ++piece)
    bytes.append(static_cast<const char*>(piece->iov_base), piece->iov_len);
  return REAL(write)(fd, bytes.data(), part_of(bytes.size(), true));
}

}  // namespace

// The mode of an open is there only when a file may be made, and is not looked at otherwise.
#define TAKE_MODE(last)                          \
  va_list arguments;                             \
  va_start(arguments, last);                     \
  const mode_t mode = va_arg(arguments, mode_t); \
  va_end(arguments)

extern "C" {

int open(const char* name, int flags, ...) {
  TAKE_MODE(flags);
  if (is_boot_id(name)) return open_boot_id();
  const Folded found(AT_FDCWD, name, (flags & O_CREAT) != 0);
  if (found.is_refused()) return -1;
  return on_name("open", AT_FDCWD, found.name(),
                 [&](bool) { return REAL(open)(found.name(), flags, mode); });
}

int openat(int folder, const char* name, int flags, ...) {
  TAKE_MODE(flags);
  if (is_boot_id(name)) return open_boot_id();
  const Folded found(folder, name, (flags & O_CREAT) != 0);
  if (found.is_refused()) return -1;
  return on_name("openat", folder, found.name(),
                 [&](bool) { return REAL(openat)(folder, found.name(), flags, mode); });
}

long syscall(long number, ...) noexcept {
  va_list arguments;
  va_start(arguments, number);
  long a[6];  // as many as any call takes; those that were not given are not looked at
  for (long& argument : a)
    argument = va_arg(arguments, long);
  va_end(arguments);
  const auto real = [&](bool) { return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]); };
  if (number != SYS_openat2) return real(false);
  const auto folder = static_cast<int>(a[0]);
  const Folded found(folder, reinterpret_cast<const char*>(a[1]), false);
  a[1] = reinterpret_cast<long>(found.name());
  return on_name("openat2", folder, found.name(), real);
}

ssize_t write(int fd, const void* bytes, size_t size) {
  return on_descriptor(
      "write", fd, [&](bool is_short) { return REAL(write)(fd, bytes, part_of(size, is_short)); });
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  return on_descriptor("pwrite", fd, [&](bool is_short) {
    return REAL(pwrite)(fd, bytes, part_of(size, is_short), offset);
  });
}

ssize_t writev(int fd, const iovec* pieces, int count) {
  return on_descriptor("writev", fd,
                       [&](bool is_short) { return write_vector(fd, pieces, count, is_short); });
}

#define ON_DESCRIPTOR(call) on_descriptor(#call, fd, [&](bool) { return REAL(call)(fd); })
int close(int fd) {
  return ON_DESCRIPTOR(close);
}
int fsync(int fd) {
  return ON_DESCRIPTOR(fsync);
}
int fdatasync(int fd) {
  return ON_DESCRIPTOR(fdatasync);
}
int syncfs(int fd) noexcept {
  return ON_DESCRIPTOR(syncfs);
}

int ftruncate(int fd, off_t size) noexcept {
  return on_descriptor("ftruncate", fd, [&](bool) { return REAL(ftruncate)(fd, size); });
}

int mkdir(const char* name, mode_t mode) noexcept {
  const Folded found(AT_FDCWD, name, true);
  if (found.is_refused()) return -1;
  return on_name("mkdir", AT_FDCWD, found.name(),
                 [&](bool) { return REAL(mkdir)(found.name(), mode); });
}

int mkdirat(int folder, const char* name, mode_t mode) noexcept {
  const Folded found(folder, name, true);
  if (found.is_refused()) return -1;
  return on_name("mkdirat", folder, found.name(),
                 [&](bool) { return REAL(mkdirat)(folder, found.name(), mode); });
}

int unlinkat(int folder, const char* name, int flags) noexcept {
  const Folded found(folder, name, false);
  return on_name("unlinkat", folder, found.name(),
                 [&](bool) { return REAL(unlinkat)(folder, found.name(), flags); });
}

int fstatat(int folder, const char* name, struct stat* there, int flags) noexcept {
  return REAL(fstatat)(folder, Folded(folder, name, false).name(), there, flags);
}

int renameat(int from, const char* old_name, int to, const char* name) noexcept {
  const auto real = [&](bool) { return REAL(renameat)(from, old_name, to, name); };
  if (!settings().active) return real(false);
  return intercept("renameat", path_at(from, old_name) + " -> " + path_at(to, name), real);
}

// Of these only what was made to fail is traced.
pid_t fork() noexcept {
  if (!settings().active || !is_struck("fork", "")) return REAL(fork)();
  errno = settings().error;
  trace("fork", "", -1, true);
  return -1;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                   void* argument) noexcept {
  if (!settings().active || !is_struck("pthread_create", "")) {
    return REAL(pthread_create)(thread, attributes, body, argument);
  }
  errno = settings().error;
  trace("pthread_create", "", -1, true);
  return settings().error;
}

int statx(int folder, const char* name, int flags, unsigned mask, struct statx* there) noexcept {
  const int result = REAL(statx)(folder, name, flags, mask, there);
  if (result == 0 && !settings().mount_id.empty()) {
    there->stx_mask |= 0x4000;  // STATX_MNT_ID_UNIQUE
    there->stx_mnt_id = std::strtoull(settings().mount_id.c_str(), nullptr, 10);
  }
  return result;
}

int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  const int result = REAL(fcntl)(fd, command, argument);
  if (result == 0 && command == F_GET_RW_HINT && !settings().mount_id.empty()) {
    *static_cast<uint64_t*>(argument) = 0;
  }
  return result;
}

static_assert(sizeof(off_t) == sizeof(off64_t), "the names below are the same functions");
int open64(const char*, int, ...) __attribute__((alias("open")));
int openat64(int, const char*, int, ...) __attribute__((alias("openat")));
ssize_t pwrite64(int, const void*, size_t, off64_t) __attribute__((alias("pwrite")));
int fstatat64(int, const char*, struct stat64*, int) noexcept __attribute__((alias("fstatat")));
int fcntl64(int, int, ...) __attribute__((alias("fcntl")));
int ftruncate64(int, off64_t) noexcept __attribute__((alias("ftruncate")));

}  // extern "C"
