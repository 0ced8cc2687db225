#include "base/ring.h"

#include <doctest/doctest.h>

#include <deque>
#include <string>

#include "base/random.h"

namespace gigafetch {

TEST_CASE("a ring gives back what was pushed, first in first out, across its end") {
  for (const size_t capacity : {size_t{1}, size_t{2}, size_t{3}, size_t{8}}) {
    CAPTURE(capacity);
    Ring<std::string> ring(capacity);
    std::deque<std::string> model;
    Random random(capacity);
    for (int i = 0; i < 10'000; ++i) {
      if (!ring.full() && (ring.empty() || random.below(2) == 0)) {
        ring.push(std::to_string(i));
        model.push_back(std::to_string(i));
      } else {
        REQUIRE(ring.front() == model.front());
        REQUIRE(ring.pop() == model.front());
        model.pop_front();
      }
      REQUIRE(ring.size() == model.size());
      REQUIRE(ring.empty() == model.empty());
      REQUIRE(ring.full() == (model.size() == capacity));
    }
  }
}

TEST_CASE("the front of a ring can be changed in place") {
  Ring<int> ring(2);
  ring.push(1);
  ring.front() = 5;
  CHECK(ring.pop() == 5);
}

TEST_CASE("a ring without room is empty and full") {
  Ring<int> ring(0);
  CHECK(ring.empty());
  CHECK(ring.full());
}

}  // namespace gigafetch
