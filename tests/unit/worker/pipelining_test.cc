#include "worker/pipelining.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace gigafetch::worker;

namespace {

// Whole pipelines, as deep as may be, with so many responses in all.
void respond(Depth& depth, uint32_t responses) {
  while (responses > 0) {
    const uint32_t pipelined = std::min(responses, depth.now());
    depth.on_answered(pipelined);
    responses -= pipelined;
  }
}

// The depth it rises to, and stays at for a while.
uint32_t top_of(Depth& depth) {
  respond(depth, 5'000);
  return depth.now();
}

// Rises until so many may be in flight, of which the origin bears fewer.
void break_at(Depth& depth, uint32_t too_deep) {
  while (depth.now() < too_deep)
    respond(depth, depth.now());
  depth.on_doubt(depth.now());
  CHECK(depth.now() == 1);
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
    depth.on_answered(depth.now());
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
  depth.on_doubt(16);
  CHECK(depth.now() == 1);
  respond(depth, 63);
  depth.on_doubt(16);
  respond(depth, 63);
  CHECK(depth.now() == 1);
  respond(depth, 1);
  CHECK(depth.now() == 2);
}

TEST_CASE("a depth of one stays one") {
  Depth depth(1, 1);
  respond(depth, 1000);
  CHECK(depth.now() == 1);
  depth.on_doubt(16);
  CHECK(depth.now() == 1);
}

TEST_CASE("pipelines that were shallow show nothing about a depth") {
  Depth depth(1, 64);
  respond(depth, 64 + 64);
  REQUIRE(depth.now() == 4);
  for (int i = 0; i < 1000; ++i)
    depth.on_answered(2);
  CHECK(depth.now() == 4);
  for (int i = 0; i < 1000; ++i)
    depth.on_answered(3);
  CHECK(depth.now() > 4);
}

TEST_CASE("a deep pipeline alone shows little, however many were in it") {
  Depth depth(64, 256);
  depth.on_answered(64);
  depth.on_answered(64);
  CHECK(depth.now() == 64);
}

TEST_CASE("a depth that broke twice is tried again after long, and after ever longer") {
  Depth depth(1, 64);
  break_at(depth, 16);
  break_at(depth, 16);
  uint64_t last = 0;
  for (int tries = 0; tries < 4; ++tries) {
    uint64_t answers = 0;
    for (; depth.now() < 16; answers += depth.now())
      depth.on_answered(depth.now());
    CHECK(answers >= 10'000);
    CHECK(answers > 4 * last);
    last = answers;
    depth.on_doubt(16);  // one break is enough this time
  }
  // Once it is borne, all is as if it never had broken.
  while (depth.now() < 64)
    depth.on_answered(depth.now());
  depth.on_doubt(64);
  CHECK(top_of(depth) == 64);
}

TEST_CASE("a depth that broke twice as it was tried is left alone") {
  for (const uint32_t bears : {1u, 2u, 8u, 32u}) {
    CAPTURE(bears);
    Depth depth(1, 64);
    break_at(depth, 2 * bears);
    break_at(depth, 2 * bears);
    CHECK(top_of(depth) == bears);
  }
}

TEST_CASE("an origin that breaks at the depth it was started with is found out as well") {
  Depth depth(16, 16);
  depth.on_doubt(16);
  break_at(depth, 16);
  break_at(depth, 16);
  CHECK(top_of(depth) == 8);
}

TEST_CASE("one break at a new depth may be chance") {
  Depth depth(1, 64);
  break_at(depth, 16);
  CHECK(top_of(depth) == 64);
}

TEST_CASE("a depth that was borne before may break as often as chance has it") {
  Depth depth(1, 64);
  for (int i = 0; i < 100; ++i) {
    CHECK(top_of(depth) == 64);
    depth.on_doubt(64);
  }
  CHECK(top_of(depth) == 64);
}

TEST_CASE("breaks at a new depth with a success between them show nothing") {
  Depth depth(1, 64);
  break_at(depth, 8);
  while (depth.now() < 16)
    respond(depth, depth.now());
  break_at(depth, 16);
  CHECK(top_of(depth) == 64);
}

TEST_CASE("connections that end one after the other are one break") {
  Depth depth(1, 64);
  break_at(depth, 16);
  for (int i = 0; i < 63; ++i)
    depth.on_doubt(16);
  CHECK(top_of(depth) == 64);
}

TEST_CASE("the end of a connection that pipelined little says nothing about a new depth") {
  Depth depth(1, 64);
  for (int i = 0; i < 10; ++i) {
    while (depth.now() < 16)
      respond(depth, depth.now());
    depth.on_doubt(1);
    CHECK(depth.now() == 1);
  }
  CHECK(top_of(depth) == 64);
}

TEST_CASE("what one depth has found another takes over") {
  for (const uint32_t bears : {1u, 4u, 32u}) {
    CAPTURE(bears);
    Depth found(1, 64);
    break_at(found, 2 * bears);
    Depth once(1, 64);
    once.learn(found.borne(), found.breaks());
    CHECK(once.now() == bears);
    break_at(once, 2 * bears);
    CHECK_MESSAGE(top_of(once) == bears, "it broke once before");
    Depth twice(1, 64), fixed(64, 64);
    for (Depth* depth : {&twice, &fixed}) {
      depth->learn(once.borne(), once.breaks());
      CHECK(depth->now() == bears);
      CHECK(top_of(*depth) == bears);
      for (int i = 0; i < 10'000; ++i)
        depth->on_answered(depth->now());
      CHECK_MESSAGE(depth->now() > bears, "after long it is tried again");
    }
  }
  Depth whole(1, 16), start(16, 16);
  whole.learn(64, 0);
  CHECK(whole.now() == 16);
  start.learn(4, 1);
  CHECK_MESSAGE(start.now() == 16, "what was asked for, until it breaks twice");
}

TEST_CASE("one close shows no limit, two after the same number of responses do") {
  RequestLimit limit;
  CHECK(limit.now() == RequestLimit::kNone);
  limit.on_close(100);
  CHECK(limit.now() == RequestLimit::kNone);
  limit.on_close(100);
  CHECK(limit.now() == 100);
}

TEST_CASE("closes after different numbers of responses show no limit") {
  RequestLimit limit;
  for (uint64_t responses = 1; responses < 50; ++responses)
    limit.on_close(responses);
  CHECK(limit.now() == RequestLimit::kNone);
}

TEST_CASE("a close without a response shows nothing") {
  RequestLimit limit;
  limit.on_close(0);
  limit.on_close(0);
  CHECK(limit.now() == RequestLimit::kNone);
}

TEST_CASE("a connection that lives past the limit shows that there is none") {
  RequestLimit limit;
  limit.on_close(100);
  limit.on_close(100);
  limit.on_survived(99);
  CHECK(limit.now() == 100);
  limit.on_survived(100);
  CHECK(limit.now() == RequestLimit::kNone);
  limit.on_close(100);
  CHECK_MESSAGE(limit.now() == RequestLimit::kNone, "it is to be shown anew, by two closes");
}

TEST_CASE("a limit that another has found holds until a connection lives past it") {
  RequestLimit limit;
  limit.learn(100);
  CHECK(limit.now() == 100);
  CHECK_MESSAGE(limit.on_close(100), "a usual one");
  limit.on_survived(100);
  CHECK(limit.now() == RequestLimit::kNone);
}

TEST_CASE("a limit that changed is learnt again") {
  RequestLimit limit;
  limit.on_close(100);
  limit.on_close(100);
  limit.on_close(50);
  limit.on_close(50);
  CHECK(limit.now() == 50);
}

TEST_CASE("a close is a usual one when the one before was behind as many responses") {
  RequestLimit limit;
  CHECK_FALSE(limit.on_close(100));
  CHECK(limit.on_close(100));
  CHECK(limit.on_close(100));
  CHECK_FALSE(limit.on_close(99));
  CHECK_FALSE(limit.on_close(0));
  CHECK_FALSE(limit.on_close(0));
}
