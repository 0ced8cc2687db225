#include "store/set_hash.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace gigafetch::store {
namespace {

SetHash hash_of(const std::vector<std::string>& names) {
  SetHash hash;
  for (const std::string& name : names)
    hash.add(hash_of_name(name));
  return hash;
}

}  // namespace

TEST_CASE("a name's hash is XXH3-128") {
  CHECK(hash_of_name("") == Hash128{0x6001c324468d497f, 0x99aa06d3014798d8});
  CHECK(hash_of_name("a/b c.txt") == Hash128{0xa56baeff7a942300, 0x1330e66898e4b71c});
}

TEST_CASE("a set's hash does not depend on the order") {
  std::vector<std::string> names;
  for (int i = 0; i < 1'000; ++i)
    names.push_back("file" + std::to_string(i));
  const SetHash forwards = hash_of(names);
  std::reverse(names.begin(), names.end());
  CHECK(hash_of(names) == forwards);
  std::rotate(names.begin(), names.begin() + 137, names.end());
  CHECK(hash_of(names) == forwards);
  CHECK(forwards.count == 1'000);
}

TEST_CASE("sets that differ in one name, or in how often it comes, have other hashes") {
  CHECK(hash_of({"a", "b"}) != hash_of({"a", "c"}));
  CHECK(hash_of({"a", "b"}) != hash_of({"a"}));
  CHECK(hash_of({"a"}) != hash_of({"a", "a"}));
  CHECK(hash_of({}) != hash_of({""}));
  CHECK(hash_of({"ab", "c"}) != hash_of({"a", "bc"}));
}

TEST_CASE("the sum carries from its low into its high half, and wraps") {
  SetHash hash;
  hash.add({UINT64_MAX, 0});
  hash.add({1, 0});
  CHECK(hash.sum == Hash128{0, 1});
  hash.add({0, UINT64_MAX});
  CHECK(hash.sum == Hash128{0, 0});
  hash.add({UINT64_MAX, UINT64_MAX});
  hash.add({2, 0});
  CHECK(hash.sum == Hash128{1, 0});
  CHECK(hash.count == 5);
}

TEST_CASE("sets are joined by their sums") {
  SetHash whole = hash_of({"a", "b"});
  const SetHash rest = hash_of({"c", "d", "e"});
  whole.add_sum(rest.sum, rest.count);
  CHECK(whole == hash_of({"e", "d", "c", "b", "a"}));
}

}  // namespace gigafetch::store
