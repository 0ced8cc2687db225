#include "supervisor/silence.h"

#include <doctest/doctest.h>

using namespace gigafetch;
using namespace gigafetch::supervisor;

TEST_CASE("a silence is too long when the waits that found nothing add up to the patience") {
  Silence silence(Millis(60'000));
  for (int i = 0; i < 59; ++i)
    silence.waited(Millis(1'000), Millis(1'000));
  CHECK_FALSE(silence.is_too_long());
  silence.waited(Millis(1'000), Millis(1'000));
  CHECK(silence.is_too_long());
}

TEST_CASE("a word breaks the silence") {
  Silence silence(Millis(1'000));
  silence.waited(Millis(999), Millis(1'000));
  silence.broken();
  silence.waited(Millis(999), Millis(1'000));
  CHECK_FALSE(silence.is_too_long());
}

TEST_CASE("a listener that was away for an hour accuses nobody") {
  Silence silence(Millis(60'000));
  silence.waited(Millis(3'600'000), silence.longest_wait());
  silence.waited(Millis(3'600'000), Millis(3'600'000));
  CHECK_FALSE(silence.is_too_long());
}

TEST_CASE("a wait that ended early counts as long as it was") {
  Silence silence(Millis(400));
  silence.waited(Millis(1), silence.longest_wait());
  for (int i = 0; i < 3; ++i)
    silence.waited(silence.longest_wait(), silence.longest_wait());
  CHECK_FALSE(silence.is_too_long());
}

TEST_CASE("waits are short enough to tell a gap from a silence, and never without an end") {
  CHECK(Silence(Millis(60'000)).longest_wait() == Millis(1'000));
  CHECK(Silence(Millis(300)).longest_wait() == Millis(75));
  CHECK(Silence(Millis(1)).longest_wait() == Millis(1));
}
