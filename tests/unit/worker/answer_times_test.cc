#include "worker/answer_times.h"

#include <doctest/doctest.h>

using namespace gigafetch;
using namespace gigafetch::worker;

TEST_CASE("patience follows from how long answers take, within bounds") {
  AnswerTimes times;
  CHECK(times.tail_patience(Millis(30'000)) == Millis(1000));
  CHECK(times.probation_terms(0, 64).quiet == Millis(20));
  for (int i = 0; i < 1000; ++i)
    times.on_answer(Millis(100));
  CHECK(times.usual(2) > Millis(190));
  CHECK(times.tail_patience(Millis(30'000)) > Millis(3000));
  CHECK(times.tail_patience(Millis(4'000)) == Millis(2000));
  CHECK(times.probation_terms(0, 64).quiet == Millis(125));
  CHECK(times.probation_terms(0, 64).long_quiet == Millis(400));
}

TEST_CASE("an origin that misframes is trusted with little until it has answered much") {
  AnswerTimes times;
  const size_t usual = times.probation_terms(100, 64).most;
  times.on_misframed(100);
  CHECK(times.probation_terms(101, 64).most < usual);
  CHECK(times.probation_terms(101, 64).quiet == times.probation_terms(101, 64).long_quiet);
  CHECK(times.probation_terms(20'000, 64).most == usual);
  CHECK(times.probation_terms(20'000, 64).quiet == Millis(20));
}
