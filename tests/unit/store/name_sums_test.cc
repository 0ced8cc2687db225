#include "store/name_sums.h"

#include <doctest/doctest.h>

#include <string>

namespace gigafetch::store {
namespace {

NameSums sums_of(int from, int to) {
  NameSums sums;
  for (int i = from; i < to; ++i)
    sums.add(hash_of_name(std::to_string(i)));
  sums.settle();
  return sums;
}

}  // namespace

TEST_CASE("the ranges of names that one set lacks are marked, and few others") {
  NameRanges ranges;
  ranges.mark_different(sums_of(0, 10'000), sums_of(3, 10'005));
  int marked = 0;
  for (int i = 0; i < 10'005; ++i)
    marked += ranges.has(hash_of_name(std::to_string(i))) ? 1 : 0;
  for (const int i : {0, 1, 2, 10'000, 10'001, 10'002, 10'003, 10'004})
    CHECK(ranges.has(hash_of_name(std::to_string(i))));
  CHECK(marked < 30);
  CHECK((ranges == ranges));
  CHECK_FALSE((ranges == NameRanges()));
}

TEST_CASE("the same names in another order mark nothing") {
  NameSums backwards;
  for (int i = 9'999; i >= 0; --i)
    backwards.add(hash_of_name(std::to_string(i)));
  backwards.settle();
  NameRanges ranges;
  ranges.mark_different(sums_of(0, 10'000), NameSums(backwards.sums()));
  CHECK((ranges == NameRanges()));
}

TEST_CASE("a range that is spoilt differs with the name and without it") {
  const Hash128 name = hash_of_name("a");
  for (const int times : {0, 1, 2}) {
    NameSums spoilt, others;
    spoilt.spoil(name);
    for (int i = 0; i < times; ++i)
      others.add(name);
    spoilt.settle();
    others.settle();
    NameRanges ranges;
    ranges.mark_different(spoilt, others);
    CHECK(ranges.has(name));
  }
}

}  // namespace gigafetch::store
