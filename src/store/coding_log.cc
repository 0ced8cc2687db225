#include "store/coding_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/escape.h"
#include "base/io.h"

namespace gigafetch::store {
namespace {

constexpr char kFile[] = "encodings.jsonl";
constexpr std::string_view kLineBegin = "{\"coding\":\"";
constexpr size_t kMostCounted = 16;
constexpr size_t kReadBytes = 256 * 1024;

Error failed(int error_number, std::string_view what) {
  return errno_error(error_number, fmt::format("cannot {} {} in the state folder", what, kFile));
}

// A FIFO must not hold us up, nor a device be read.
bool is_regular(int fd) {
  struct stat file;
  return ::fstat(fd, &file) == 0 && S_ISREG(file.st_mode);
}

}  // namespace

void CodingLog::add(std::string_view name, std::string_view coding) {
  buffer_ += "{\"coding\":";
  append_json_string(buffer_, coding);
  buffer_ += ",\"name\":";
  append_json_string(buffer_, name);
  buffer_ += "}\n";
}

Result<void> CodingLog::open() {
  fd_.reset(::openat(state_fd_, kFile,
                     O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
  if (!fd_) return failed(errno, "open");
  if (!is_regular(fd_.get())) {
    return error(ErrorCode::unsafe, "{} in the state folder is no regular file; remove it", kFile);
  }
  struct stat log, output;
  if (::fstat(fd_.get(), &log) != 0 || ::fstat(output_fd_, &output) != 0) {
    return failed(errno, "examine");
  }
  // On one file system the sync of the output covers this, too.
  sync_ = sync_ && log.st_dev != output.st_dev;
  char last = '\n';
  if (log.st_size > 0 && ::pread(fd_.get(), &last, 1, log.st_size - 1) != 1) {
    return failed(errno, "read");
  }
  // A line that a full disk or a death has cut: what follows must not be taken for its rest.
  if (last != '\n') buffer_.insert(0, 1, '\n');
  return {};
}

Result<void> CodingLog::flush() {
  if (buffer_.empty()) return {};
  if (!fd_) {
    if (Result<void> opened = open(); !opened) return opened;
  }
  if (const int failure = write_all(fd_.get(), buffer_); failure != 0) {
    return failed(failure, "write");
  }
  buffer_.clear();
  if (sync_ && ::fdatasync(fd_.get()) != 0) return failed(errno, "sync");
  return {};
}

Result<void> CodingLog::remove(int state_fd) {
  if (::unlinkat(state_fd, kFile, 0) != 0 && errno != ENOENT) return failed(errno, "remove");
  return {};
}

Result<std::map<std::string, uint64_t>> CodingLog::count(int state_fd) {
  std::map<std::string, uint64_t> counts;
  const UniqueFd fd(::openat(state_fd, kFile, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd && errno == ENOENT) return counts;
  if (!fd) return failed(errno, "open");
  if (!is_regular(fd.get())) return counts;
  std::string bytes(kReadBytes, '\0');
  std::string line;  // its beginning, as far as a coding may reach
  constexpr size_t kEnough = 128;
  for (;;) {
    const ssize_t got = ::read(fd.get(), bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed(errno, "read");
    if (got == 0) return counts;
    std::string_view rest(bytes.data(), static_cast<size_t>(got));
    while (!rest.empty()) {
      const size_t end = rest.find('\n');
      if (line.size() < kEnough) line += rest.substr(0, std::min(end, kEnough));
      if (end == rest.npos) break;
      rest.remove_prefix(end + 1);
      const std::string whole = std::exchange(line, {});
      if (!whole.starts_with(kLineBegin)) continue;
      const size_t quote = whole.find('"', kLineBegin.size());
      std::string coding = whole.substr(kLineBegin.size(), quote - kLineBegin.size());
      if (counts.size() >= kMostCounted && !counts.contains(coding)) coding = "other";
      ++counts[coding];
    }
  }
}

}  // namespace gigafetch::store
