#include "coordinator/wait_meter.h"

#include <doctest/doctest.h>

using namespace gigafetch;
using namespace gigafetch::coordinator;

namespace {

constexpr TimePoint at(int64_t ms) {
  return TimePoint(Millis(ms));
}

}  // namespace

TEST_CASE("no time, no share") {
  WaitMeter meter(4, at(1000));
  CHECK(meter.share(at(1000)) == 0);
}

TEST_CASE("workers that never wait have a share of none, workers that always wait have the whole") {
  WaitMeter busy(4, at(0)), idle(4, at(0));
  idle.update(4, at(0));
  CHECK(busy.share(at(5000)) == 0);
  CHECK(idle.share(at(5000)) == doctest::Approx(1));
}

TEST_CASE("the share is that of the worker-seconds") {
  WaitMeter meter(4, at(0));
  meter.update(2, at(1000));  // none waited in the first second
  meter.update(4, at(2000));  // two in the second one
  meter.update(0, at(3000));  // all in the third
  CHECK(meter.share(at(3000)) == doctest::Approx(6.0 / 12));
  CHECK(meter.share(at(6000)) == doctest::Approx(6.0 / 24));
}

TEST_CASE("a wait that goes on counts up to the time asked for, and asking changes nothing") {
  WaitMeter meter(2, at(0));
  meter.update(1, at(0));
  CHECK(meter.share(at(1000)) == doctest::Approx(0.5));
  CHECK(meter.share(at(4000)) == doctest::Approx(0.5));
  meter.update(0, at(4000));
  CHECK(meter.share(at(8000)) == doctest::Approx(0.25));
}

TEST_CASE("saying the same twice counts once") {
  WaitMeter once(2, at(0)), twice(2, at(0));
  once.update(1, at(100));
  twice.update(1, at(100));
  twice.update(1, at(100));
  twice.update(1, at(500));
  CHECK(once.share(at(1000)) == doctest::Approx(twice.share(at(1000))));
  CHECK(once.share(at(1000)) == doctest::Approx(0.45));
}
