#include "coordinator/page_intake.h"

#include <doctest/doctest.h>

#include <map>

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

// Lists one page; false when the intake wanted no more.
bool list(PageIntake& intake, const Names& names) {
  intake.begin_page();
  for (const std::string& name : names) {
    if (!intake.on_name(name)) return false;
  }
  return true;
}

constexpr uint64_t kNoLimit = UINT64_MAX;

}  // namespace

TEST_CASE("names pass in their order, whatever their bytes") {
  const Filter filter;
  PageIntake intake(filter, kNoLimit);
  const Names names = {"b", "a", "", std::string("\0\x01\xFF", 3), "a/b", ".."};
  CHECK(list(intake, names));
  CHECK(names_of(intake) == names);
  CHECK(intake.listed() == 6);
  CHECK(intake.duplicates() == 0);
  CHECK(intake.filtered() == 0);
  CHECK(intake.too_long().empty());
  CHECK_FALSE(intake.limit_reached());
}

TEST_CASE("a name that comes again on a page is a duplicate, however far behind") {
  const Filter filter;
  PageIntake intake(filter, kNoLimit);
  CHECK(list(intake, {"a", "b", "a", "c", "a", "b", "", ""}));
  CHECK(names_of(intake) == Names{"a", "b", "c", ""});
  CHECK(intake.listed() == 8);
  CHECK(intake.duplicates() == 4);
}

TEST_CASE("names that begin alike are no duplicates") {
  const Filter filter;
  PageIntake intake(filter, kNoLimit);
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
  PageIntake intake(filter, kNoLimit);
  Random random(11);
  std::map<uint64_t, int> seen;
  Names expected;
  uint64_t duplicates = 0;
  intake.begin_page();
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

TEST_CASE("a new page knows nothing of the last one") {
  const Filter filter;
  PageIntake intake(filter, kNoLimit);
  CHECK(list(intake, {"a", "b", "a", std::string(kMaxNameBytes + 1, 'x')}));
  CHECK(list(intake, {"b", "c"}));
  CHECK(names_of(intake) == Names{"b", "c"});
  CHECK(intake.listed() == 2);
  CHECK(intake.duplicates() == 0);
  CHECK(intake.too_long().empty());
  CHECK(list(intake, {}));
  CHECK(intake.names().empty());
  CHECK(intake.listed() == 0);
}

TEST_CASE("a name of 4096 bytes passes, a longer one is kept apart") {
  const Filter filter;
  PageIntake intake(filter, kNoLimit);
  const std::string longest(kMaxNameBytes, 'x'), longer(kMaxNameBytes + 1, 'x'), huge(200'000, 'y');
  CHECK(list(intake, {longest, longer, "a", huge}));
  CHECK(names_of(intake) == Names{longest, "a"});
  CHECK(intake.too_long() == std::set<std::string>{longer, huge});
  CHECK(intake.listed() == 4);
}

TEST_CASE("an over-long name that comes again is a duplicate too") {
  const Filter filter;
  PageIntake intake(filter, kNoLimit);
  const std::string longer(kMaxNameBytes + 1, 'x');
  CHECK(list(intake, {longer, "a", longer}));
  CHECK(intake.too_long().size() == 1);
  CHECK(intake.duplicates() == 1);
  CHECK(intake.listed() == 3);
}

TEST_CASE("with includes, one of them must match") {
  const Filter filter{{"*.jpg", "keep/*"}, {}};
  PageIntake intake(filter, kNoLimit);
  CHECK(list(intake, {"a.jpg", "a.png", "keep/a.png", "folder/b.jpg", "jpg", "a.jpg"}));
  CHECK(names_of(intake) == Names{"a.jpg", "keep/a.png", "folder/b.jpg"});
  CHECK(intake.filtered() == 2);
  CHECK(intake.listed() == 4);
  CHECK(intake.duplicates() == 1);
}

TEST_CASE("with excludes, none of them may match, whatever the includes say") {
  const Filter filter{{"*.jpg"}, {"*thumb*", "?.jpg"}};
  PageIntake intake(filter, kNoLimit);
  CHECK(list(intake, {"a.jpg", "aa.jpg", "a/thumb/b.jpg", "aa.png"}));
  CHECK(names_of(intake) == Names{"aa.jpg"});
  CHECK(intake.filtered() == 3);
  CHECK(intake.listed() == 1);

  const Filter excluding{{}, {"b*"}};
  PageIntake other(excluding, kNoLimit);
  CHECK(list(other, {"a", "b", "bb", "c"}));
  CHECK(names_of(other) == Names{"a", "c"});
}

TEST_CASE(
    "a pattern's star, question mark and brackets are those of the shell; a slash is no end") {
  const Filter filter{{"a?c", "[x-z]*", "lit\\*eral"}, {}};
  PageIntake intake(filter, kNoLimit);
  CHECK(list(intake, {"abc", "a/c", "ac", "y/deep/name", "w", "lit*eral", "literal"}));
  CHECK(names_of(intake) == Names{"abc", "a/c", "y/deep/name", "lit*eral"});
}

TEST_CASE("an over-long name is filtered like any other") {
  const Filter filter{{"a*"}, {}};
  PageIntake intake(filter, kNoLimit);
  CHECK(list(intake, {std::string(5000, 'a'), std::string(5000, 'b')}));
  CHECK(intake.too_long().size() == 1);
  CHECK(intake.filtered() == 1);
}

TEST_CASE("the limit counts what is listed, of all kinds, over all pages, and then stops") {
  const Filter filter{{}, {"skip*"}};
  PageIntake intake(filter, 5);
  CHECK(list(intake, {"a", "skip1", "a", "b"}));  // two names, one duplicate
  CHECK_FALSE(intake.limit_reached());
  CHECK_FALSE(list(intake, {"skip2", "c", std::string(5000, 'x'), "never"}));
  CHECK(intake.limit_reached());
  CHECK(names_of(intake) == Names{"c"});
  CHECK(intake.too_long().size() == 1);
  CHECK(intake.listed() == 2);
  CHECK_FALSE(intake.on_name("never"));
  CHECK(intake.listed() == 2);
}

TEST_CASE("a limit of none takes nothing") {
  const Filter filter;
  PageIntake intake(filter, 0);
  CHECK(intake.limit_reached());
  CHECK_FALSE(list(intake, {"a"}));
  CHECK(intake.names().empty());
  CHECK(intake.listed() == 0);
}
