#include "supervisor/death_count.h"

#include <doctest/doctest.h>

using namespace gigafetch;
using namespace gigafetch::supervisor;

namespace {

TimePoint at(int64_t ms) {
  return TimePoint(Millis(ms));
}

}  // namespace

TEST_CASE("five deaths in a row are hopeless, four are not") {
  DeathCount deaths;
  for (int i = 0; i < 4; ++i)
    deaths.worker_died(at(i * 10), at(i * 10 + 5));
  CHECK_FALSE(deaths.is_hopeless());
  deaths.worker_died(at(40), at(45));
  CHECK(deaths.in_a_row() == 5);
  CHECK(deaths.is_hopeless());
}

TEST_CASE("what was there already when the last death was counted dies of the same cause") {
  DeathCount deaths;
  for (int i = 0; i < 16; ++i)
    deaths.worker_died(at(0), at(100 + i));
  CHECK(deaths.in_a_row() == 1);
  deaths.worker_died(at(200), at(201));
  CHECK(deaths.in_a_row() == 2);
}

TEST_CASE("a coordinator's death counts whenever it was forked, but not twice in one moment") {
  DeathCount deaths;
  deaths.worker_died(at(0), at(1'000));
  deaths.coordinator_died(at(0), at(1'001));
  CHECK(deaths.in_a_row() == 1);
  deaths.coordinator_died(at(0), at(2'000));
  CHECK(deaths.in_a_row() == 2);
  deaths.coordinator_died(at(2'010), at(2'011));
  CHECK(deaths.in_a_row() == 3);
}

TEST_CASE("something stored in between begins a new row, in which old processes count") {
  DeathCount deaths;
  deaths.worker_died(at(0), at(100));
  deaths.something_was_stored();
  CHECK(deaths.in_a_row() == 0);
  deaths.worker_died(at(0), at(200));
  CHECK(deaths.in_a_row() == 1);
}

TEST_CASE("the wait before the next fork grows with the row, between 50 ms and 5 s") {
  Random random(1);
  DeathCount deaths;
  deaths.worker_died(at(0), at(1));
  CHECK(deaths.wait(random) >= Millis(50));
  CHECK(deaths.wait(random) <= Millis(100));
  for (int i = 1; i < 20; ++i)
    deaths.worker_died(at(i * 10), at(i * 10 + 1));
  CHECK(deaths.wait(random) >= Millis(2'500));
  CHECK(deaths.wait(random) <= Millis(5'000));
}
