#include "base/log.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "base/standard_error.h"

namespace gigafetch {

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
