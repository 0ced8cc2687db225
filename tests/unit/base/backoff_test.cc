#include "base/backoff.h"

#include <doctest/doctest.h>

#include <algorithm>

namespace gigafetch {
namespace {

struct Range {
  int64_t least;
  int64_t most;
};

// What many draws span.
Range drawn(const Backoff& backoff, uint32_t failures) {
  Random random(1);
  Range range{INT64_MAX, INT64_MIN};
  for (int i = 0; i < 20'000; ++i) {
    const int64_t delay = backoff.delay(failures, random).count();
    range.least = std::min(range.least, delay);
    range.most = std::max(range.most, delay);
  }
  return range;
}

}  // namespace

TEST_CASE("a delay doubles with each failure and is drawn from the whole upper half") {
  const Backoff backoff(Millis(100), Millis(5'000));
  int64_t whole = 100;
  for (uint32_t failures = 1; failures <= 6; ++failures, whole *= 2) {
    CAPTURE(failures);
    const Range range = drawn(backoff, failures);
    CHECK(range.least >= whole / 2);
    CHECK(range.least <= whole / 2 + whole / 100);
    CHECK(range.most <= whole);
    CHECK(range.most >= whole - whole / 100);
  }
}

TEST_CASE("a delay stays within the cap, however many failures there were") {
  const Backoff backoff(Millis(100), Millis(5'000));
  for (const uint32_t failures :
       {7u, 20u, 21u, 22u, 31u, 32u, 33u, 63u, 64u, 65u, 1'000'000u, UINT32_MAX - 1, UINT32_MAX}) {
    CAPTURE(failures);
    const Range range = drawn(backoff, failures);
    CHECK(range.least >= 2'500);
    CHECK(range.most <= 5'000);
    CHECK(range.most > 4'900);
  }
}

TEST_CASE("no failure at all waits as long as the first") {
  const Backoff backoff(Millis(100), Millis(5'000));
  CHECK(drawn(backoff, 0).least == drawn(backoff, 1).least);
  CHECK(drawn(backoff, 0).most == drawn(backoff, 1).most);
}

TEST_CASE("the cap is reached however far it is from the first delay") {
  const Backoff backoff(Millis(1), Millis(3'600'000));
  CHECK(drawn(backoff, 100).most > 3'500'000);
}

TEST_CASE("a cap below the first delay wins") {
  const Range range = drawn(Backoff(Millis(1'000), Millis(10)), 1);
  CHECK(range.least >= 5);
  CHECK(range.most <= 10);
}

TEST_CASE("a delay of nothing stays nothing") {
  const Range range = drawn(Backoff(Millis(0), Millis(0)), 3);
  CHECK(range.least == 0);
  CHECK(range.most == 0);
}

}  // namespace gigafetch
