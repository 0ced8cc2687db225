#include "base/random.h"

#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>

namespace gigafetch {

TEST_CASE("the generator gives SplitMix64's published values") {
  Random random(1234567);
  CHECK(random.next() == 6457827717110365317ull);
  CHECK(random.next() == 3203168211198807973ull);
  CHECK(random.next() == 9817491932198370423ull);
  CHECK(random.next() == 4593380528125082431ull);
  CHECK(random.next() == 16408922859458223821ull);
}

TEST_CASE("a bounded draw reaches every value below its bound and none above") {
  Random random(7);
  for (const uint64_t bound : {1u, 2u, 3u, 7u, 10u}) {
    CAPTURE(bound);
    int seen[10] = {};
    for (int i = 0; i < 10'000; ++i) {
      const uint64_t drawn = random.below(bound);
      REQUIRE(drawn < bound);
      ++seen[drawn];
    }
    for (uint64_t value = 0; value < bound; ++value) {
      CHECK(seen[value] > 10'000 / static_cast<int>(bound) / 2);
    }
  }
  bool high_half = false;
  for (int i = 0; i < 100; ++i)
    high_half |= random.below(UINT64_MAX) > UINT64_MAX / 2;
  CHECK(high_half);
}

TEST_CASE("a chance of 0 never comes, of 1 always, and others at their rate") {
  Random random(8);
  int tenth = 0;
  for (int i = 0; i < 100'000; ++i) {
    REQUIRE_FALSE(random.chance(0));
    REQUIRE(random.chance(1));
    tenth += random.chance(0.1);
  }
  CHECK(std::abs(tenth - 10'000) < 500);
}

TEST_CASE("a chance of 0 draws nothing") {
  Random drawn(9), untouched(9);
  CHECK_FALSE(drawn.chance(0));
  CHECK(drawn.next() == untouched.next());
}

}  // namespace gigafetch
