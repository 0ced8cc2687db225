#include "coordinator/failing_answers.h"

#include <doctest/doctest.h>

using namespace gigafetch;
using namespace gigafetch::coordinator;

namespace {

// A worker that counts.
struct Worker {
  explicit Worker(FailingAnswers& to) : failing(to) {}
  void answers(uint64_t good, uint64_t bad, uint16_t status = 500) {
    const wire::WorkerCounters before = counters;
    counters.responses += good + bad;
    counters.failing += bad;
    if (bad > 0) counters.failing_status = status;
    failing.on_counters(before, counters);
  }
  FailingAnswers& failing;
  wire::WorkerCounters counters;
};

constexpr uint64_t kMost = FailingAnswers::kMost;

}  // namespace

TEST_CASE("a thousand failing answers in a row are enough, one fewer is not") {
  FailingAnswers failing;
  Worker worker(failing);
  CHECK_FALSE(failing.reached());
  for (uint64_t i = 1; i < kMost; ++i)
    worker.answers(0, 1);
  CHECK_FALSE(failing.reached());
  worker.answers(0, 1);
  CHECK(failing.reached());
  CHECK(failing.text().find("1000 answers in a row had status 500") != std::string::npos);
}

TEST_CASE("failing answers are counted over all workers") {
  FailingAnswers failing;
  Worker one(failing), other(failing);
  one.answers(0, kMost / 2);
  other.answers(0, kMost / 2 - 1);
  CHECK_FALSE(failing.reached());
  one.answers(0, 0);
  one.answers(0, 1);
  CHECK(failing.reached());
}

TEST_CASE("any other answer, a stored file, or another status begins the count anew") {
  FailingAnswers failing;
  Worker one(failing), other(failing);
  one.answers(0, kMost - 1);
  SUBCASE("another answer, of any worker") {
    other.answers(1, 0);
  }
  SUBCASE("a stored file") {
    failing.on_success();
  }
  SUBCASE("another status") {
    other.answers(0, 1, 403);
    CHECK_FALSE(failing.reached());
    other.answers(0, kMost - 2, 403);
    CHECK_FALSE(failing.reached());
    other.answers(0, 1, 403);
    CHECK(failing.reached());
    CHECK(failing.text().find("403") != std::string::npos);
    other.answers(1, 0);
  }
  CHECK_FALSE(failing.reached());
  one.answers(0, kMost - 1);
  CHECK_FALSE(failing.reached());
  one.answers(0, 1);
  CHECK(failing.reached());
}

TEST_CASE("failing answers between others do not add up") {
  FailingAnswers failing;
  Worker worker(failing);
  for (int i = 0; i < 100; ++i)
    worker.answers(1, kMost / 2);
  CHECK_FALSE(failing.reached());
}
