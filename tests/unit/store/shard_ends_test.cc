#include "store/shard_ends.h"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "base/random.h"

namespace gigafetch::store {
namespace {

using Open = std::map<ShardId, uint64_t>;

std::string written(const ShardEnds& ends) {
  std::string out;
  ends.put(out);
  return out;
}

bool reads(std::string_view bytes, ShardEnds& ends) {
  VarintReader in(bytes);
  return ends.take(in) && in.ok_at_end();
}

std::string numbers(const std::vector<uint64_t>& values) {
  std::string out;
  for (const uint64_t value : values)
    put_varint(out, value);
  return out;
}

bool reads(const std::vector<uint64_t>& values) {
  ShardEnds ends;
  const bool read = reads(numbers(values), ends);
  if (!read) CHECK(ends == ShardEnds());
  return read;
}

ShardEnds of(const std::vector<ShardEnd>& added) {
  ShardEnds ends;
  for (const ShardEnd& end : added)
    CHECK(ends.add(end));
  return ends;
}

}  // namespace

TEST_CASE("a shard grows, may stay as it is, and never shrinks") {
  ShardEnds ends;
  CHECK(ends.empty());
  CHECK(ends.add({3, 7, 1000, false}));
  CHECK_FALSE(ends.empty());
  CHECK(ends.add({3, 7, 1000, false}));
  CHECK(ends.add({3, 7, 5000, false}));
  CHECK_FALSE(ends.add({3, 7, 4999, false}));
  CHECK_FALSE(ends.add({3, 7, 4999, true}));
  CHECK(ends.open() == Open{{{3, 7}, 5000}});
  CHECK_FALSE(ends.is_finished({3, 7}));
}

TEST_CASE("a shard that is finished is left alone") {
  ShardEnds ends = of({{3, 7, 1000, false}, {3, 7, 2024, true}, {3, 9, 1, true}});
  CHECK(ends.open().empty());
  CHECK(ends.is_finished({3, 7}));
  CHECK(ends.is_finished({3, 9}));
  CHECK_FALSE(ends.is_finished({3, 8}));
  CHECK_FALSE(ends.is_finished({4, 7}));
  const ShardEnds before = ends;
  for (const uint64_t end : {0, 2024, 9999}) {
    CHECK_FALSE(ends.add({3, 7, end, false}));
    CHECK_FALSE(ends.add({3, 7, end, true}));
  }
  CHECK(ends == before);
}

TEST_CASE("a worker's next number is behind all that it has used, finished or open") {
  ShardEnds ends;
  CHECK(ends.next_number(0) == 0);
  REQUIRE(ends.add({1, 4, 10, false}));
  CHECK(ends.next_number(0) == 0);
  CHECK(ends.next_number(1) == 5);
  CHECK(ends.next_number(2) == 0);
  REQUIRE(ends.add({1, 2, 10, true}));
  CHECK(ends.next_number(1) == 5);
  REQUIRE(ends.add({1, 8, 10, true}));
  CHECK(ends.next_number(1) == 9);
  REQUIRE(ends.add({0, 0, 10, false}));
  CHECK(ends.next_number(0) == 1);
  REQUIRE(ends.add({UINT32_MAX, 0, 10, false}));
  CHECK(ends.next_number(UINT32_MAX) == 1);
  CHECK(ends.next_number(UINT32_MAX - 1) == 0);
}

TEST_CASE("a number without a next one is refused") {
  ShardEnds ends;
  CHECK_FALSE(ends.add({0, UINT32_MAX, 10, false}));
  CHECK_FALSE(ends.add({0, UINT32_MAX, 10, true}));
  CHECK(ends.empty());
  CHECK(ends.add({0, UINT32_MAX - 1, 10, true}));
  CHECK(ends.next_number(0) == UINT32_MAX);
}

TEST_CASE("ends that are written are read back; each part of them is refused") {
  for (const ShardEnds& ends :
       {of({}), of({{0, 0, 0, false}}), of({{0, 0, 10, true}}),
        of({{0, 1, UINT64_MAX, false}, {0, 0, 5, true}, {0, 2, 5, true}, {9, 0, 5, false}}),
        of({{UINT32_MAX, UINT32_MAX - 1, 7, true}, {5, 300, 1 << 20, false}})}) {
    const std::string bytes = written(ends);
    ShardEnds read = of({{77, 77, 77, false}});
    CHECK(reads(bytes, read));
    CHECK(read == ends);
    CHECK(written(read) == bytes);
    for (size_t size = 0; size < bytes.size(); ++size)
      CHECK_FALSE(reads(bytes.substr(0, size), read));
    CHECK(read == ends);
  }
}

TEST_CASE("ends that contradict each other are refused") {
  // Open: worker, number, end. Finished: worker, then ranges as a gap and a length each.
  REQUIRE(reads({1, 0, 1, 512, 1, 0, 1, 0, 1}));
  CHECK_FALSE_MESSAGE(reads({1, 0, 1, 512, 1, 0, 1, 1, 1}), "open and finished");
  CHECK_FALSE_MESSAGE(reads({1, 0, 1, 512, 1, 0, 1, 0, 5}), "open, in a range that is finished");
  CHECK_FALSE_MESSAGE(reads({2, 0, 1, 512, 0, 1, 512, 0}), "twice");
  CHECK_FALSE_MESSAGE(reads({2, 0, 1, 512, 0, 1, 1024, 0}), "twice, though it grows");
  CHECK_FALSE_MESSAGE(reads({0, 2, 0, 1, 0, 1, 0, 1, 5, 1}), "a worker twice");
  CHECK_FALSE_MESSAGE(reads({0, 1, 0, 0}), "a worker with none");
  CHECK_FALSE_MESSAGE(reads({0, 1, 0, 1, 0, 0}), "an empty range");
  CHECK_FALSE_MESSAGE(reads({1, uint64_t{1} << 32, 0, 512, 0}), "a worker of 33 bits");
  CHECK_FALSE_MESSAGE(reads({1, 0, UINT32_MAX, 512, 0}), "the number without a next one");
  CHECK_FALSE_MESSAGE(reads({UINT64_MAX, 0, 0, 512, 0}), "more than there are");
}

TEST_CASE("any growth of any shards is what a plain list of them says") {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Random random(seed);
    ShardEnds ends;
    std::map<ShardId, ShardEnd> model;
    for (int i = 0; i < 300; ++i) {
      const ShardEnd end{static_cast<uint32_t>(random.below(3)),
                         static_cast<uint32_t>(random.below(12)), random.below(20),
                         random.below(5) == 0};
      const ShardId id{end.worker, end.number};
      const auto known = model.find(id);
      const bool fits =
          known == model.end() || (!known->second.finished && known->second.end <= end.end);
      REQUIRE(ends.add(end) == fits);
      if (fits) model[id] = end;
    }
    Open open;
    std::map<uint32_t, uint32_t> next;
    for (const auto& [id, end] : model) {
      if (!end.finished) open[id] = end.end;
      CHECK(ends.is_finished(id) == end.finished);
      next[id.worker] = id.number + 1;
    }
    CHECK(ends.open() == open);
    for (uint32_t worker = 0; worker < 4; ++worker)
      CHECK(ends.next_number(worker) == (next.contains(worker) ? next[worker] : 0));
    ShardEnds read;
    CHECK(reads(written(ends), read));
    CHECK(read == ends);
  }
}

TEST_CASE("a later epoch has higher numbers, of all workers") {
  ShardEnds ends;
  CHECK(ends.next_number() == 0);
  CHECK_FALSE(ends.add_epoch(0));
  REQUIRE(ends.add({0, 0, 512, true}));
  REQUIRE(ends.add({3, 6, 512, false}));
  CHECK(ends.next_number() == 7);
  CHECK_FALSE(ends.add_epoch(6));
  REQUIRE(ends.add_epoch(7));
  CHECK_FALSE(ends.add_epoch(7));
  CHECK(ends.next_number(0) == 7);
  CHECK(ends.next_number(3) == 7);
  CHECK(ends.next_number(9) == 7);
  CHECK(ends.epoch_of(0) == 0);
  CHECK(ends.epoch_of(6) == 0);
  CHECK(ends.epoch_of(7) == 1);
  CHECK(ends.epoch_of(99) == 1);
  std::string bytes;
  ends.put(bytes);
  ShardEnds again;
  VarintReader in(bytes);
  REQUIRE(again.take(in));
  CHECK(in.ok_at_end());
  CHECK(again == ends);
}

}  // namespace gigafetch::store
