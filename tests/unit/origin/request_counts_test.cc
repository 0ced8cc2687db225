#include "origin/request_counts.h"

#include <doctest/doctest.h>

using namespace gigafetch::origin;

TEST_CASE("a file's count stays at its most, the others go on") {
  RequestCounts counts(3);
  for (int i = 0; i < 1000; ++i)
    counts.on_request(2);
  counts.on_request(0);
  CHECK(counts.requests() == 1001);
  CHECK(counts.names() == 2);
  CHECK(counts.most() == RequestCounts::kMost);
  CHECK(counts.answered() == 0);
  counts.on_whole_answer();
  CHECK(counts.answered() == 1);
}
