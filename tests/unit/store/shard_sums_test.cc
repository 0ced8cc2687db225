#include "store/shard_sums.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "store/content_hash.h"
#include "store/shards.h"

namespace gigafetch::store {
namespace {

CountedShard whole(const TempFolder& out, const ShardName& name) {
  return {name, std::filesystem::file_size(out / file_of(name))};
}

// Its sums, with the sums of its names and what is damaged.
struct Summed {
  ShardSums sums;
  NameSums names;
  std::vector<std::string> damages;
  uint64_t told = 0;  // names
};

Summed summed(const TempFolder& out, const CountedShard& shard) {
  Summed all;
  SumHooks hooks;
  hooks.on_read = [](const ShardSums&) {};
  hooks.on_damage = [&](const Error& damage, bool) { all.damages.push_back(damage.text); };
  hooks.on_name = [&](const ShardMember& member, const Hash128& name) {
    CHECK(name == hash_of_name(member.name.value_or("")));
    ++all.told;
    return Result<void>();
  };
  Result<ShardSums> sums = sum_shard(out.fd(), shard, Layout::tree, all.names, hooks);
  REQUIRE(sums.ok());
  all.sums = *sums;
  all.names.settle();
  return all;
}

bool same(NameSums a, NameSums b) {
  a.settle();
  b.settle();
  return std::ranges::equal(a.sums(), b.sums());
}

}  // namespace

TEST_CASE("the sums of a shard are those of its members, whatever their order") {
  const Members files = {{"a", "1"},
                         {"d/empty", ""},
                         {"../x", std::string(70'000, 'x')},
                         {std::string(200, 'n'), std::string(2'000'000, 'y')}};
  for (const int level : {0, 1}) {
    const TempFolder out;
    Packer packer(out, tar_options(level));
    packer.store(files);
    SetHash names;
    Hash128 content;
    for (const auto& [name, body] : files) {
      names.add(hash_of_name(name));
      content = content + content_hash(name, body);
    }
    NameSums by_range;
    for (const auto& [name, body] : files)
      by_range.add(hash_of_name(name));
    const Summed found = summed(out, whole(out, shard_name(0, 0, level > 0)));
    const ShardSums& sums = found.sums;
    CHECK(found.damages.empty());
    CHECK(found.told == files.size());
    CHECK(same(found.names, by_range));
    CHECK(sums.names == names);
    CHECK(sums.content == content);
    CHECK(sums.bytes == 1 + 70'000 + 2'000'000);
    CHECK(sums.strangers == 0);
    ShardSums twice = sums;
    twice.add(sums);
    CHECK(twice.names.count == 2 * files.size());
    CHECK(twice.bytes == 2 * sums.bytes);
    CHECK(twice.content == content + content);
  }
}

TEST_CASE("a name that is in a shard twice counts twice") {
  const TempFolder out;
  Packer packer(out, tar_options());
  packer.store({{"a", "1"}, {"a", "1"}});
  CHECK(summed(out, whole(out, shard_name(0, 0))).sums.names.count == 2);
}

TEST_CASE("a member that no name leads to is a stranger, and is in no sum") {
  const TempFolder out;
  std::string archive;
  TarHeaders headers(0);
  for (const std::string path : {"../x", "/abs", "a//b", "./a", "a\nb", "\xFF"}) {
    headers.append(archive, path, 3);
    archive += "abc" + std::string(kTarBlock - 3, '\0');
  }
  headers.append(archive, "good", 0);
  write_file(out / "worker-00-000000.tar", archive);
  const CountedShard shard = whole(out, shard_name(0, 0));
  const ShardSums sums = summed(out, shard).sums;
  CHECK(sums.strangers == 6);
  CHECK(sums.names.count == 1);
  CHECK(sums.bytes == 0);
}

TEST_CASE("what is damaged is told, and is in no sum") {
  for (const int level : {0, 1}) {
    const TempFolder out;
    Packer packer(out, tar_options(level));
    packer.store({{"a", "1"}});
    packer.store({{"b", std::string(5'000, 'x')}});
    CountedShard shard = whole(out, shard_name(0, 0, level > 0));
    shard.end -= 2'000;
    if (level > 0) shard.end += 1'999;
    const Summed found = summed(out, shard);
    REQUIRE(found.damages.size() == 1);
    CHECK(found.damages[0].find("worker-00-000000.tar") != std::string::npos);
    SetHash names;
    names.add(hash_of_name("a"));
    // A frame's last byte is of its checksum: the member itself may have been read.
    if (level == 0) {
      CHECK(found.sums.names == names);
      CHECK(found.sums.bytes == 1);
      NameSums others;
      others.add(hash_of_name("a"));
      CHECK_FALSE(same(found.names, others));
      others.add(hash_of_name("b"));
      CHECK_FALSE(same(found.names, others));
    }
  }
}

TEST_CASE("who waits for sums hears of them now and then") {
  const TempFolder out;
  Packer packer(out, tar_options());
  packer.store(Members(10'000, {"a", ""}));
  std::vector<uint64_t> heard;
  NameSums names;
  SumHooks hooks;
  hooks.on_read = [&](const ShardSums& sums) { heard.push_back(sums.names.count); };
  hooks.on_damage = [](const Error&, bool) {};
  REQUIRE(sum_shard(out.fd(), whole(out, shard_name(0, 0)), Layout::tree, names, hooks).ok());
  CHECK(heard == std::vector<uint64_t>{4096, 8192});
}

}  // namespace gigafetch::store
