// A library for LD_PRELOAD that makes system calls fail, notes their order and pretends a reboot.
//
//   GIGAFETCH_FAULTS   "calls=write,openat;error=ENOSPC;nth=17;count=2;path=/ledger": of the calls
//                      listed, the 17th and the 18th of the whole process tree fail. nth and count
//                      are 1 unless given, count=0 is all that follow. With `path` only calls count
//                      whose path contains it. The error `short` lets write, pwrite and writev
//                      write half of their bytes, and is nothing to other calls.
//   GIGAFETCH_TRACE    a file that gets one line a call: its name, path, result ("ENOSPC" for a
//                      failure), process id and, for a call that was made to fail or fall short,
//                      "injected"; tabs between. The path of a rename is "OLD -> NEW".
//   GIGAFETCH_BOOT_ID  what /proc/sys/kernel/random/boot_id says.
//
// The count is kept over fork(2), and starts anew with execve(2). Standard input, output and error,
// sockets, pipes and the system's own folders are left alone. What the C library does inside itself
// (fopen(3)) is not seen. A close that fails has closed, as on Linux.
#undef _FILE_OFFSET_BITS  // or the headers would call open64 what is open here

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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
#include <vector>

// The function of this name behind this library.
#define REAL(name)                                                                           \
  ([] {                                                                                      \
    static const auto real = reinterpret_cast<decltype(&::name)>(::dlsym(RTLD_NEXT, #name)); \
    return real;                                                                             \
  }())

namespace {

using namespace std::string_view_literals;

// "a,b" at ',' is {"a", "b"}.
std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

int errno_of(std::string_view name) {
  for (int value = 1; value < 200; ++value) {
    const char* const known = ::strerrorname_np(value);
    if (known != nullptr && known == name) return value;
  }
  return 0;
}

[[noreturn]] void refuse(const char* variable) {
  ::dprintf(2, "fault shim: %s cannot be understood\n", variable);
  ::_exit(127);
}

struct Settings {
  Settings() {
    if (const char* value = std::getenv("GIGAFETCH_TRACE")) trace = value;
    if (const char* value = std::getenv("GIGAFETCH_BOOT_ID")) boot_id = value;
    if (const char* value = std::getenv("GIGAFETCH_FAULTS")) read_faults(value);
    active = seen != nullptr || !trace.empty();
  }
  void read_faults(const std::string& text) {
    for (const std::string_view part : split(text, ';')) {
      const size_t equals = std::min(part.find('='), part.size() - 1);
      const std::string_view key = part.substr(0, equals);
      const std::string value(part.substr(equals + 1));
      if (key == "calls") {
        for (const std::string_view call : split(value, ','))
          calls.emplace_back(call);
      } else if (key == "error") {
        falls_short = value == "short";
        error = errno_of(value);
      } else if (key == "nth") {
        nth = std::strtoull(value.c_str(), nullptr, 10);
      } else if (key == "count") {
        count = std::strtoull(value.c_str(), nullptr, 10);
      } else if (key == "path") {
        path = value;
      } else {
        refuse("GIGAFETCH_FAULTS");
      }
    }
    if (calls.empty() || nth == 0 || (error == 0 && !falls_short)) refuse("GIGAFETCH_FAULTS");
    void* const shared =
        ::mmap(nullptr, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) refuse("GIGAFETCH_FAULTS");
    seen = new (shared) std::atomic<uint64_t>(0);
  }

  std::vector<std::string> calls;
  std::string path, trace, boot_id;
  int error = 0;
  bool falls_short = false;
  uint64_t nth = 1, count = 1;
  std::atomic<uint64_t>* seen = nullptr;  // calls of the whole tree that could have failed
  bool active = false;
};

// Made when first used: other libraries call before this one's constructors run.
const Settings& settings() {
  static const Settings the_settings;
  return the_settings;
}
// The count must be there before the first fork.
[[maybe_unused]] const bool made_at_start = (settings(), true);

using Path = std::array<char, 2 * PATH_MAX>;

Path path_of(int fd) {
  Path path{}, link;
  std::snprintf(link.data(), link.size(), fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d",
                fd);
  if (::readlink(link.data(), path.data(), path.size() - 1) < 0) path[0] = '\0';
  return path;
}

Path path_at(int folder, const char* name) {
  Path path{};
  if (name[0] != '/') path = path_of(folder);
  const size_t length = std::strlen(path.data());
  std::snprintf(path.data() + length, path.size() - length, name[0] == '/' ? "%s" : "/%s", name);
  return path;
}

bool matters(std::string_view path) {
  if (!path.starts_with('/')) return false;  // "socket:[1]", "pipe:[2]", "anon_inode:..."
  if (path.starts_with("/dev/shm/")) return true;
  for (const auto system :
       {"/proc"sv, "/dev"sv, "/sys"sv, "/usr"sv, "/lib"sv, "/lib64"sv, "/etc"sv, "/memfd:"sv}) {
    if (path.starts_with(system) &&
        (path.size() == system.size() || system.back() == ':' || path[system.size()] == '/')) {
      return false;
    }
  }
  return true;
}

bool is_struck(std::string_view call, std::string_view path) {
  const Settings& s = settings();
  if (s.seen == nullptr || path.find(s.path) == path.npos ||
      std::find(s.calls.begin(), s.calls.end(), call) == s.calls.end() ||
      (s.falls_short && call.find("write") == call.npos)) {
    return false;
  }
  const uint64_t number = ++*s.seen;
  return number >= s.nth && (s.count == 0 || number - s.nth < s.count);
}

void trace(const char* call, const char* path, long result, bool struck) {
  const Settings& s = settings();
  if (s.trace.empty()) return;
  const int saved = errno;
  // Opened for each line: the program may close descriptors that it does not know.
  const int fd = REAL(open)(s.trace.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  std::array<char, 2 * sizeof(Path) + 100> line;
  const std::string number = std::to_string(result);
  const int length = std::snprintf(line.data(), line.size(), "%s\t%s\t%s\t%d%s\n", call, path,
                                   result < 0 ? ::strerrorname_np(saved) : number.c_str(),
                                   ::getpid(), struck ? "\tinjected" : "");
  REAL(write)(fd, line.data(), static_cast<size_t>(length));
  REAL(close)(fd);
  errno = saved;
}

// `real(is_short)` makes the call.
template <typename Real>
long intercept(const char* call, const char* path, Real real) {
  const bool struck = is_struck(call, path);
  const bool fails = struck && !settings().falls_short;
  long result = -1;
  if (!fails || call == "close"sv) result = real(struck);
  if (fails) {
    errno = settings().error;
    result = -1;
  }
  trace(call, path, result, struck);
  return result;
}

template <typename Real>
long on_descriptor(const char* call, int fd, Real real) {
  if (!settings().active || (fd >= 0 && fd <= 2)) return real(false);
  const Path path = path_of(fd);
  return matters(path.data()) ? intercept(call, path.data(), real) : real(false);
}

template <typename Real>
long on_name(const char* call, int folder, const char* name, Real real) {
  if (!settings().boot_id.empty() && name == "/proc/sys/kernel/random/boot_id"sv) {
    const int fd = ::memfd_create("boot_id", MFD_CLOEXEC);
    const std::string text = settings().boot_id + "\n";
    REAL(write)(fd, text.data(), text.size());
    ::lseek(fd, 0, SEEK_SET);
    return fd;
  }
  if (!settings().active) return real(false);
  const Path path = path_at(folder, name);
  return matters(path.data()) ? intercept(call, path.data(), real) : real(false);
}

template <typename Real>
long on_names(const char* call, int from, const char* old_name, int to, const char* name,
              Real real) {
  if (!settings().active) return real(false);
  const Path target = path_at(to, name);
  if (!matters(target.data())) return real(false);
  std::array<char, 2 * sizeof(Path)> both;
  std::snprintf(both.data(), both.size(), "%s -> %s", path_at(from, old_name).data(),
                target.data());
  return intercept(call, both.data(), real);
}

size_t part_of(size_t bytes, bool is_short) {
  return is_short && bytes > 1 ? bytes / 2 : bytes;
}

ssize_t write_vector(int fd, const iovec* pieces, int count, bool is_short) {
  if (!is_short) return REAL(writev)(fd, pieces, count);
  std::vector<iovec> part(pieces, pieces + count);
  size_t left = 0;
  for (const iovec& piece : part)
    left += piece.iov_len;
  left = part_of(left, true);
  for (iovec& piece : part) {
    piece.iov_len = std::min(piece.iov_len, left);
    left -= piece.iov_len;
  }
  return REAL(writev)(fd, part.data(), count);
}

// The mode of an open is there only when a file may be made.
#define OPTIONAL_MODE(flags)                              \
  mode_t mode = 0;                                        \
  if ((flags) & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) { \
    va_list arguments;                                    \
    va_start(arguments, flags);                           \
    mode = va_arg(arguments, mode_t);                     \
    va_end(arguments);                                    \
  }

}  // namespace

#define OPEN(function)                                                                             \
  int function(const char* name, int flags, ...) {                                                 \
    OPTIONAL_MODE(flags)                                                                           \
    return static_cast<int>(                                                                       \
        on_name("open", AT_FDCWD, name, [&](bool) { return REAL(function)(name, flags, mode); })); \
  }
#define OPENAT(function)                                                                           \
  int function(int folder, const char* name, int flags, ...) {                                     \
    OPTIONAL_MODE(flags)                                                                           \
    return static_cast<int>(on_name(                                                               \
        "openat", folder, name, [&](bool) { return REAL(function)(folder, name, flags, mode); })); \
  }
#define PWRITE(function, offset_type)                                            \
  ssize_t function(int fd, const void* bytes, size_t size, offset_type offset) { \
    return on_descriptor("pwrite", fd, [&](bool is_short) {                      \
      return REAL(function)(fd, bytes, part_of(size, is_short), offset);         \
    });                                                                          \
  }
#define FTRUNCATE(function, offset_type)                                                 \
  int function(int fd, offset_type size) noexcept {                                      \
    return static_cast<int>(                                                             \
        on_descriptor("ftruncate", fd, [&](bool) { return REAL(function)(fd, size); })); \
  }
#define ON_DESCRIPTOR(function, ...)                                             \
  int function(int fd) __VA_ARGS__ {                                             \
    return static_cast<int>(                                                     \
        on_descriptor(#function, fd, [&](bool) { return REAL(function)(fd); })); \
  }

extern "C" {

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)
ON_DESCRIPTOR(close)
ON_DESCRIPTOR(fsync)
ON_DESCRIPTOR(fdatasync)
ON_DESCRIPTOR(syncfs, noexcept)

long syscall(long number, ...) noexcept {
  va_list arguments;
  va_start(arguments, number);
  long a[6];  // as many as any call takes; those that were not given are never looked at
  for (long& argument : a)
    argument = va_arg(arguments, long);
  va_end(arguments);
  const auto real = [&](bool) { return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]); };
  if (number != SYS_openat2) return real(false);
  return on_name("openat2", static_cast<int>(a[0]), reinterpret_cast<const char*>(a[1]), real);
}

ssize_t write(int fd, const void* bytes, size_t size) {
  return on_descriptor(
      "write", fd, [&](bool is_short) { return REAL(write)(fd, bytes, part_of(size, is_short)); });
}

ssize_t writev(int fd, const iovec* pieces, int count) {
  return on_descriptor("writev", fd,
                       [&](bool is_short) { return write_vector(fd, pieces, count, is_short); });
}

int mkdir(const char* name, mode_t mode) noexcept {
  return static_cast<int>(
      on_name("mkdir", AT_FDCWD, name, [&](bool) { return REAL(mkdir)(name, mode); }));
}

int mkdirat(int folder, const char* name, mode_t mode) noexcept {
  return static_cast<int>(
      on_name("mkdirat", folder, name, [&](bool) { return REAL(mkdirat)(folder, name, mode); }));
}

int unlink(const char* name) noexcept {
  return static_cast<int>(
      on_name("unlink", AT_FDCWD, name, [&](bool) { return REAL(unlink)(name); }));
}

int unlinkat(int folder, const char* name, int flags) noexcept {
  return static_cast<int>(
      on_name("unlinkat", folder, name, [&](bool) { return REAL(unlinkat)(folder, name, flags); }));
}

int rename(const char* old_name, const char* name) noexcept {
  return static_cast<int>(on_names("rename", AT_FDCWD, old_name, AT_FDCWD, name,
                                   [&](bool) { return REAL(rename)(old_name, name); }));
}

int renameat(int from, const char* old_name, int to, const char* name) noexcept {
  return static_cast<int>(on_names("renameat", from, old_name, to, name,
                                   [&](bool) { return REAL(renameat)(from, old_name, to, name); }));
}

}  // extern "C"
