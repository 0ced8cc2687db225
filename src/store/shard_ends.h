// ShardEnds: what is committed of a job's shards, as its ledger has it. Pure.
//
//     unknown --add--> open, growing --add, finished--> finished
//
// Memory holds the open shards, and the finished ones as runs of numbers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/range_set.h"
#include "base/shard_end.h"
#include "base/varint.h"
#include "store/shard_name.h"

namespace gigafetch::store {

class ShardEnds {
 public:
  // False, and nothing changes, when it contradicts what came before: a shard only grows, and one
  // that is finished is left alone.
  bool add(const ShardEnd& end);

  // Bytes committed of each shard that is not finished.
  const std::map<ShardId, uint64_t>& open() const { return open_; }
  bool is_finished(const ShardId& id) const;
  // The lowest number from which on the worker has used none.
  uint32_t next_number(uint32_t worker) const;
  bool empty() const { return open_.empty() && finished_.empty(); }

  // As fields of a record, and back; false when it is nothing that put() has made.
  void put(std::string& out) const;
  bool take(VarintReader& in);

  bool operator==(const ShardEnds&) const = default;

 private:
  std::map<ShardId, uint64_t> open_;
  std::map<uint32_t, RangeSet> finished_;  // numbers, by worker
};

}  // namespace gigafetch::store
