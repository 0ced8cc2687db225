#include "supervisor/run_figures.h"

#include <doctest/doctest.h>

using namespace gigafetch;
using namespace gigafetch::supervisor;

namespace {

TimePoint at(int64_t ms) {
  return TimePoint(Millis(ms));
}

Figures figures(uint64_t stored, uint64_t fetched, uint64_t requests = 0, double bound = 0) {
  Figures result;
  result.listed = stored + 10;
  result.stored = stored;
  result.fetched = fetched;
  result.requests = requests;
  result.retries = requests / 10;
  result.listing_bound = bound;
  return result;
}

}  // namespace

TEST_CASE("what one coordinator says are the figures of the run") {
  RunFigures run;
  run.begin_coordinator(at(0));
  run.take(figures(100, 50, 200, 0.25), at(1'000));
  CHECK(run.sums().listed == 110);
  CHECK(run.sums().stored == 100);
  CHECK(run.sums().fetched == 50);
  CHECK(run.sums().requests == 200);
  CHECK(run.sums().retries == 20);
  CHECK(run.sums().listing_bound == 0.25);
}

TEST_CASE("what coordinators count for themselves is added up, what they find is not") {
  RunFigures run;
  run.begin_coordinator(at(0));
  run.take(figures(100, 50, 200), at(500));
  run.take(figures(150, 100, 300), at(1'000));
  run.begin_coordinator(at(2'000));
  CHECK(run.sums().requests == 300);
  run.take(figures(150, 0, 10), at(2'100));
  CHECK(run.sums().stored == 150);
  CHECK(run.sums().fetched == 100);
  CHECK(run.sums().requests == 310);
  CHECK(run.sums().retries == 31);
  run.begin_coordinator(at(3'000));
  run.take(figures(170, 20, 40), at(3'100));
  CHECK(run.sums().stored == 170);
  CHECK(run.sums().fetched == 120);
  CHECK(run.sums().requests == 350);
}

TEST_CASE("a coordinator that died without a word leaves nothing to add") {
  RunFigures run;
  run.begin_coordinator(at(0));
  run.take(figures(100, 100, 100, 1), at(1'000));
  for (int i = 0; i < 3; ++i)
    run.begin_coordinator(at(2'000 + i));
  CHECK(run.sums().requests == 100);
  run.take(figures(100, 0, 1, 1), at(3'000));
  CHECK(run.sums().requests == 101);
  CHECK(run.sums().listing_bound == doctest::Approx(1));
}

TEST_CASE("the share of time is weighted by time") {
  RunFigures run;
  run.begin_coordinator(at(0));
  run.take(figures(0, 0, 0, 1), at(3'000));
  run.begin_coordinator(at(10'000));  // the gap between two coordinators belongs to none
  run.take(figures(0, 0, 0, 0), at(11'000));
  CHECK(run.sums().listing_bound == doctest::Approx(0.75));
  run.take(figures(0, 0, 0, 0), at(13'000));
  CHECK(run.sums().listing_bound == doctest::Approx(0.5));
}

TEST_CASE("figures in the very moment of the start divide by nothing") {
  RunFigures run;
  run.begin_coordinator(at(0));
  run.take(figures(0, 0, 0, 0.5), at(0));
  CHECK(run.sums().listing_bound == 0.5);
}

TEST_CASE("what a coordinator stored but did not live to tell is progress") {
  RunFigures run;
  run.begin_coordinator(at(0));
  CHECK_FALSE(run.take(figures(1'000, 0), at(1)));
  run.begin_coordinator(at(2));
  CHECK(run.take(figures(1'001, 0), at(3)));
  CHECK_FALSE(run.take(figures(1'001, 0), at(4)));
}

TEST_CASE("progress is what coordinators store, not what the first one finds stored") {
  RunFigures run;
  run.begin_coordinator(at(0));
  CHECK_FALSE(run.take(figures(1'000, 0), at(1)));
  CHECK_FALSE(run.take(figures(1'000, 0), at(2)));
  CHECK(run.take(figures(1'001, 1), at(3)));
  CHECK_FALSE(run.take(figures(1'001, 1), at(4)));
  run.begin_coordinator(at(5));
  CHECK_FALSE(run.take(figures(1'001, 0), at(6)));
  CHECK(run.take(figures(1'001, 1), at(7)));
  run.begin_coordinator(at(8));
  CHECK(run.take(figures(1'060, 10), at(9)));
  run.begin_coordinator(at(10));  // one that counts its own work only, as verify's does
  CHECK_FALSE(run.take(figures(0, 0), at(11)));
  CHECK(run.take(figures(5, 0), at(12)));
}

TEST_CASE("at the end of a run only what is settled is listed") {
  RunFigures run;
  run.begin_coordinator(at(0));
  Figures told = figures(34, 34);
  told.listed = 600;
  told.failed = 3;
  told.rejected = 2;
  told.duplicates = 1;
  run.take(told, at(1'000));
  CHECK(run.sums().listed == 600);
  CHECK(run.settled().listed == 40);
  CHECK(run.settled().balanced());
  CHECK(RunFigures().settled().balanced());
}

TEST_CASE("what is shown does not run backwards when a coordinator begins anew") {
  RunFigures run;
  run.begin_coordinator(at(0));
  run.take(figures(100, 100, 200), at(1'000));
  CHECK(run.shown().stored == 100);
  run.begin_coordinator(at(2'000));  // as verify's do
  run.take(figures(0, 0, 1), at(3'000));
  CHECK(run.shown().listed == 110);
  CHECK(run.shown().stored == 100);
  CHECK(run.shown().requests == 201);
  CHECK(run.shown().fetched == 100);
  run.take(figures(99, 99, 150), at(4'000));
  CHECK(run.shown().stored == 100);
  CHECK(run.settled().stored == 99);  // but at the end the truth is told
  run.take(figures(101, 101, 160), at(5'000));
  CHECK(run.shown().stored == 101);
  CHECK(run.shown().listed == 111);
  run.take(figures(90, 101, 160), at(6'000));  // a listing that begins anew does run backwards
  CHECK(run.shown().stored == 90);
}
