// What a worker needs to know of its job: the one struct that crosses into the child process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "http/request_writer.h"
#include "http/url.h"
#include "store/layout.h"
#include "store/name_rules.h"
#include "worker/body_rules.h"

namespace gigafetch::store {
class MemberTable;
}

namespace gigafetch::worker {

enum class Mode : uint8_t {
  store,    // fetch each file into the sink
  compare,  // fetch each file and compare it with the one on disk
  check,    // fetch nothing; read each file from disk
  count,    // fetch nothing and read nothing: whoever asks has read the files himself
};

struct Settings {
  http::Url origin;
  std::string api;
  std::vector<http::Header> headers;

  Mode mode = Mode::store;
  store::Layout layout = store::Layout::tree;
  store::NameRules names;  // of the output's file system; of no matter to shards
  bool pack = false;       // into shards (--sink tar)
  // Where the members of the shards are that are to be checked or compared; null: by the indexes.
  const store::MemberTable* members = nullptr;  // borrowed
  uint64_t shard_size = uint64_t{1} << 30;
  int zstd_level = 0;         // of the shards; 0: not compressed
  bool sync_files = false;    // --durability file
  bool sync_codings = false;  // what is recorded of codings must outlive a power loss

  uint32_t connections = 64;
  uint32_t pipeline = 1;       // requests in flight per connection, at most
  bool pipeline_auto = false;  // start at 1 and find the depth; `pipeline` is the bound
  uint32_t retries = 5;        // tries after the first, per file
  Millis connect_timeout{10'000};
  Millis stall_timeout{30'000};
  BodyRules body;
  uint64_t min_free = 0;  // bytes of the output's file system that no large file takes
};

}  // namespace gigafetch::worker
