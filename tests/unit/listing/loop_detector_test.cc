#include "listing/loop_detector.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace gigafetch::listing {
namespace {

// How many markers it takes until a repetition is seen; 0 when `limit` of them do not show one.
// The listing goes through `tail` markers of their own and then round a circle of `length`.
size_t seen_after(size_t tail, size_t length, size_t limit) {
  LoopDetector detector;
  for (size_t i = 0; i < limit; ++i) {
    const size_t at = i < tail ? i : tail + (i - tail) % length;
    if (detector.repeats("marker " + std::to_string(at))) return i + 1;
  }
  return 0;
}

}  // namespace

TEST_CASE("a marker that names itself is seen at once") {
  LoopDetector detector;
  CHECK_FALSE(detector.repeats("a"));
  CHECK(detector.repeats("a"));
}

TEST_CASE("two pages that name each other are seen") {
  LoopDetector detector;
  CHECK_FALSE(detector.repeats("a"));
  CHECK_FALSE(detector.repeats("b"));
  bool seen = false;
  for (int i = 0; i < 3 && !seen; ++i) {
    seen = detector.repeats("a");
    seen = seen || detector.repeats("b");
  }
  CHECK(seen);
}

TEST_CASE("a circle of L pages behind M others is seen within 3 (M + L) pages") {
  for (size_t tail = 0; tail <= 70; ++tail) {
    for (size_t length = 1; length <= 70; ++length) {
      const size_t seen = seen_after(tail, length, 3 * (tail + length) + 1);
      if (seen == 0 || seen <= tail + length || seen > 3 * (tail + length)) {
        CAPTURE(tail);
        CAPTURE(length);
        FAIL("seen after ", seen);
      }
    }
  }
}

TEST_CASE("a long tail into a short circle, and a long circle, are seen") {
  CHECK(seen_after(100'000, 2, 300'006) > 0);
  CHECK(seen_after(1, 100'000, 300'003) > 0);
}

TEST_CASE("markers that never repeat raise no alarm") {
  LoopDetector detector;
  bool alarm = false;
  for (int i = 0; i < 100'000; ++i)
    alarm |= detector.repeats(std::to_string(i));
  CHECK_FALSE(alarm);
}

TEST_CASE("any bytes can be a marker, none at all included") {
  LoopDetector detector;
  CHECK_FALSE(detector.repeats(""));
  CHECK(detector.repeats(""));
  LoopDetector other;
  CHECK_FALSE(other.repeats(std::string_view("a\0b", 3)));
  CHECK_FALSE(other.repeats(std::string_view("a\0c", 3)));
}

}  // namespace gigafetch::listing
