#include "base/rate_limit.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "base/random.h"

using namespace gigafetch;

namespace {

constexpr TimePoint at(int64_t ms) {
  return TimePoint(Millis(ms));
}

// The most requests that were let through in any window, beyond rate * length of the window.
double worst_excess(const std::vector<int64_t>& times, double per_second) {
  double worst = 0;
  for (size_t first = 0; first < times.size(); ++first) {
    for (size_t last = first; last < times.size(); ++last) {
      const double window = static_cast<double>(times[last] - times[first]) / 1000;
      worst = std::max(worst, static_cast<double>(last - first + 1) - per_second * window);
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("without a rate everything passes") {
  RateLimit limit(0, at(0));
  for (int i = 0; i < 1000; ++i)
    CHECK(limit.take(at(0)));
  CHECK(limit.wait() == Millis(0));
}

TEST_CASE("no window of any length lets more pass than its share and one burst") {
  for (const double rate : {0.5, 1.0, 3.0, 10.0, 97.0, 1000.0}) {
    Random random(42);
    const double burst = std::max(1.0, rate / 10);
    RateLimit limit(rate, at(0));
    std::vector<int64_t> passed;
    int64_t now = 0;
    for (int i = 0; i < 20'000 && passed.size() < 1500; ++i) {
      // Long pauses, short ones and none: a bucket must not fill over its brim in any of them.
      const uint64_t kind = random.below(100);
      if (kind < 2) now += static_cast<int64_t>(random.below(20'000));
      if (kind >= 2 && kind < 40) now += static_cast<int64_t>(random.below(20));
      if (limit.take(at(now))) passed.push_back(now);
    }
    CAPTURE(rate);
    CHECK(passed.size() > 10);
    CHECK(worst_excess(passed, rate) <= burst + 1e-6);
  }
}

TEST_CASE("whoever asks all the time gets the whole rate") {
  for (const double rate : {1.0, 7.0, 50.0, 400.0}) {
    RateLimit limit(rate, at(0));
    int passed = 0;
    for (int64_t now = 0; now < 100'000; ++now)
      passed += limit.take(at(now)) ? 1 : 0;
    CAPTURE(rate);
    CHECK(passed >= static_cast<int>(rate * 100 * 0.99));
    CHECK(passed <= static_cast<int>(rate * 100 + rate / 10 + 2));
  }
}

TEST_CASE("after the wait that is given, the next request passes") {
  for (const double rate : {0.3, 1.0, 33.0, 999.0}) {
    RateLimit limit(rate, at(0));
    int64_t now = 0;
    for (int i = 0; i < 200; ++i) {
      while (limit.take(at(now))) {
      }
      const Millis wait = limit.wait();
      CAPTURE(rate);
      CHECK(wait > Millis(0));
      now += wait.count();
      CHECK(limit.take(at(now)));
    }
  }
}

TEST_CASE("the wait is not much longer than it must be") {
  RateLimit limit(10, at(0));
  REQUIRE(limit.take(at(0)));
  REQUIRE_FALSE(limit.take(at(0)));
  CHECK(limit.wait() >= Millis(100));
  CHECK(limit.wait() <= Millis(101));
}

TEST_CASE("there is no burst at the start") {
  RateLimit limit(1000, at(0));
  int passed = 0;
  while (limit.take(at(0)))
    ++passed;
  CHECK(passed == 1);
}

TEST_CASE("a burst is as large as it was allowed to be, or one") {
  const auto burst = [](double per_second, double burst_seconds) {
    RateLimit limit(per_second, at(0), burst_seconds);
    int taken = 0;
    while (limit.take(at(60'000)))
      ++taken;
    return taken;
  };
  CHECK(burst(1000, 0.1) == 100);
  CHECK(burst(1000, 0.05) == 50);
  CHECK(burst(1000, 0) == 1);
  CHECK(burst(2, 0.1) == 1);
}

TEST_CASE("a rate that is set to what it is changes nothing") {
  RateLimit limit(10, at(0)), untouched(10, at(0));
  Random random(5);
  for (int64_t now = 0; now < 20'000; now += static_cast<int64_t>(random.below(70))) {
    limit.set(10, at(now));
    CHECK(limit.take(at(now)) == untouched.take(at(now)));
    CHECK(limit.wait() == untouched.wait());
  }
}

TEST_CASE("a rate that is set holds from then on, without a burst for the time before") {
  RateLimit limit(0, at(0));
  for (int i = 0; i < 100; ++i)
    REQUIRE(limit.take(at(5000)));
  limit.set(100, at(10'000));
  int passed = 0;
  for (int64_t now = 10'000; now <= 12'000; ++now) {
    while (limit.take(at(now)))
      ++passed;
  }
  CHECK(passed >= 199);
  CHECK(passed <= 201);
}

TEST_CASE("a rate that is lowered lets nothing pass that gathered above its own burst") {
  RateLimit limit(1000, at(0));
  limit.set(10, at(60'000));
  int passed = 0;
  while (limit.take(at(60'000)))
    ++passed;
  CHECK(passed == 1);
  CHECK(limit.wait() > Millis(0));
  CHECK(limit.wait() <= Millis(101));
}

TEST_CASE("a rate that is raised shortens the wait, and keeps what has gathered") {
  RateLimit limit(0.1, at(0));
  REQUIRE(limit.take(at(0)));
  REQUIRE_FALSE(limit.take(at(5000)));  // half of one has gathered
  limit.set(1, at(5000));
  CHECK(limit.wait() <= Millis(501));
  CHECK_FALSE(limit.take(at(5400)));
  CHECK(limit.take(at(5502)));
}

TEST_CASE("a rate that is taken away lets everything pass at once") {
  RateLimit limit(0.001, at(0));
  REQUIRE(limit.take(at(0)));
  REQUIRE_FALSE(limit.take(at(0)));
  limit.set(0, at(0));
  CHECK(limit.wait() == Millis(0));
  for (int i = 0; i < 100; ++i)
    CHECK(limit.take(at(0)));
}

TEST_CASE("however often the rate is set, no more passes than the rates and one burst each") {
  Random random(9);
  for (int round = 0; round < 50; ++round) {
    RateLimit limit(50, at(0));
    double allowed = 1;
    double rate = 50;
    int passed = 0;
    int64_t now = 0;
    for (int i = 0; i < 300; ++i) {
      const auto step = static_cast<int64_t>(random.below(40));
      now += step;
      allowed += rate * static_cast<double>(step) / 1000;
      if (random.chance(0.5)) {
        rate = static_cast<double>(1 + random.below(100));
        limit.set(rate, at(now));
      }
      while (limit.take(at(now)))
        ++passed;
      CHECK(passed <= allowed + 1e-6);
    }
  }
}

TEST_CASE("while it is held nothing passes, and what had gathered is gone") {
  RateLimit limit(100, at(0));
  limit.hold_until(at(61'000));  // by then ten would have gathered
  int passed = 0;
  for (int64_t now = 60'000; now <= 61'000; ++now)
    passed += limit.take(at(now)) ? 1 : 0;
  CHECK(passed == 0);
  for (int64_t now = 61'001; now <= 62'000; ++now) {
    while (limit.take(at(now)))
      ++passed;
  }
  CHECK(passed >= 99);
  CHECK(passed <= 100);
}

TEST_CASE("where there is no limit, nothing is held") {
  RateLimit limit(0, at(0));
  limit.hold_until(at(1000));
  CHECK(limit.take(at(0)));
  CHECK(limit.wait() == Millis(0));
}
