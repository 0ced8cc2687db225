#include "base/io.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "base/nonblocking_writer.h"

namespace gigafetch {

int write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return errno;
      pollfd room{fd, POLLOUT, 0};
      ::poll(&room, 1, -1);
      continue;
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

int write_within(int fd, std::string_view bytes, Millis patience) {
  constexpr int kPollMs = 10;
  const TimePoint deadline = monotonic_now() + patience;
  NonblockingWriter writer(fd);
  while (!bytes.empty()) {
    size_t written = 0;
    const int failed = writer.write(bytes, written);
    if (failed != 0 && failed != EAGAIN) return failed;
    bytes.remove_prefix(written);
    if (failed == 0) continue;
    if (monotonic_now() >= deadline) return ETIMEDOUT;
    ::poll(nullptr, 0, kPollMs);
  }
  return 0;
}

Result<std::string> read_to_end(int fd, size_t max_bytes, std::string_view what) {
  std::string bytes;
  char chunk[16 * 1024];
  for (;;) {
    const ssize_t got = ::read(fd, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, fmt::format("cannot read {}", what));
    if (got == 0) return bytes;
    bytes.append(chunk, static_cast<size_t>(got));
    if (bytes.size() > max_bytes) {
      return error(ErrorCode::too_large, "{} is over {} bytes", what, max_bytes);
    }
  }
}

}  // namespace gigafetch
