#include "store/member_join.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

MemberJoin created(const TempFolder& folder) {
  Result<MemberJoin> made = MemberJoin::create(folder.fd());
  REQUIRE(made.ok());
  return std::move(made).value();
}

void list(MemberJoin& join, const std::string& name) {
  REQUIRE(join.add_listed(hash_of_name(name), name).ok());
}

ShardMember member(const std::string& name, uint64_t size = 1) {
  ShardMember made;
  made.path = name;
  made.name = name;
  made.size = size;
  made.content = {size, 0};
  return made;
}

void add(MemberJoin& join, const ShardMember& made, uint64_t shard = 0) {
  REQUIRE(join.add_member(hash_of_name(made.path), made, shard).ok());
}

struct Outcome {
  MemberJoin::Report report;
  std::multiset<std::string> missing, different;  // "NAME: DAMAGE"
};

Outcome outcome(MemberJoin& join) {
  Outcome all;
  MemberJoin::Hooks hooks;
  hooks.on_missing = [&](std::string_view name) {
    all.missing.emplace(name);
    return Result<void>();
  };
  hooks.on_different = [&](std::string_view name, std::string_view damage) {
    all.different.insert(std::string(name) + ": " + std::string(damage));
    return Result<void>();
  };
  Result<MemberJoin::Report> report = join.finish(hooks);
  REQUIRE(report.ok());
  all.report = std::move(report).value();
  CHECK(all.report.missing == all.missing.size());
  CHECK(all.report.different == all.different.size());
  return all;
}

using Names = std::multiset<std::string>;

}  // namespace

TEST_CASE("what is on one side alone is told, and the rest is summed") {
  const TempFolder folder;
  MemberJoin join = created(folder);
  for (int i = 0; i < 1'000; ++i) {
    if (i >= 3) list(join, std::to_string(i));
    if (i < 995) add(join, member(std::to_string(i), 10));
  }
  const Outcome found = outcome(join);
  CHECK(found.missing == Names{"995", "996", "997", "998", "999"});
  CHECK(found.report.extra == 3);
  CHECK(found.report.examples.size() == 3);
  CHECK(found.report.bytes == 9'920);
  CHECK(found.report.content == Hash128{9'920, 0});
  CHECK(found.report.again == 0);
}

TEST_CASE("a name listed on several pages is told as often") {
  const TempFolder folder;
  MemberJoin join = created(folder);
  for (int i = 0; i < 3; ++i) {
    list(join, "gone");
    list(join, "there");
    list(join, "both");
  }
  add(join, member("there", 5));
  add(join, member("both", 7), 0);
  add(join, member("both", 8), 1);
  add(join, member("both", 9), 2);
  const Outcome found = outcome(join);
  CHECK(found.missing == Names{"gone", "gone", "gone"});
  CHECK(found.report.bytes == 15 + 24);
  CHECK(found.report.extra == 0);
  CHECK(found.report.again == 0);
}

TEST_CASE("of several members of a name the one stored last counts") {
  const TempFolder folder;
  MemberJoin join = created(folder);
  ShardMember late = member("a", 3), damaged = member("b", 4), whole = member("b", 5);
  late.mtime = whole.mtime = 9;
  damaged.damage = "torn";
  damaged.mtime = 8;
  list(join, "a");
  list(join, "b");
  list(join, "c");
  add(join, late, 0);
  add(join, member("a", 100), 1);
  add(join, whole, 0);
  add(join, damaged, 1);
  damaged.path = *(damaged.name = "c");
  add(join, damaged, 1);
  ShardMember before = member("c", 50);
  add(join, before, 0);
  const Outcome found = outcome(join);
  CHECK(found.missing.empty());
  CHECK(found.different == Names{"c: torn"});
  CHECK(found.report.bytes == 8);
  CHECK(found.report.again == 3);
}

TEST_CASE("strangers are counted one by one, and the first extra ones are shown in order") {
  const TempFolder folder;
  MemberJoin join = created(folder);
  for (uint64_t i = 30; i-- > 0;) {
    ShardMember stranger = member("../x");
    stranger.name.reset();
    stranger.place = {i * 1024, 0};
    add(join, stranger, 7);
  }
  ShardMember first = member("first");
  first.place = {512, 0};
  add(join, first, 7);
  list(join, "../x");
  const Outcome found = outcome(join);
  CHECK(found.report.strangers == 30);
  CHECK(found.report.extra == 1);
  CHECK(found.missing == Names{"../x"});
  REQUIRE(found.report.examples.size() == MemberJoin::kMaxExamples);
  CHECK(std::is_sorted(found.report.examples.begin(), found.report.examples.end()));
  CHECK(found.report.examples[1] == MemberJoin::Spot{7, {512, 0}});
}

TEST_CASE("ranges that are too large for memory are divided, and one name for ever is not") {
  const TempFolder folder;
  MemberJoin join = created(folder);
  const std::string tail(4'000, 'n');
  // All in the first range of hashes, and more of them than fit.
  int listed = 0;
  for (int i = 0; listed < 5'000; ++i) {
    const std::string name = std::to_string(i) + tail;
    const Hash128 hash = hash_of_name(name);
    if (hash.low >> 58 != 0) continue;
    ++listed;
    REQUIRE(join.add_listed(hash, name).ok());
    if (listed % 10 != 0) add(join, member(name, 1));
  }
  for (int i = 0; i < 4'000; ++i)
    list(join, tail);
  add(join, member(tail, 1));
  const Outcome found = outcome(join);
  CHECK(found.report.missing == 500);
  CHECK(found.report.bytes == 4'500 + 4'000);
  CHECK(found.report.extra == 0);
}

TEST_CASE("what other processes have added is compared too") {
  const TempFolder folder;
  MemberJoin join = created(folder);
  for (int child = 0; child < 3; ++child) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      bool ok = true;
      for (int i = 0; i < 20'000; ++i) {
        const std::string name = std::to_string(i);
        const Hash128 hash = hash_of_name(name);
        if (child == 0) ok = ok && join.add_listed(hash, name).ok();
        if (child == 1 + i % 2 && i != 77) ok = ok && join.add_member(hash, member(name), 0).ok();
      }
      ::_exit(ok && join.flush().ok() ? 0 : 1);
    }
    int status = -1;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    REQUIRE(status == 0);
  }
  const Outcome found = outcome(join);
  CHECK(found.missing == Names{"77"});
  CHECK(found.report.bytes == 19'999);
}

TEST_CASE("the temporary files have no names, and go with the comparison") {
  const TempFolder folder;
  const size_t before = open_descriptors();
  {
    MemberJoin join = created(folder);
    list(join, "a");
    REQUIRE(join.flush().ok());
    CHECK(std::filesystem::is_empty(folder.path()));
    CHECK(open_descriptors() > before);
    CHECK(outcome(join).report.missing == 1);
  }
  CHECK(open_descriptors() == before);
  CHECK_FALSE(MemberJoin::create(-1).ok());
}

TEST_CASE("an error of who is told ends the comparison") {
  const TempFolder folder;
  MemberJoin join = created(folder);
  list(join, "a");
  MemberJoin::Hooks hooks;
  hooks.on_missing = [](std::string_view) -> Result<void> {
    return error(ErrorCode::no_space, "full");
  };
  CHECK(join.finish(hooks).failure().text == "full");
}

}  // namespace gigafetch::store
