#include "store/shard_recovery.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "store/shards.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;

std::vector<ShardEnd> closed(const TempFolder& out, const ShardEnds& ends) {
  Result<std::vector<ShardEnd>> finished = close_shards(out.fd(), ends, false);
  REQUIRE_MESSAGE(finished.ok(), (finished ? "" : finished.failure().text));
  return std::move(finished).value();
}

ShardEnds with(ShardEnds ends, const std::vector<ShardEnd>& added) {
  for (const ShardEnd& end : added)
    CHECK(ends.add(end));
  return ends;
}

std::string text_of_failure(const TempFolder& out, const ShardEnds& ends) {
  const auto finished = close_shards(out.fd(), ends, false);
  REQUIRE_FALSE(finished.ok());
  CHECK(finished.failure().code == ErrorCode::malformed);
  return finished.failure().text;
}

}  // namespace

TEST_CASE("an open shard is cut to what counts, and ended") {
  for (const int level : {0, 1}) {
    const TempFolder out;
    Packer packer(out, tar_options(level));
    const ShardName name = shard_name(0, 0, level > 0);
    packer.store({{"a", "1"}, {"b", "2"}});
    const ShardEnds told = packer.ends;
    const uint64_t end = told.open().at({0, 0});
    packer.store({{"c", "3"}});
    packer.sink.finish_run();
    const std::vector<ShardEnd> finished = closed(out, told);
    REQUIRE(finished.size() == 1);
    CHECK(finished[0] == ShardEnd{0, 0, fs::file_size(out / file_of(name)), true});
    CHECK(finished[0].end > end);
    CHECK(members_of(out.fd(), name) == Members{{"a", "1"}, {"b", "2"}});
    if (level == 0)
      CHECK(read_file(out / file_of(name)).substr(end) == std::string(kTarEndBytes, '\0'));
    CHECK_MESSAGE(fs::exists(out / "worker-00-000000.idx"), "it is of use still");
  }
}

TEST_CASE("done again, after any part of it, it comes to the same") {
  for (const int level : {0, 1}) {
    const TempFolder out;
    Packer packer(out, tar_options(level));
    Lot lot;
    packer.put(lot, "a", "1");
    packer.stream(lot, "b", "2");
    packer.commit(lot);
    const ShardEnds told = packer.ends;
    const std::vector<ShardEnd> once = closed(out, told);
    REQUIRE(once.size() == 2);
    const fs::path first = out / file_of(shard_name(0, 0, level > 0));
    const std::string whole = read_file(first);
    // As after a death between the files and the ledger, or within the end of archive.
    for (uint64_t size = told.open().at({0, 0}); size <= whole.size(); ++size) {
      write_file(first, whole.substr(0, size));
      const auto again = closed(out, told);
      CHECK(std::set<uint64_t>{again.at(0).end, again.at(1).end} ==
            std::set<uint64_t>{once.at(0).end, once.at(1).end});
      CHECK(read_file(first) == whole);
    }
    // One of them in the ledger, then both.
    ShardEnds part = with(told, {once[0]});
    CHECK(closed(out, part) == std::vector<ShardEnd>{once[1]});
    CHECK(closed(out, with(told, once)).empty());
    CHECK(read_file(first) == whole);
  }
}

TEST_CASE("shards that nobody knows are removed with their indexes, and nothing else is") {
  const TempFolder out;
  for (const std::string file :
       {"worker-00-000000.tar", "worker-00-000000.idx", "worker-00-000001.tar.zst",
        "worker-07-000003.idx", "worker-00-000002.tar", "worker-00-000002.idx",
        "worker-00-000003.tar", "worker-00-000003.idx", "worker-0-000000.tar", "worker-00.tar",
        "other.tar", "worker-00-000000.tar.gz"})
    write_file(out / file, "content of it");
  fs::create_directory(out / "worker-xx");
  const ShardEnds ends = with({}, {{0, 2, 13, true}, {0, 3, 0, false}});
  CHECK(closed(out, ends).empty());
  CHECK(files_in(out) == std::set<std::string>{"worker-00-000002.tar", "worker-00-000002.idx",
                                               "worker-0-000000.tar", "worker-00.tar", "other.tar",
                                               "worker-00-000000.tar.gz", "worker-xx"});
}

TEST_CASE("a finished shard is not touched, not even one that is gone or has another size") {
  const TempFolder out;
  write_file(out / "worker-00-000000.tar", "longer than the ledger says");
  fs::permissions(out / "worker-00-000000.tar", fs::perms::owner_read);
  CHECK(closed(out, with({}, {{0, 0, 5, true}, {0, 1, 5, true}})).empty());
  CHECK(read_file(out / "worker-00-000000.tar") == "longer than the ledger says");
}

TEST_CASE("an open shard that is gone or too short is an error, and is left as it is") {
  const TempFolder out;
  const ShardEnds ends = with({}, {{3, 4, 1000, false}});
  CHECK(text_of_failure(out, ends).find("worker-03-000004.tar") != std::string::npos);
  write_file(out / "worker-03-000004.tar", std::string(999, 'x'));
  CHECK(text_of_failure(out, ends).find("999 bytes, and 1000") != std::string::npos);
  CHECK(read_file(out / "worker-03-000004.tar") == std::string(999, 'x'));
  write_file(out / "worker-03-000004.tar", std::string(1000, 'x'));
  CHECK(closed(out, ends).size() == 1);
}

TEST_CASE("a link in an open shard's place is not followed") {
  const TempFolder out, outside;
  write_file(outside / "precious", std::string(5000, 'p'));
  fs::create_symlink(outside / "precious", out / "worker-00-000000.tar");
  CHECK_FALSE(close_shards(out.fd(), with({}, {{0, 0, 1000, false}}), false).ok());
  CHECK(read_file(outside / "precious") == std::string(5000, 'p'));
}

TEST_CASE("shards may be synced as they are closed") {
  const TempFolder out;
  Packer packer(out, tar_options());
  packer.store({{"a", "1"}});
  const auto finished = close_shards(out.fd(), packer.ends, true);
  REQUIRE(finished.ok());
  CHECK(finished.value().size() == 1);
}

TEST_CASE("whether shards are there, and the end of all of them") {
  const TempFolder out;
  CHECK_FALSE(has_shards(out.fd()).value());
  write_file(out / "worker.tar", "x");
  CHECK_FALSE(has_shards(out.fd()).value());
  write_file(out / "worker-00-000000.idx", "x");
  CHECK(has_shards(out.fd()).value());
  write_file(out / "worker-00-000000.tar", "x");
  write_file(out / "worker-12-000000.tar.zst", "x");
  CHECK(has_shards(out.fd()).value());
  CHECK(remove_shards(out.fd()).ok());
  CHECK_FALSE(has_shards(out.fd()).value());
  CHECK(files_in(out) == std::set<std::string>{"worker.tar"});
  CHECK(remove_shards(out.fd()).ok());
  const UniqueFd none;
  CHECK_FALSE(has_shards(none.get()).ok());
  CHECK_FALSE(remove_shards(none.get()).ok());
  CHECK_FALSE(close_shards(none.get(), {}, false).ok());
}

}  // namespace gigafetch::store
