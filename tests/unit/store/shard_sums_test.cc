#include "store/shard_sums.h"

#include <doctest/doctest.h>

#include "store/content_hash.h"
#include "store/shards.h"

namespace gigafetch::store {
namespace {

CountedShard whole(const TempFolder& out, const ShardName& name) {
  return {name, std::filesystem::file_size(out / file_of(name))};
}

void ignore(const ShardSums&) {}

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
    const auto sums =
        sum_shard(out.fd(), whole(out, shard_name(0, 0, level > 0)), Layout::tree, ignore);
    REQUIRE(sums.ok());
    CHECK(sums.value().names == names);
    CHECK(sums.value().content == content);
    CHECK(sums.value().bytes == 1 + 70'000 + 2'000'000);
    CHECK(sums.value().strangers == 0);
    ShardSums twice = sums.value();
    twice.add(sums.value());
    CHECK(twice.names.count == 2 * files.size());
    CHECK(twice.bytes == 2 * sums.value().bytes);
    CHECK(twice.content == content + content);
  }
}

TEST_CASE("a name that is in a shard twice counts twice") {
  const TempFolder out;
  Packer packer(out, tar_options());
  packer.store({{"a", "1"}, {"a", "1"}});
  const auto sums = sum_shard(out.fd(), whole(out, shard_name(0, 0)), Layout::tree, ignore);
  CHECK(sums.value().names.count == 2);
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
  const auto sums = sum_shard(out.fd(), shard, Layout::tree, ignore);
  REQUIRE(sums.ok());
  CHECK(sums.value().strangers == 6);
  CHECK(sums.value().names.count == 1);
  CHECK(sums.value().bytes == 0);
  Members told;
  CHECK(for_members(out.fd(), shard, Layout::tree,
                    [&](std::string_view path, const std::optional<std::string>& name) {
                      told.emplace_back(path, name.value_or("(none)"));
                      return Result<void>();
                    })
            .ok());
  REQUIRE(told.size() == 7);
  CHECK(told[0] == std::pair<std::string, std::string>("../x", "(none)"));
  CHECK(told[6] == std::pair<std::string, std::string>("good", "good"));
}

TEST_CASE("names are told as they were listed, and the telling ends where it is refused") {
  const TempFolder out;
  TarSink::Options options = tar_options(1);
  options.layout = Layout::fanout;
  Packer packer(out, options);
  packer.store({{"../x", "1"}, {"b/c", "2"}, {"d", "3"}});
  std::vector<std::string> names;
  const auto take = [&](size_t limit) {
    names.clear();
    return for_members(out.fd(), whole(out, shard_name(0, 0, true)), Layout::fanout,
                       [&](std::string_view, const std::optional<std::string>& name) {
                         names.push_back(name.value_or("(none)"));
                         return names.size() < limit ? Result<void>()
                                                     : Result<void>(error(ErrorCode::io, "enough"));
                       });
  };
  CHECK(take(9).ok());
  CHECK(names == std::vector<std::string>{"../x", "b/c", "d"});
  CHECK(take(2).failure().text == "enough");
  CHECK(names.size() == 2);
}

TEST_CASE("a damaged shard has no sums") {
  for (const int level : {0, 1}) {
    const TempFolder out;
    Packer packer(out, tar_options(level));
    packer.store({{"a", "1"}, {"b", std::string(5'000, 'x')}});
    CountedShard shard = whole(out, shard_name(0, 0, level > 0));
    --shard.end;
    const auto sums = sum_shard(out.fd(), shard, Layout::tree, ignore);
    REQUIRE_FALSE(sums.ok());
    CHECK(sums.failure().code == ErrorCode::malformed);
  }
}

TEST_CASE("who waits for sums hears of them now and then") {
  const TempFolder out;
  Packer packer(out, tar_options());
  packer.store(Members(10'000, {"a", ""}));
  std::vector<uint64_t> heard;
  REQUIRE(
      sum_shard(out.fd(), whole(out, shard_name(0, 0)), Layout::tree, [&](const ShardSums& sums) {
        heard.push_back(sums.names.count);
      }).ok());
  CHECK(heard == std::vector<uint64_t>{4096, 8192});
}

}  // namespace gigafetch::store
