// ShardEnd: how much of a packed file (a shard, store/tar_sink.h) is committed. It goes from the
// worker that writes the shard, with the outcome of the names in it, to the ledger.
#pragma once

#include <cstdint>

namespace gigafetch {

struct ShardEnd {
  uint32_t worker = 0;    // whose shard it is
  uint32_t number = 0;    // of the shard, among that worker's
  uint64_t end = 0;       // bytes, from the file's beginning; 0 is nothing
  bool finished = false;  // its end of archive stands before `end`: nothing more will come
  bool operator==(const ShardEnd&) const = default;
};

}  // namespace gigafetch
