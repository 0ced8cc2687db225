#include "base/range_set.h"

#include <doctest/doctest.h>

#include <set>

#include "base/random.h"

namespace gigafetch {
namespace {

using Ranges = std::vector<IndexRange>;

// The runs of the indices below `end` whose being in `set` is `in`.
Ranges runs_of(const std::set<uint32_t>& set, uint32_t end, bool in) {
  Ranges runs;
  for (uint32_t i = 0; i < end; ++i) {
    if (set.contains(i) != in) continue;
    if (runs.empty() || runs.back().end != i) runs.push_back({i, i});
    ++runs.back().end;
  }
  return runs;
}

}  // namespace

TEST_CASE("an empty set holds nothing, and is one gap") {
  const RangeSet set;
  CHECK(set.count() == 0);
  CHECK_FALSE(set.contains(0));
  CHECK(set.ranges().empty());
  CHECK(set.gaps(5) == Ranges{{0, 5}});
  CHECK(set.gaps(0).empty());
}

TEST_CASE("runs that touch become one, on either side or on both") {
  RangeSet set;
  CHECK(set.add({10, 20}));
  CHECK(set.add({20, 25}));
  CHECK(set.ranges() == Ranges{{10, 25}});
  CHECK(set.add({5, 10}));
  CHECK(set.ranges() == Ranges{{5, 25}});
  CHECK(set.add({30, 40}));
  CHECK(set.ranges() == Ranges{{5, 25}, {30, 40}});
  CHECK(set.add({25, 30}));
  CHECK(set.ranges() == Ranges{{5, 40}});
  CHECK(set.count() == 35);
}

TEST_CASE("a run of which a part is there already changes nothing") {
  RangeSet set;
  REQUIRE(set.add({10, 20}));
  REQUIRE(set.add({30, 40}));
  const RangeSet before = set;
  for (const IndexRange range : {IndexRange{10, 20}, IndexRange{12, 15}, IndexRange{5, 11},
                                 IndexRange{19, 25}, IndexRange{0, 50}, IndexRange{20, 31},
                                 IndexRange{10, 11}, IndexRange{39, 40}, IndexRange{15, 35}}) {
    CAPTURE(range.first);
    CAPTURE(range.end);
    CHECK_FALSE(set.add(range));
    CHECK(set == before);
  }
}

TEST_CASE("the ends of the range of indices are indices, too") {
  RangeSet set;
  CHECK(set.add({UINT32_MAX - 1, UINT32_MAX}));
  CHECK(set.add({0, 1}));
  CHECK(set.contains(UINT32_MAX - 1));
  CHECK_FALSE(set.contains(UINT32_MAX));
  CHECK(set.contains(0));
  CHECK(set.gaps(UINT32_MAX) == Ranges{{1, UINT32_MAX - 1}});
}

TEST_CASE("whatever is added, it is the set of indices that it should be") {
  for (const uint32_t end : {8u, 40u, 300u}) {
    Random random(end);
    for (int round = 0; round < 60; ++round) {
      RangeSet set;
      std::set<uint32_t> model;
      for (int i = 0; i < 120; ++i) {
        const auto first = static_cast<uint32_t>(random.below(end));
        const uint64_t longest = std::min<uint64_t>(end - first, random.chance(0.5) ? 3 : 30);
        const IndexRange range{first, first + 1 + static_cast<uint32_t>(random.below(longest))};
        bool fits = true;
        for (uint32_t index = range.first; index < range.end; ++index)
          fits = fits && !model.contains(index);
        REQUIRE(set.add(range) == fits);
        for (uint32_t index = range.first; fits && index < range.end; ++index)
          model.insert(index);
        REQUIRE(set.count() == model.size());
        REQUIRE(set.ranges() == runs_of(model, end, true));
        REQUIRE(set.gaps(end) == runs_of(model, end, false));
      }
      for (uint32_t index = 0; index < end; ++index)
        REQUIRE(set.contains(index) == model.contains(index));
    }
  }
}

}  // namespace gigafetch
