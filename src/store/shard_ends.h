// ShardEnds: what is committed of a job's shards, as its ledger has it. Pure.
//
//     unknown --add--> open, growing --add, finished--> finished
//
// Memory holds the open shards, and the finished ones as runs of numbers; and for each run of the
// program that stored something the number from which on its shards count (an epoch): what stands
// in a later epoch was stored later, whatever the clock said.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

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

  // Shards from `first` on are of a new epoch. False, and nothing changes, when there is one of
  // that number or a higher one already.
  bool add_epoch(uint32_t first);

  // Bytes committed of each shard that is not finished.
  const std::map<ShardId, uint64_t>& open() const { return open_; }
  bool is_finished(const ShardId& id) const;
  // The lowest number of this epoch from which on the worker has used none.
  uint32_t next_number(uint32_t worker) const;
  // The lowest from which on no worker has.
  uint32_t next_number() const;
  // Which epoch a shard is of; they ascend with time.
  size_t epoch_of(uint32_t number) const;
  // The first number of the last one.
  uint32_t epoch_begin() const { return epochs_.empty() ? 0 : epochs_.back(); }
  // How many are finished.
  uint64_t finished_count() const;
  bool empty() const { return open_.empty() && finished_.empty(); }

  // As fields of a record, and back; false when it is nothing that put() has made.
  void put(std::string& out) const;
  bool take(VarintReader& in);

  bool operator==(const ShardEnds&) const = default;

 private:
  std::map<ShardId, uint64_t> open_;
  std::map<uint32_t, RangeSet> finished_;  // numbers, by worker
  std::vector<uint32_t> epochs_;           // where each begins but the first, ascending
};

}  // namespace gigafetch::store
