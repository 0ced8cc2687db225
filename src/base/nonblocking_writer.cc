#include "base/nonblocking_writer.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace gigafetch {
namespace {

constexpr int kOpenFlags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

bool is_terminal(int fd) {
  return ::isatty(fd) == 1;
}

bool is_same_terminal(int one, int other) {
  unsigned one_number = 0, other_number = 0;
  return ::ioctl(one, TIOCGDEV, &one_number) == 0 && ::ioctl(other, TIOCGDEV, &other_number) == 0 &&
         one_number == other_number;
}

}  // namespace

NonblockingWriter::NonblockingWriter(int fd) : fd_(fd), way_(Way::write) {
  struct stat file {};
  if (::fstat(fd, &file) != 0) return;
  if (S_ISSOCK(file.st_mode)) {
    way_ = Way::send;
  } else if (S_ISFIFO(file.st_mode)) {
    way_ = open_again() ? Way::own : open_pipe() ? Way::splice : Way::poll;
  } else if (is_terminal(fd)) {
    way_ = open_again() ? Way::own : Way::poll;
  }
}

NonblockingWriter::NonblockingWriter(int fd, Way way) : fd_(fd), way_(way) {
  if (way == Way::own) open_again();
  if (way == Way::splice) open_pipe();
}

bool NonblockingWriter::open_again() {
  own_ = UniqueFd(::open(fmt::format("/proc/self/fd/{}", fd_).c_str(), kOpenFlags));
  if (own_ || !is_terminal(fd_)) return static_cast<bool>(own_);
  own_ = UniqueFd(::open("/dev/tty", kOpenFlags));
  if (own_ && !is_same_terminal(own_.get(), fd_)) own_.reset();
  return static_cast<bool>(own_);
}

bool NonblockingWriter::open_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return false;
  pipe_out_ = UniqueFd(ends[0]);
  pipe_in_ = UniqueFd(ends[1]);
  return true;
}

int NonblockingWriter::write(std::string_view bytes, size_t& written) {
  written = 0;
  ssize_t got;
  do {
    got = write_some(bytes);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return errno;
  written = static_cast<size_t>(got);
  return 0;
}

ssize_t NonblockingWriter::write_some(std::string_view bytes) {
  switch (way_) {
    case Way::write:
      return ::write(fd_, bytes.data(), bytes.size());
    case Way::own:
      return ::write(own_.get(), bytes.data(), bytes.size());
    case Way::send:
      return ::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    case Way::splice:
      return splice_some(bytes);
    case Way::poll:
      return poll_and_write(bytes);
  }
  return 0;
}

ssize_t NonblockingWriter::splice_some(std::string_view bytes) {
  const ssize_t ready =
      ::write(pipe_in_.get(), bytes.data(), std::min<size_t>(bytes.size(), PIPE_BUF));
  if (ready <= 0) return ready;
  const ssize_t moved = ::splice(pipe_out_.get(), nullptr, fd_, nullptr, static_cast<size_t>(ready),
                                 SPLICE_F_NONBLOCK);
  const int failed = errno;
  // Our pipe is empty between two writes, so that what it was given is one piece of one page.
  char rest[PIPE_BUF];
  if (moved < ready && ::read(pipe_out_.get(), rest, sizeof rest) < 0) return -1;
  errno = failed;
  return moved;
}

ssize_t NonblockingWriter::poll_and_write(std::string_view bytes) {
  pollfd room{fd_, POLLOUT, 0};
  const int ready = ::poll(&room, 1, 0);
  if (ready < 0) return -1;
  if (ready == 0) {
    errno = EAGAIN;
    return -1;
  }
  return ::write(fd_, bytes.data(), std::min<size_t>(bytes.size(), PIPE_BUF));
}

}  // namespace gigafetch
