#include "coordinator/page_intake.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/random.h"

using namespace gigafetch;
using namespace gigafetch::coordinator;

namespace {

using Names = std::vector<std::string>;

Names names_of(const PageIntake& intake) {
  Names names;
  for (NameCursor cursor(intake.names().bytes()); !cursor.done(); cursor.next()) {
    names.emplace_back(cursor.name());
  }
  CHECK(names.size() == intake.names().count());
  return names;
}

std::set<std::string> rejected_of(const PageIntake& intake) {
  std::set<std::string> names;
  for (const auto& [name, failure] : intake.rejected()) {
    CHECK(failure.cause == FailureClass::name_too_long);
    names.insert(name);
  }
  return names;
}

// Lists one page; false when the intake wanted no more.
bool list(PageIntake& intake, const Names& names, uint64_t skip = 0, uint64_t limit = UINT64_MAX) {
  intake.begin_page(skip, limit);
  for (const std::string& name : names) {
    if (!intake.on_name(name)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("names pass in their order, whatever their bytes") {
  const Filter filter;
  PageIntake intake(filter);
  const Names names = {"b", "a", "", std::string("\0\x01\xFF", 3), "a/b", ".."};
  CHECK(list(intake, names));
  CHECK(names_of(intake) == names);
  CHECK(intake.listed() == 6);
  CHECK(intake.duplicates() == 0);
  CHECK(intake.filtered() == 0);
  CHECK(intake.rejected().empty());
  CHECK_FALSE(intake.limit_reached());
}

TEST_CASE("a name that comes again on a page is a duplicate, however far behind") {
  const Filter filter;
  PageIntake intake(filter);
  CHECK(list(intake, {"a", "b", "a", "c", "a", "b", "", ""}));
  CHECK(names_of(intake) == Names{"a", "b", "c", ""});
  CHECK(intake.listed() == 8);
  CHECK(intake.duplicates() == 4);
}

TEST_CASE("names that begin alike are no duplicates") {
  const Filter filter;
  PageIntake intake(filter);
  Names names;
  for (size_t length = 0; length < 500; ++length) {
    names.push_back(std::string(length, 'x'));
    names.push_back(std::string(length, 'x') + std::string(1, '\0'));
  }
  CHECK(list(intake, names));
  CHECK(intake.duplicates() == 0);
  CHECK(names_of(intake) == names);
}

TEST_CASE("duplicates are counted exactly on a page of hundreds of thousands of names") {
  const Filter filter;
  PageIntake intake(filter);
  Random random(11);
  std::map<uint64_t, int> seen;
  Names expected;
  uint64_t duplicates = 0;
  intake.begin_page(0, UINT64_MAX);
  for (int i = 0; i < 300'000; ++i) {
    const uint64_t number = random.below(200'000);
    const std::string name = "file-" + std::to_string(number);
    if (seen[number]++ == 0) {
      expected.push_back(name);
    } else {
      ++duplicates;
    }
    CHECK(intake.on_name(name));
  }
  CHECK(expected.size() > 100'000);
  CHECK(intake.listed() == 300'000);
  CHECK(intake.duplicates() == duplicates);
  CHECK(names_of(intake) == expected);
}

TEST_CASE("duplicates are found wherever the order of the names breaks") {
  const Filter filter;
  PageIntake intake(filter);
  for (const Names& ordered : {Names{"a", "aa", "ab", "b", "ba", "c"},     // by their bytes
                               Names{"8", "9", "10", "11", "100", "101"},  // as numbers
                               Names{"c", "b", "a", "9", "10", "0"},       // in no order
                               Names{"", std::string("\0", 1), "a", "\x7F", "\x80", "\xFF"}}) {
    for (size_t again = 0; again < ordered.size(); ++again) {
      for (size_t at = again + 1; at <= ordered.size(); ++at) {
        CAPTURE(ordered[again]);
        CAPTURE(at);
        Names names = ordered;
        names.insert(names.begin() + static_cast<std::ptrdiff_t>(at), ordered[again]);
        CHECK(list(intake, names));
        CHECK(names_of(intake) == ordered);
        CHECK(intake.duplicates() == 1);
        CHECK(intake.listed() == names.size());
        CHECK(list(intake, names, at));
        CHECK(intake.duplicates() == 1);
        CHECK(intake.names().count() == ordered.size() - at);
      }
    }
  }
}

TEST_CASE("duplicates are counted exactly, however much of a page is in order") {
  const Filter filter;
  PageIntake intake(filter);
  Random random(12);
  uint64_t all_duplicates = 0, pages_in_order = 0;
  for (int page = 0; page < 2000; ++page) {
    Names names;
    for (uint64_t left = random.below(60); left > 0; --left)
      names.push_back(std::string(random.below(12), 'x') + std::to_string(random.below(40)));
    const size_t in_order = random.below(names.size() + 1);
    const auto end = names.begin() + static_cast<std::ptrdiff_t>(in_order);
    const bool by_length = random.chance(0.5);
    std::sort(names.begin(), end, [&](const std::string& a, const std::string& b) {
      return by_length && a.size() != b.size() ? a.size() < b.size() : a < b;
    });
    Names expected;
    std::set<std::string> seen;
    for (const std::string& name : names) {
      if (seen.insert(name).second) expected.push_back(name);
    }
    CHECK(list(intake, names));
    CHECK(names_of(intake) == expected);
    CHECK(intake.duplicates() == names.size() - expected.size());
    all_duplicates += intake.duplicates();
    pages_in_order += in_order == names.size() ? 1 : 0;
  }
  CHECK(all_duplicates > 1000);
  CHECK(pages_in_order > 20);
}

TEST_CASE("a name over the limit is no part of the order") {
  const Filter filter;
  PageIntake intake(filter);
  const std::string longer(kMaxNameBytes + 1, 'x');
  CHECK(list(intake, {"a", longer, "b", "a", "b", longer}));
  CHECK(names_of(intake) == Names{"a", "b"});
  CHECK(intake.duplicates() == 3);
}

TEST_CASE("names are taken once, and the next page is as any other") {
  const Filter filter;
  PageIntake intake(filter);
  for (const size_t count : {1'000, 10, 0, 2'000, 1}) {
    CAPTURE(count);
    Names names;
    for (size_t i = 0; i < count; ++i)
      names.push_back("name-" + std::to_string(i));
    CHECK(list(intake, names));
    CHECK(names_of(intake) == names);
    const std::string packed = intake.names().bytes();
    NameList taken = intake.take_names();
    CHECK(taken.bytes() == packed);
    CHECK(taken.count() == count);
    CHECK(intake.names().empty());
    CHECK(intake.names().bytes().empty());
    CHECK_MESSAGE(taken.bytes().capacity() < 2 * packed.size() + 64,
                  "a short page behind a long one keeps no room for a long one");
  }
}

TEST_CASE("a new page knows nothing of the last one") {
  const Filter filter;
  PageIntake intake(filter);
  CHECK(list(intake, {"a", "b", "a", std::string(kMaxNameBytes + 1, 'x')}));
  CHECK(list(intake, {"b", "c"}));
  CHECK(names_of(intake) == Names{"b", "c"});
  CHECK(intake.listed() == 2);
  CHECK(intake.duplicates() == 0);
  CHECK(intake.rejected().empty());
  CHECK(list(intake, {}));
  CHECK(intake.names().empty());
  CHECK(intake.listed() == 0);
}

TEST_CASE("a name of 4096 bytes passes, a longer one is kept apart") {
  const Filter filter;
  PageIntake intake(filter);
  const std::string longest(kMaxNameBytes, 'x'), longer(kMaxNameBytes + 1, 'x'), huge(200'000, 'y');
  CHECK(list(intake, {longest, longer, "a", huge}));
  CHECK(names_of(intake) == Names{longest, "a"});
  CHECK(rejected_of(intake) == std::set<std::string>{longer, huge});
  CHECK(intake.listed() == 4);
}

TEST_CASE("an over-long name that comes again is a duplicate too") {
  const Filter filter;
  PageIntake intake(filter);
  const std::string longer(kMaxNameBytes + 1, 'x');
  CHECK(list(intake, {longer, "a", longer}));
  CHECK(intake.rejected().size() == 1);
  CHECK(intake.duplicates() == 1);
  CHECK(intake.listed() == 3);
}

TEST_CASE("with includes, one of them must match") {
  const Filter filter{{"*.jpg", "keep/*"}, {}};
  PageIntake intake(filter);
  CHECK(list(intake, {"a.jpg", "a.png", "keep/a.png", "folder/b.jpg", "jpg", "a.jpg"}));
  CHECK(names_of(intake) == Names{"a.jpg", "keep/a.png", "folder/b.jpg"});
  CHECK(intake.filtered() == 2);
  CHECK(intake.listed() == 4);
  CHECK(intake.duplicates() == 1);
}

TEST_CASE("with excludes, none of them may match, whatever the includes say") {
  const Filter filter{{"*.jpg"}, {"*thumb*", "?.jpg"}};
  PageIntake intake(filter);
  CHECK(list(intake, {"a.jpg", "aa.jpg", "a/thumb/b.jpg", "aa.png"}));
  CHECK(names_of(intake) == Names{"aa.jpg"});
  CHECK(intake.filtered() == 3);
  CHECK(intake.listed() == 1);

  const Filter excluding{{}, {"b*"}};
  PageIntake other(excluding);
  CHECK(list(other, {"a", "b", "bb", "c"}));
  CHECK(names_of(other) == Names{"a", "c"});
}

TEST_CASE(
    "a pattern's star, question mark and brackets are those of the shell; a slash is no end") {
  const Filter filter{{"a?c", "[x-z]*", "lit\\*eral"}, {}};
  PageIntake intake(filter);
  CHECK(list(intake, {"abc", "a/c", "ac", "y/deep/name", "w", "lit*eral", "literal"}));
  CHECK(names_of(intake) == Names{"abc", "a/c", "y/deep/name", "lit*eral"});
}

TEST_CASE("an over-long name is filtered like any other") {
  const Filter filter{{"a*"}, {}};
  PageIntake intake(filter);
  CHECK(list(intake, {std::string(5000, 'a'), std::string(5000, 'b')}));
  CHECK(intake.rejected().size() == 1);
  CHECK(intake.filtered() == 1);
}

TEST_CASE("the limit counts what is listed, of all kinds, and then stops") {
  const Filter filter{{}, {"skip*"}};
  PageIntake intake(filter);
  CHECK(list(intake, {"a", "skip1", "a", "b"}, 0, 5));  // two names, one duplicate
  CHECK_FALSE(intake.limit_reached());
  CHECK_FALSE(list(intake, {"skip2", "c", std::string(5000, 'x'), "never"}, 0, 2));
  CHECK(intake.limit_reached());
  CHECK(names_of(intake) == Names{"c"});
  CHECK(intake.rejected().size() == 1);
  CHECK(intake.listed() == 2);
  CHECK_FALSE(intake.on_name("never"));
  CHECK(intake.listed() == 2);
}

TEST_CASE("a limit of none takes nothing") {
  const Filter filter;
  PageIntake intake(filter);
  CHECK_FALSE(list(intake, {"a"}, 0, 0));
  CHECK(intake.limit_reached());
  CHECK(intake.names().empty());
  CHECK(intake.listed() == 0);
}

TEST_CASE("names that an earlier run has listed are left out, and remembered as duplicates") {
  const Filter filter;
  PageIntake intake(filter);
  CHECK(list(intake, {"a", "b", "a", "c", "b", "d"}, 3));
  CHECK(names_of(intake) == Names{"c", "d"});
  CHECK(intake.listed() == 3);
  CHECK(intake.duplicates() == 1);
  CHECK(list(intake, {"a", "b"}, 5));
  CHECK(intake.names().empty());
  CHECK(intake.listed() == 0);
  CHECK_FALSE(list(intake, {"a", "b", "c", "d"}, 1, 2));
  CHECK(names_of(intake) == Names{"b", "c"});
  CHECK(list(intake, {"a", "b"}));
  CHECK_MESSAGE(names_of(intake).size() == 2, "a new page knows nothing of what was skipped");
}

TEST_CASE("a page that is cut anywhere and gone on with is the whole page") {
  const Filter filter{{}, {"no*"}};
  const std::string longest(5000, 'x');
  const Names page = {"no1", "a", "b", "no2", "a", longest, "c", "no3", "b", "d", "no4"};
  PageIntake intake(filter);
  REQUIRE(list(intake, page));
  const Names whole = names_of(intake);
  const uint64_t listed = intake.listed(), duplicates = intake.duplicates(),
                 filtered = intake.filtered();
  CHECK(listed == 7);
  CHECK(filtered == 4);
  for (uint64_t cut = 1; cut < listed; ++cut) {
    CAPTURE(cut);
    CHECK_FALSE(list(intake, page, 0, cut));
    Names names = names_of(intake);
    uint64_t sum_listed = intake.listed(), sum_duplicates = intake.duplicates(),
             sum_filtered = intake.filtered(), sum_too_long = intake.rejected().size();
    CHECK(sum_listed == cut);
    CHECK(list(intake, page, cut));
    for (const std::string& name : names_of(intake))
      names.push_back(name);
    CHECK(names == whole);
    CHECK(sum_listed + intake.listed() == listed);
    CHECK(sum_duplicates + intake.duplicates() == duplicates);
    CHECK(sum_filtered + intake.filtered() == filtered);
    CHECK(sum_too_long + intake.rejected().size() == 1);
  }
}

TEST_CASE("duplicates are found among very many skipped names") {
  const Filter filter;
  PageIntake intake(filter);
  Names names;
  for (int i = 0; i < 20'000; ++i)
    names.push_back("file-" + std::to_string(i));
  const Names once = names;
  names.insert(names.end(), once.begin(), once.end());
  names.push_back("new");
  CHECK(list(intake, names, 20'000));
  CHECK(intake.duplicates() == 20'000);
  CHECK(names_of(intake) == Names{"new"});
}

TEST_CASE("what is no name is listed and rejected, each text once") {
  const Filter filter;
  PageIntake intake(filter);
  intake.begin_page(0, 6);
  CHECK(intake.on_name("a"));
  CHECK(intake.on_bad_name("null", FailureClass::bad_name, "no string"));
  CHECK(intake.on_bad_name("null", FailureClass::bad_name, "no string"));
  CHECK(intake.on_bad_name("5", FailureClass::bad_name, "no string"));
  CHECK(intake.on_name("b"));
  CHECK_FALSE(intake.on_bad_name("6", FailureClass::bad_name, "no string"));
  CHECK_FALSE(intake.on_bad_name("7", FailureClass::bad_name, "no string"));
  CHECK(names_of(intake) == Names{"a", "b"});
  CHECK(intake.listed() == 6);
  CHECK(intake.duplicates() == 1);
  REQUIRE(intake.rejected().size() == 3);
  CHECK(intake.rejected().at("null").cause == FailureClass::bad_name);
  CHECK(intake.rejected().at("null").text == "no string");
  CHECK(intake.limit_reached());
  // One that was listed before is counted, and no more.
  intake.begin_page(1, 1);
  CHECK(intake.on_bad_name("null", FailureClass::bad_name, "no string"));
  CHECK_FALSE(intake.on_name("b"));
  CHECK(intake.rejected().empty());
  CHECK(intake.listed() == 1);
}
