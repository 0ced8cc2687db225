#include "base/log.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace gigafetch {
namespace {

// Stands in for standard error; a write(2) is one packet, so that writes can be counted.
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
    init_log(LogLevel::off, "test");
    ::dup2(saved_.get(), STDERR_FILENO);
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

}  // namespace

TEST_CASE("a line carries level and role, and is one write") {
  StandardError captured;
  init_log(LogLevel::info, "worker 3");
  log_warning("{} of {}", 1, "two");
  log_error("{}", std::string(20'000, 'x'));
  const std::vector<std::string> writes = captured.writes();
  REQUIRE(writes.size() == 2);
  CHECK(writes[0].ends_with(" warning [worker 3] 1 of two\n"));
  CHECK(writes[1].ends_with(std::string(20'000, 'x') + "\n"));
}

TEST_CASE("lines below the level are left out") {
  StandardError captured;
  const auto log_all = [] {
    log_debug("d");
    log_info("i");
    log_warning("w");
    log_error("e");
  };
  size_t expected = 4;
  for (const LogLevel level :
       {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error, LogLevel::off}) {
    init_log(level, "test");
    log_all();
    CHECK(captured.writes().size() == expected);
    CHECK(log_enabled(LogLevel::info) == (expected >= 3));
    CHECK(log_enabled(LogLevel::error) == (expected >= 1));
    if (expected > 0) --expected;
  }
}

TEST_CASE("braces in a logged text are not read as a format") {
  StandardError captured;
  init_log(LogLevel::info, "test");
  log_info("{}", "{} {0} {nonsense");
  const std::vector<std::string> writes = captured.writes();
  REQUIRE(writes.size() == 1);
  CHECK(writes[0].ends_with("] {} {0} {nonsense\n"));
}

}  // namespace gigafetch
