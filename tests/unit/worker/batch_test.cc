#include "worker/batch.h"

#include <doctest/doctest.h>

#include "base/random.h"
#include "worker/batch_of.h"

using namespace gigafetch;
using namespace gigafetch::worker;
using namespace gigafetch::testing;

namespace {

FileFailure failure(const std::string& text) {
  return {FailureClass::http_status, 404, 1, text};
}

}  // namespace

TEST_CASE("a batch keeps its names beyond the frame that brought them") {
  std::unique_ptr<Batch> batch;
  {
    NameList list;
    list.append("first");
    list.append("");
    list.append(std::string_view("\0\xFF/", 3));
    std::string frame = list.bytes();
    batch = std::make_unique<Batch>(wire::BatchView{7, 3, frame});
    frame.assign(frame.size(), '?');
  }
  CHECK(batch->count() == 3);
  CHECK(batch->name(0) == "first");
  CHECK(batch->name(1) == "");
  CHECK(batch->name(2) == std::string_view("\0\xFF/", 3));
}

TEST_CASE("a batch is settled when its last name is, in whatever order") {
  const auto batch = batch_of(numbered(3));
  CHECK_FALSE(batch->all_settled());
  batch->settle_stored(2, 10);
  batch->settle_failed(0, failure("x"));
  CHECK_FALSE(batch->all_settled());
  batch->settle_stored(1, 5);
  CHECK(batch->all_settled());
}

TEST_CASE("an outcome counts what was stored and lists failures by ascending index") {
  const auto batch = batch_of(numbered(6), 77);
  batch->settle_failed(5, failure("five"));
  batch->settle_stored(3, 100);
  batch->settle_failed(0, failure("zero"));
  batch->settle_stored(1, 11);
  batch->settle_failed(4, failure("four"));
  batch->settle_stored(2, 0);
  const wire::Outcome outcome = batch->outcome();
  CHECK(outcome.lease == 77);
  CHECK(outcome.count == 6);
  CHECK(outcome.stored == 3);
  CHECK(outcome.bytes == 111);
  REQUIRE(outcome.failures.size() == 3);
  CHECK(outcome.failures[0].index == 0);
  CHECK(outcome.failures[0].file.text == "zero");
  CHECK(outcome.failures[1].index == 4);
  CHECK(outcome.failures[1].file.text == "four");
  CHECK(outcome.failures[2].index == 5);
  CHECK(outcome.failures[2].file.text == "five");
  CHECK(outcome.released.empty());
}

TEST_CASE("names not settled are released, in as few runs as there are") {
  const auto batch = batch_of(numbered(10));
  for (const uint32_t settled : {0u, 3u, 4u, 9u})
    batch->settle_stored(settled, 1);
  const wire::Outcome outcome = batch->outcome();
  REQUIRE(outcome.released.size() == 2);
  CHECK(outcome.released[0].first == 1);
  CHECK(outcome.released[0].count == 2);
  CHECK(outcome.released[1].first == 5);
  CHECK(outcome.released[1].count == 4);
}

TEST_CASE("a batch that was not begun is released whole") {
  const wire::Outcome outcome = batch_of(numbered(5))->outcome();
  REQUIRE(outcome.released.size() == 1);
  CHECK(outcome.released[0].first == 0);
  CHECK(outcome.released[0].count == 5);
  CHECK(outcome.stored == 0);
}

TEST_CASE("asking for the outcome changes nothing") {
  const auto batch = batch_of(numbered(3));
  batch->settle_stored(1, 4);
  (void)batch->outcome();
  batch->settle_failed(0, failure("x"));
  batch->settle_stored(2, 6);
  const wire::Outcome outcome = batch->outcome();
  CHECK(outcome.stored == 2);
  CHECK(outcome.bytes == 10);
  CHECK(outcome.failures.size() == 1);
  CHECK(outcome.released.empty());
}

TEST_CASE("the set hash of an outcome is the sum over the names added, in any order") {
  const std::vector<std::string> names = {"a", "b", "c"};
  const auto batch = batch_of(names), other = batch_of(names);
  for (const char* name : {"a", "b", "c"})
    batch->add_to_set(store::hash_of_name(name));
  for (const char* name : {"c", "a", "b"})
    other->add_to_set(store::hash_of_name(name));
  store::SetHash sum;
  for (const std::string& name : names)
    sum.add(store::hash_of_name(name));
  CHECK(batch->outcome().set_hash_low == sum.sum.low);
  CHECK(batch->outcome().set_hash_high == sum.sum.high);
  CHECK(other->outcome().set_hash_low == sum.sum.low);
  CHECK(other->outcome().set_hash_high == sum.sum.high);
}

TEST_CASE("whatever is settled in whatever order, the coordinator takes the outcome") {
  Random random(3);
  for (int round = 0; round < 500; ++round) {
    const auto count = static_cast<uint32_t>(1 + random.below(40));
    const auto batch = batch_of(numbered(count));
    std::vector<uint32_t> order(count);
    for (uint32_t i = 0; i < count; ++i)
      order[i] = i;
    for (uint32_t i = count; i > 1; --i)
      std::swap(order[i - 1], order[random.below(i)]);
    const uint64_t settled = random.below(count + 1);
    uint32_t stored = 0, failed = 0;
    for (uint64_t i = 0; i < settled; ++i) {
      if (random.chance(0.5)) {
        batch->settle_stored(order[i], 1);
        ++stored;
      } else {
        batch->settle_failed(order[i], failure("x"));
        ++failed;
      }
    }
    std::string frame;
    wire::append(frame, batch->outcome());
    const Result<wire::Outcome> parsed =
        wire::parse_outcome(std::string_view(frame).substr(wire::kFrameHeaderBytes));
    REQUIRE(parsed);
    CHECK(parsed.value().stored == stored);
    CHECK(parsed.value().failures.size() == failed);
  }
}
