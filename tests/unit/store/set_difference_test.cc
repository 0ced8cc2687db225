#include "store/set_difference.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

SetDifference created(const TempFolder& folder) {
  Result<SetDifference> made = SetDifference::create(folder.fd());
  REQUIRE(made.ok());
  return std::move(made).value();
}

SetDifference::Report report_of(SetDifference& sets) {
  Result<SetDifference::Report> report = sets.finish();
  REQUIRE(report.ok());
  return std::move(report).value();
}

}  // namespace

TEST_CASE("what was found but not listed is counted and shown") {
  const TempFolder folder;
  SetDifference sets = created(folder);
  std::vector<Hash128> extra;
  for (int i = 0; i < 5'000; ++i) {
    const Hash128 hash = hash_of_name(fmt::format("file {}", i));
    REQUIRE(sets.add_found(hash).ok());
    if (i % 50 == 0) {
      extra.push_back(hash);
    } else {
      REQUIRE(sets.add_listed(hash).ok());
    }
  }
  for (int i = 0; i < 700; ++i)
    REQUIRE(sets.add_listed(hash_of_name(fmt::format("lost {}", i))).ok());
  std::sort(extra.begin(), extra.end());
  const SetDifference::Report report = report_of(sets);
  CHECK(report.listed_once == 4'900 + 700);
  CHECK(report.extra == 100);
  CHECK((report.examples == extra));
}

TEST_CASE("repetitions on either side count once") {
  const TempFolder folder;
  SetDifference sets = created(folder);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 1'000; ++i) {
      if (i < 600) REQUIRE(sets.add_listed(hash_of_name(std::to_string(i))).ok());
      if (i >= 400) REQUIRE(sets.add_found(hash_of_name(std::to_string(i))).ok());
    }
  }
  const SetDifference::Report report = report_of(sets);
  CHECK(report.listed_once == 600);
  CHECK(report.extra == 400);
  CHECK(report.examples.size() == 400);
}

TEST_CASE("equal sets and empty ones have no difference") {
  const TempFolder folder;
  SetDifference empty = created(folder);
  SetDifference::Report report = report_of(empty);
  CHECK(report.listed_once == 0);
  CHECK(report.extra == 0);
  CHECK(report.examples.empty());
  SetDifference equal = created(folder);
  for (int i = 0; i < 300; ++i) {
    REQUIRE(equal.add_listed(hash_of_name(std::to_string(i))).ok());
    REQUIRE(equal.add_found(hash_of_name(std::to_string(299 - i))).ok());
  }
  report = report_of(equal);
  CHECK(report.listed_once == 300);
  CHECK(report.extra == 0);
}

TEST_CASE("hashes that agree in one half are told apart") {
  const TempFolder folder;
  SetDifference sets = created(folder);
  REQUIRE(sets.add_listed({1, 2}).ok());
  for (const Hash128& hash : {Hash128{1, 2}, Hash128{2, 1}, Hash128{1, 3}, Hash128{3, 2},
                              Hash128{0, 0}, Hash128{UINT64_MAX, UINT64_MAX}}) {
    REQUIRE(sets.add_found(hash).ok());
  }
  const SetDifference::Report report = report_of(sets);
  CHECK(report.extra == 5);
  const std::vector<Hash128> expected = {{0, 0}, {1, 3}, {2, 1}, {3, 2}, {UINT64_MAX, UINT64_MAX}};
  CHECK((report.examples == expected));
}

TEST_CASE("all differences are counted, and as many shown as there is room for, sorted") {
  const TempFolder folder;
  SetDifference sets = created(folder);
  Random random(13);
  std::set<Hash128> extra;
  for (size_t i = 0; i < 3 * SetDifference::kMaxExamples; ++i) {
    const Hash128 hash{random.next(), random.next()};
    extra.insert(hash);
    REQUIRE(sets.add_found(hash).ok());
  }
  const SetDifference::Report report = report_of(sets);
  CHECK(report.extra == extra.size());
  CHECK(report.examples.size() == SetDifference::kMaxExamples);
  CHECK(std::is_sorted(report.examples.begin(), report.examples.end()));
  CHECK(std::adjacent_find(report.examples.begin(), report.examples.end()) ==
        report.examples.end());
  CHECK(std::all_of(report.examples.begin(), report.examples.end(),
                    [&](const Hash128& hash) { return extra.count(hash) == 1; }));
}

TEST_CASE("sets that do not fit into memory are compared all the same") {
  const TempFolder folder;
  SetDifference sets = created(folder);
  // All of one 64th of the hashes: 10 MB.
  const auto hash = [](int i) {
    const Hash128 all = hash_of_name(std::to_string(i));
    return Hash128{all.low >> 6, all.high};
  };
  std::vector<Hash128> extra;
  for (int i = 0; i < 300'000; ++i) {
    REQUIRE(sets.add_found(hash(i)).ok());
    if (i % 1'000 == 7) {
      extra.push_back(hash(i));
    } else {
      REQUIRE(sets.add_listed(hash(i)).ok());
    }
  }
  std::sort(extra.begin(), extra.end());
  const SetDifference::Report report = report_of(sets);
  CHECK(report.listed_once == 299'700);
  CHECK(report.extra == 300);
  CHECK((report.examples == extra));
}

TEST_CASE("the temporary files have no names, and go with the comparison") {
  const TempFolder folder;
  const size_t before = open_descriptors();
  {
    SetDifference sets = created(folder);
    for (int i = 0; i < 10'000; ++i)
      REQUIRE(sets.add_found(hash_of_name(std::to_string(i))).ok());
    CHECK(std::filesystem::is_empty(folder.path()));
    CHECK(open_descriptors() > before + 1);
    report_of(sets);
  }
  CHECK(open_descriptors() == before);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("a folder that takes no files is an error") {
  CHECK_FALSE(SetDifference::create(-1).ok());
}

}  // namespace gigafetch::store
