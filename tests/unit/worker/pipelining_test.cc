#include "worker/pipelining.h"

#include <doctest/doctest.h>

using namespace gigafetch::worker;

namespace {

void respond(Depth& depth, int responses) {
  for (int i = 0; i < responses; ++i)
    depth.on_response();
}

}  // namespace

TEST_CASE("the depth starts as told, but never above the most") {
  CHECK(Depth(1, 64).now() == 1);
  CHECK(Depth(16, 16).now() == 16);
  CHECK(Depth(100, 16).now() == 16);
}

TEST_CASE("the depth doubles after enough clean responses, up to the most") {
  Depth depth(1, 6);
  uint32_t last = 1;
  int doublings = 0;
  for (int i = 0; i < 10'000; ++i) {
    depth.on_response();
    if (depth.now() == last) continue;
    CHECK((depth.now() == last * 2 || depth.now() == 6));
    CHECK(i >= 10);  // one response proves little
    last = depth.now();
    ++doublings;
  }
  CHECK(depth.now() == 6);
  CHECK(doublings == 3);
}

TEST_CASE("a doubt drops the depth to one, and what was clean before counts no more") {
  Depth depth(16, 16);
  respond(depth, 1000);
  CHECK(depth.now() == 16);
  depth.on_doubt();
  CHECK(depth.now() == 1);
  respond(depth, 63);
  depth.on_doubt();
  respond(depth, 63);
  CHECK(depth.now() == 1);
  respond(depth, 1);
  CHECK(depth.now() == 2);
}

TEST_CASE("a depth of one stays one") {
  Depth depth(1, 1);
  respond(depth, 1000);
  CHECK(depth.now() == 1);
  depth.on_doubt();
  CHECK(depth.now() == 1);
}

TEST_CASE("one close shows no limit, two after the same number of responses do") {
  RequestLimit limit;
  CHECK(limit.now() == RequestLimit::kNone);
  limit.on_announced_close(100);
  CHECK(limit.now() == RequestLimit::kNone);
  limit.on_announced_close(100);
  CHECK(limit.now() == 100);
}

TEST_CASE("closes after different numbers of responses show no limit") {
  RequestLimit limit;
  for (uint64_t responses = 1; responses < 50; ++responses)
    limit.on_announced_close(responses);
  CHECK(limit.now() == RequestLimit::kNone);
}

TEST_CASE("a close without a response shows nothing") {
  RequestLimit limit;
  limit.on_announced_close(0);
  limit.on_announced_close(0);
  CHECK(limit.now() == RequestLimit::kNone);
}

TEST_CASE("a connection that lives past the limit shows that there is none") {
  RequestLimit limit;
  limit.on_announced_close(100);
  limit.on_announced_close(100);
  limit.on_survived(99);
  CHECK(limit.now() == 100);
  limit.on_survived(100);
  CHECK(limit.now() == RequestLimit::kNone);
  limit.on_announced_close(100);
  CHECK_MESSAGE(limit.now() == RequestLimit::kNone, "it is to be shown anew, by two closes");
}

TEST_CASE("a limit that changed is learnt again") {
  RequestLimit limit;
  limit.on_announced_close(100);
  limit.on_announced_close(100);
  limit.on_announced_close(50);
  limit.on_announced_close(50);
  CHECK(limit.now() == 50);
}
