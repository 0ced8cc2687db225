#include "base/nonblocking_writer.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/stuck_reader.h"
#include "base/temp_folder.h"

namespace gigafetch {
namespace {

using Way = NonblockingWriter::Way;

int write(NonblockingWriter& writer, std::string_view text) {
  size_t written = 0;
  const int failed = writer.write(text, written);
  CHECK((failed != 0 || written == text.size()));
  return failed;
}

bool is_blocking(int fd) {
  return (::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0;
}

}  // namespace

TEST_CASE("the way to write depends on what is written to") {
  const Pipe pipe;
  CHECK(NonblockingWriter(pipe.in.get()).way() == Way::own);
  const Terminal terminal;
  CHECK(NonblockingWriter(terminal.slave.get()).way() == Way::own);
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const UniqueFd here(ends[0]), there(ends[1]);
  CHECK(NonblockingWriter(here.get()).way() == Way::send);
  const UniqueFd null(::open("/dev/null", O_WRONLY));
  CHECK(NonblockingWriter(null.get()).way() == Way::write);
  CHECK(NonblockingWriter(-1).way() == Way::write);
}

TEST_CASE("a full pipe is told, and takes more when it has been read") {
  for (const Way way : {Way::own, Way::splice, Way::poll}) {
    CAPTURE(static_cast<int>(way));
    const Pipe pipe;
    NonblockingWriter writer(pipe.in.get(), way);
    CHECK(write(writer, "first\n") == 0);
    CHECK(pipe.read() == "first\n");
    pipe.fill();
    CHECK(write(writer, "lost\n") == EAGAIN);
    CHECK(write(writer, "lost\n") == EAGAIN);
    CHECK(is_blocking(pipe.in.get()));
    CHECK(pipe.read().find("lost") == std::string::npos);
    CHECK(write(writer, "last\n") == 0);
    CHECK(pipe.read() == "last\n");
  }
}

TEST_CASE("up to PIPE_BUF bytes go into a pipe as a whole or not at all") {
  const std::string line(PIPE_BUF, 'x');
  for (const Way way : {Way::own, Way::splice}) {
    const Pipe pipe;
    NonblockingWriter writer(pipe.in.get(), way);
    size_t lines = 0;
    while (write(writer, line) == 0)
      ++lines;
    CHECK(lines > 0);
    CHECK(pipe.read().size() == lines * line.size());
  }
}

TEST_CASE("a pipe without a reader is told") {
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  for (const Way way : {Way::own, Way::splice}) {
    Pipe pipe;
    NonblockingWriter writer(pipe.in.get(), way);
    pipe.out.reset();
    CHECK(write(writer, "text\n") == EPIPE);
  }
  ::signal(SIGPIPE, before);
}

TEST_CASE("a stopped terminal is told, and takes more when it goes on") {
  const Terminal terminal;
  NonblockingWriter writer(terminal.slave.get());
  terminal.stop();
  CHECK(write(writer, "lost\n") == EAGAIN);
  CHECK(is_blocking(terminal.slave.get()));
  terminal.go_on();
  CHECK(write(writer, "text\n") == 0);
  CHECK(terminal.read() == "text\r\n");
}

TEST_CASE("a socket whose reader is slow, or gone, is told") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const UniqueFd here(ends[0]);
  UniqueFd there(ends[1]);
  NonblockingWriter writer(here.get());
  const std::string line(1000, 'x');
  size_t written = 0;
  int failed = 0;
  for (int i = 0; i < 10'000 && failed == 0; ++i)
    failed = writer.write(line, written);
  CHECK(failed == EAGAIN);
  there.reset();
  CHECK(writer.write(line, written) == EPIPE);
}

TEST_CASE("a disk that is full, and a descriptor that is closed, are told") {
  const UniqueFd full(::open("/dev/full", O_WRONLY));
  NonblockingWriter writer(full.get());
  CHECK(write(writer, "text\n") == ENOSPC);
  NonblockingWriter closed(-1);
  CHECK(write(closed, "text\n") == EBADF);
}

TEST_CASE("a file is appended to where its other holders write") {
  const TempFolder folder;
  const UniqueFd file(::open((folder.path() / "log").c_str(), O_RDWR | O_CREAT, 0600));
  NonblockingWriter writer(file.get());
  CHECK(write(writer, "one\n") == 0);
  CHECK(::write(file.get(), "two\n", 4) == 4);
  CHECK(write(writer, "three\n") == 0);
  char bytes[64];
  CHECK(std::string(bytes, static_cast<size_t>(::pread(file.get(), bytes, sizeof bytes, 0))) ==
        "one\ntwo\nthree\n");
}

}  // namespace gigafetch
