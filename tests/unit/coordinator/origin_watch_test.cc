#include "coordinator/origin_watch.h"

#include <doctest/doctest.h>

#include "base/standard_error.h"

using namespace gigafetch;
using namespace gigafetch::coordinator;

namespace {

constexpr int64_t kMinute = 60'000, kHour = 3'600'000;
constexpr TimePoint at(int64_t ms) {
  return TimePoint(Millis(1'000'000 + ms));
}

}  // namespace

TEST_CASE("an origin that has never answered is given up after a minute") {
  const Patience patience(at(0));
  CHECK(patience.allowed() == Millis(kMinute));
  CHECK_FALSE(patience.exhausted(at(0)));
  CHECK_FALSE(patience.exhausted(at(kMinute - 1)));
  CHECK(patience.exhausted(at(kMinute)));
}

TEST_CASE("an origin that has answered once is given an hour since its last answer") {
  Patience patience(at(0));
  patience.on_life(at(30'000));
  CHECK(patience.allowed() == Millis(kHour));
  CHECK_FALSE(patience.exhausted(at(30'000 + kHour - 1)));
  CHECK(patience.exhausted(at(30'000 + kHour)));
  patience.on_life(at(kHour));
  CHECK_FALSE(patience.exhausted(at(2 * kHour - 1)));
  CHECK(patience.exhausted(at(2 * kHour)));
}

TEST_CASE("an origin that was asked for a page has the time of one, once") {
  Patience patience(at(0));
  patience.on_question(at(30'000), Millis(10'000));
  CHECK(patience.allowed() == Millis(kMinute));
  Patience slow(at(0));
  slow.on_question(at(30'000), Millis(2 * kMinute));
  slow.on_question(at(100'000), Millis(2 * kMinute));
  CHECK_FALSE(slow.exhausted(at(30'000 + 2 * kMinute - 1)));
  CHECK(slow.exhausted(at(30'000 + 2 * kMinute)));
  slow.on_life(at(140'000));
  CHECK(slow.allowed() == Millis(kHour));
}

TEST_CASE("a watch calls nobody while there is patience left") {
  net::Loop loop;
  int given_up = 0;
  {
    OriginWatch watch(loop, "http://origin", [&](const std::string&) { ++given_up; });
    watch.trouble("cannot connect");
    watch.alive();
    for (int turn = 0; turn < 5; ++turn) {
      uv_run(loop.uv(), UV_RUN_NOWAIT);
    }
  }
  loop.run();
  CHECK(given_up == 0);
}

TEST_CASE("each trouble is told once since the origin last answered") {
  net::Loop loop;
  {
    OriginWatch watch(loop, "http://origin", [](const std::string&) {});
    StandardError captured;
    init_log(LogLevel::warning, "test");
    for (int round = 0; round < 3; ++round) {
      watch.trouble("connections end unanswered");
      watch.trouble("cannot connect");
    }
    const std::vector<std::string> told = captured.writes();
    REQUIRE(told.size() == 2);
    CHECK(told[0].find("connections end unanswered; trying again for up to 60 s") !=
          std::string::npos);
    CHECK(told[1].find("cannot connect; trying again for up to 60 s") != std::string::npos);
    watch.alive();
    watch.trouble("cannot connect");
    CHECK(captured.writes().size() == 1);
    for (int address = 0; address < 1000; ++address)
      watch.trouble(std::to_string(address));
    CHECK(captured.writes().size() == 7);
  }
  loop.run();
}
