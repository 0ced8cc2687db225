// Standard error, held for a test that reads what is logged.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/unique_fd.h"

namespace gigafetch {

// Stands in for standard error, for what is logged after the next init_log(); a write is one
// packet, so that writes can be counted.
class StandardError {
 public:
  StandardError() {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    read_end_ = UniqueFd(ends[0]);
    const UniqueFd write_end(ends[1]);
    std::fflush(stderr);
    saved_ = UniqueFd(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
    REQUIRE(::dup2(write_end.get(), STDERR_FILENO) == STDERR_FILENO);
  }
  ~StandardError() {
    ::dup2(saved_.get(), STDERR_FILENO);
    init_log(LogLevel::off, "test");
  }

  // The writes since the last call.
  std::vector<std::string> writes() {
    std::vector<std::string> out;
    char packet[64 * 1024];
    ssize_t got;
    while ((got = ::recv(read_end_.get(), packet, sizeof packet, MSG_DONTWAIT)) > 0) {
      out.emplace_back(packet, static_cast<size_t>(got));
    }
    return out;
  }

 private:
  UniqueFd read_end_, saved_;
};

}  // namespace gigafetch
