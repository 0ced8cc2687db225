// What standard error may be, with a reader that a test can hold up.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <string>

#include "base/unique_fd.h"

namespace gigafetch {

// What is there to be read.
inline std::string read_all(int fd) {
  std::string text;
  char bytes[64 * 1024];
  ssize_t got;
  while ((got = ::read(fd, bytes, sizeof bytes)) > 0)
    text.append(bytes, static_cast<size_t>(got));
  return text;
}

// Its write end blocks, as that of a shell does.
struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    out = UniqueFd(ends[0]);
    in = UniqueFd(ends[1]);
    REQUIRE(::fcntl(out.get(), F_SETFL, O_NONBLOCK) == 0);
  }
  // Until it takes nothing more.
  void fill() const {
    REQUIRE(::fcntl(in.get(), F_SETFL, O_NONBLOCK) == 0);
    const std::string page(4096, '.');
    while (::write(in.get(), page.data(), page.size()) > 0) {
    }
    REQUIRE(::fcntl(in.get(), F_SETFL, 0) == 0);
  }
  std::string read() const { return read_all(out.get()); }

  UniqueFd out, in;
};

struct Terminal {
  Terminal() : master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)) {
    REQUIRE(::grantpt(master.get()) == 0);
    REQUIRE(::unlockpt(master.get()) == 0);
    slave = UniqueFd(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(slave);
  }
  void stop() const { REQUIRE(::tcflow(slave.get(), TCOOFF) == 0); }
  void go_on() const { REQUIRE(::tcflow(slave.get(), TCOON) == 0); }
  std::string read() const { return read_all(master.get()); }

  UniqueFd master, slave;
};

}  // namespace gigafetch
