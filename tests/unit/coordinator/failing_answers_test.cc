#include "coordinator/failing_answers.h"

#include <doctest/doctest.h>

using namespace gigafetch;
using namespace gigafetch::coordinator;

namespace {

TimePoint at(int64_t millis) {
  return TimePoint(Millis(millis));
}

// A worker and what it counts.
struct Worker {
  FailingAnswers& failing;
  wire::WorkerCounters counters{};

  void good(uint64_t answers, int64_t now = 0) {
    const wire::WorkerCounters before = counters;
    counters.responses += answers;
    counters.failing = 0;
    failing.on_counters(before, counters, at(now));
  }
  void bad(uint64_t answers, uint16_t status, int64_t now = 0) {
    const wire::WorkerCounters before = counters;
    counters.responses += answers;
    counters.failing = status == counters.failing_status ? counters.failing + answers : answers;
    counters.failing_status = status;
    failing.on_counters(before, counters, at(now));
  }
};

FileFailure failed(uint16_t status) {
  return {FailureClass::http_status, status, 1, "x"};
}

}  // namespace

TEST_CASE("a thousand failing answers of one status in a row are the end, over all workers") {
  FailingAnswers failing;
  Worker one{failing}, two{failing};
  one.bad(600, 500);
  two.bad(399, 500);
  CHECK_FALSE(failing.reached(at(0)));
  one.bad(1, 500);
  CHECK(failing.reached(at(0)));
  CHECK(failing.text().find("1000 answers in a row had status 500") != std::string::npos);
}

TEST_CASE("a good answer of any worker, or another status, begins the count anew") {
  FailingAnswers failing;
  Worker one{failing}, two{failing};
  one.bad(999, 404);
  two.good(1);
  one.bad(999, 404);
  CHECK_FALSE(failing.reached(at(0)));
  two.bad(5, 500);
  one.bad(999, 404);
  CHECK_FALSE(failing.reached(at(0)));
  one.bad(1, 404);
  CHECK(failing.reached(at(0)));
}

TEST_CASE("of a report with good answers in it only what came behind them counts") {
  FailingAnswers failing;
  wire::WorkerCounters counters{};
  counters.responses = 3000;
  counters.failing = 7;  // the last seven; two thousand others were spread over the rest
  counters.failing_status = 500;
  failing.on_counters({}, counters, at(0));
  CHECK_FALSE(failing.reached(at(0)));
}

TEST_CASE("a report without an answer changes nothing") {
  FailingAnswers failing;
  Worker one{failing};
  one.bad(1000, 403);
  failing.on_counters({}, {}, at(5));
  CHECK(failing.reached(at(5)));
}

TEST_CASE("an origin that asks for less must have done so for a while, or have cost a file") {
  for (const uint16_t status : {uint16_t{429}, uint16_t{503}}) {
    FailingAnswers failing;
    Worker one{failing};
    one.good(1, 1000);
    one.bad(5000, status, 2000);
    CHECK_FALSE(failing.reached(at(2000)));
    one.bad(5000, status, 11'999);
    CHECK_FALSE(failing.reached(at(11'999)));
    CHECK(failing.reached(at(12'000)));
    one.good(1, 12'000);
    one.bad(1000, status, 12'001);
    CHECK_FALSE(failing.reached(at(12'001)));
    failing.on_failure(failed(404));
    CHECK_FALSE(failing.reached(at(12'001)));
    failing.on_failure(failed(status));
    CHECK(failing.reached(at(12'001)));
    one.good(1, 12'002);
    one.bad(1000, status, 12'003);
    CHECK_MESSAGE(!failing.reached(at(12'003)), "the file that it cost is of an earlier row");
  }
}
