#include "store/shard_name.h"

#include <doctest/doctest.h>

#include <string>

namespace gigafetch::store {

TEST_CASE("a shard is called by its worker and its number") {
  CHECK(file_of({{0, 0}, false}) == "worker-00-000000.tar");
  CHECK(file_of({{15, 3}, true}) == "worker-15-000003.tar.zst");
  CHECK(file_of({{100, 1'234'567}, false}) == "worker-100-1234567.tar");
  CHECK(index_file_of({15, 3}) == "worker-15-000003.idx");
}

TEST_CASE("every name leads back to its shard, and an index to the shard that it is of") {
  for (const uint32_t worker : {0u, 1u, 9u, 10u, 99u, 100u, UINT32_MAX}) {
    for (const uint32_t number : {0u, 1u, 999'999u, 1'000'000u, UINT32_MAX}) {
      const ShardId id{worker, number};
      for (const bool compressed : {false, true}) {
        const ShardName name{id, compressed};
        CAPTURE(file_of(name));
        CHECK(shard_of_file(file_of(name)) == name);
        CHECK_FALSE(shard_of_index_file(file_of(name)));
      }
      CHECK(shard_of_index_file(index_file_of(id)) == id);
      CHECK_FALSE(shard_of_file(index_file_of(id)));
    }
  }
}

TEST_CASE("what is spelt another way is no shard") {
  for (const std::string file : {
           "",
           "worker-",
           "worker-00",
           "worker-00-",
           "worker-00-000000",
           "worker-00-000000.",
           "worker-00-000000.tar.",
           "worker-00-000000.tar.gz",
           "worker-00-000000.tar.zst.tmp",
           "worker-00-000000.zst",
           "worker-00-000000.TAR",
           "Worker-00-000000.tar",
           " worker-00-000000.tar",
           "xworker-00-000000.tar",
           "worker-0-000000.tar",
           "worker-000-000000.tar",
           "worker-0100-000000.tar",
           "worker-00-00000.tar",
           "worker-00-0000000.tar",
           "worker-00-0123456.tar",
           "worker--1-000000.tar",
           "worker-+1-000000.tar",
           "worker- 1-000000.tar",
           "worker-00--00001.tar",
           "worker-00_000000.tar",
           "worker-0x-000000.tar",
           "worker-00-00000a.tar",
           "worker-4294967296-000000.tar",
           "worker-00-4294967296.tar",
           "worker-00-000000.tar/x",
       }) {
    CAPTURE(file);
    CHECK_FALSE(shard_of_file(file));
  }
  CHECK_FALSE(shard_of_file(std::string("worker-00-000000.tar\0", 21)));
  for (const std::string file :
       {"worker-00-000000.id", "worker-00-000000.idx2", "worker-0-000000.idx", "x.idx", ".idx"})
    CHECK_FALSE(shard_of_index_file(file));
}

}  // namespace gigafetch::store
