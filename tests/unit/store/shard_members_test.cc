#include "store/shard_members.h"

#include <doctest/doctest.h>

#include "store/content_hash.h"
#include "store/shards.h"

namespace gigafetch::store {
namespace {

CountedShard whole(const TempFolder& out, const ShardName& name) {
  return {name, std::filesystem::file_size(out / file_of(name))};
}

// What is told of a shard.
struct Told {
  std::vector<std::string> names;  // "(none)" for a stranger, "NAME!" for one whose body is damaged
  std::vector<bool> damages;       // whether the index covers them
};

Told told_of(const TempFolder& out, const CountedShard& shard, Layout layout = Layout::tree) {
  Told told;
  MemberHooks hooks;
  hooks.on_member = [&](const ShardMember& member) {
    told.names.push_back(member.name.value_or("(none)") + (member.damage.empty() ? "" : "!"));
    return Result<void>();
  };
  hooks.on_damage = [&](const Error& why, bool covered) {
    CHECK(why.text.find(file_of(shard.name)) != std::string::npos);
    told.damages.push_back(covered);
  };
  CHECK(for_members(out.fd(), shard, layout, Bodies::read, hooks).ok());
  return told;
}

using Names = std::vector<std::string>;
using Flags = std::vector<bool>;

// Eight members of 1,024 bytes in lots of two: a to h.
void pack(const TempFolder& out, int level, bool indexed) {
  Packer packer(out, tar_options(level));
  for (char c = 'a'; c < 'i'; c += 2) {
    const std::string body(512, c);
    packer.store({{std::string(1, c), body}, {std::string(1, static_cast<char>(c + 1)), body}});
  }
  packer.sink.finish_run();
  if (!indexed) std::filesystem::remove(out / "worker-00-000000.idx");
}

void change(const std::filesystem::path& file, size_t at, std::string_view bytes) {
  std::string all = read_file(file);
  REQUIRE(at + bytes.size() <= all.size());
  write_file(file, all.replace(at, bytes.size(), bytes));
}

}  // namespace

TEST_CASE("each member is told with what is known of it, and strangers without a name") {
  const TempFolder out;
  std::string archive;
  TarHeaders headers(77);
  for (const std::string path : {"../x", "/abs", "a//b", "./a", "a\nb", "\xFF"}) {
    headers.append(archive, path, 3);
    archive += "abc" + std::string(kTarBlock - 3, '\0');
  }
  headers.append(archive, "good", 2);
  archive += "ok" + std::string(kTarBlock - 2, '\0');
  write_file(out / "worker-00-000000.tar", archive);
  std::vector<ShardMember> members;
  MemberHooks hooks;
  hooks.on_member = [&](const ShardMember& member) {
    members.push_back(member);
    return Result<void>();
  };
  REQUIRE(
      for_members(out.fd(), whole(out, shard_name(0, 0)), Layout::tree, Bodies::read, hooks).ok());
  REQUIRE(members.size() == 7);
  CHECK(members[0].path == "../x");
  for (size_t i = 0; i < 6; ++i)
    CHECK_FALSE(members[i].name.has_value());
  CHECK(members[6].name == "good");
  CHECK(members[6].size == 2);
  CHECK(members[6].mtime == 77);
  CHECK(members[6].content == content_hash("good", "ok"));
  CHECK(members[6].place == MemberPlace{6 * 1024, 0});
}

TEST_CASE("names are told as they were listed, and the telling ends where it is refused") {
  const TempFolder out;
  TarSink::Options options = tar_options(1);
  options.layout = Layout::fanout;
  Packer packer(out, options);
  packer.store({{"../x", "1"}, {"b/c", "2"}, {"d", "3"}});
  Names names;
  const auto take = [&](size_t limit) {
    names.clear();
    MemberHooks hooks;
    hooks.on_member = [&](const ShardMember& member) {
      names.push_back(member.name.value_or("(none)"));
      return names.size() < limit ? Result<void>() : Result<void>(error(ErrorCode::io, "enough"));
    };
    return for_members(out.fd(), whole(out, shard_name(0, 0, true)), Layout::fanout,
                       Bodies::leave_out, hooks);
  };
  CHECK(take(9).ok());
  CHECK(names == Names{"../x", "b/c", "d"});
  CHECK(take(2).failure().text == "enough");
  CHECK(names.size() == 2);
}

TEST_CASE("behind a damaged header the index leads on; without it the rest is lost") {
  for (const bool indexed : {true, false}) {
    const TempFolder out;
    pack(out, 0, indexed);
    change(out / "worker-00-000000.tar", 3 * 1024 + 3, "X");
    const Told told = told_of(out, whole(out, shard_name(0, 0)));
    CHECK(told.names ==
          (indexed ? Names{"a", "b", "c", "e", "f", "g", "h"} : Names{"a", "b", "c"}));
    CHECK(told.damages == Flags{indexed});
  }
}

TEST_CASE("the first member may be the damaged one, and so may several") {
  const TempFolder out;
  pack(out, 0, true);
  for (const size_t at : {0, 1, 5})
    change(out / "worker-00-000000.tar", at * 1024, "X");
  const Told told = told_of(out, whole(out, shard_name(0, 0)));
  CHECK(told.names == Names{"c", "d", "e", "g", "h"});
  CHECK(told.damages == Flags{true, true});
}

TEST_CASE("zeros over members are no end of the archive where the index knows of more") {
  for (const bool indexed : {true, false}) {
    const TempFolder out;
    pack(out, 0, indexed);
    change(out / "worker-00-000000.tar", 2 * 1024, std::string(2048, '\0'));
    const Told told = told_of(out, whole(out, shard_name(0, 0)));
    CHECK(told.names == (indexed ? Names{"a", "b", "e", "f", "g", "h"} : Names{"a", "b"}));
    CHECK(told.damages == (indexed ? Flags{true} : Flags{}));
  }
}

TEST_CASE("of a damaged frame no more than itself is lost") {
  for (const bool indexed : {true, false}) {
    const TempFolder out;
    pack(out, 1, indexed);
    const std::string bytes = read_file(out / "worker-00-000000.tar.zst");
    const size_t second = bytes.find("\x28\xB5\x2F\xFD", 4);
    REQUIRE(second != std::string::npos);
    change(out / "worker-00-000000.tar.zst", second, "XXXX");
    const Told told = told_of(out, whole(out, shard_name(0, 0, true)));
    CHECK(told.names == (indexed ? Names{"a", "b", "e", "f", "g", "h"} : Names{"a", "b"}));
    CHECK(told.damages == Flags{indexed});
  }
}

TEST_CASE("a member whose body is cut is told as damaged") {
  const TempFolder out;
  pack(out, 0, true);
  CountedShard shard = whole(out, shard_name(0, 0));
  shard.end = 5 * 1024 + 700;
  const Told told = told_of(out, shard);
  CHECK(told.names == Names{"a", "b", "c", "d", "e", "f!"});
  CHECK(told.damages == Flags{false});
}

TEST_CASE("behind the end of what the index covers members are read on") {
  for (const bool also_behind : {false, true}) {
    const TempFolder out;
    pack(out, 0, true);
    std::string more;
    TarHeaders headers(77);
    for (const std::string name : {"i", "j"}) {
      headers.append(more, name, 512);
      more += std::string(512, name.front());
    }
    const std::filesystem::path shard = out / "worker-00-000000.tar";
    const std::string all = read_file(shard);
    write_file(shard, all.substr(0, 8 * 1024) + more + all.substr(8 * 1024));
    change(shard, 7 * 1024, "X");
    if (also_behind) change(shard, 8 * 1024, "X");
    const Told told = told_of(out, whole(out, shard_name(0, 0)));
    const Names indexed = {"a", "b", "c", "d", "e", "f", "g"};
    CHECK(std::equal(indexed.begin(), indexed.end(), told.names.begin()));
    CHECK(told.names.size() == indexed.size() + (also_behind ? 0 : 2));
    CHECK_MESSAGE(told.damages == (also_behind ? Flags{true, false} : Flags{true}),
                  "no index tells what is lost of the rest");
  }
}

TEST_CASE("an index that leads astray is not followed") {
  const TempFolder out, other;
  pack(out, 0, true);
  {
    // Of a shard with members of another length.
    Packer packer(other, tar_options(0));
    packer.store({{"x", std::string(1500, 'x')}, {"e", "e"}, {"y", "y"}, {"z", "z"}});
    packer.sink.finish_run();
  }
  write_file(out / "worker-00-000000.idx", read_file(other / "worker-00-000000.idx"));
  change(out / "worker-00-000000.tar", 0, "X");
  const Told told = told_of(out, whole(out, shard_name(0, 0)));
  CHECK(told.names == Names{});
  const Flags covered = {true, false};  // it has none of the names that are lost, as turns out
  CHECK(told.damages == covered);
}

TEST_CASE("a shard that is gone is told") {
  const TempFolder out;
  const Told told = told_of(out, CountedShard{shard_name(0, 0), 1'000});
  CHECK(told.names.empty());
  CHECK(told.damages == Flags{false});
}

}  // namespace gigafetch::store
