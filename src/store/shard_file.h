// ShardFile: one shard being written, with its index beside it. Worker, loop thread only.
//
// What is appended stands at the end of the file whole or not at all, so that the file ends where
// its last good append ended.
#pragma once

#include <memory>
#include <string_view>

#include "base/shard_end.h"
#include "base/unique_fd.h"
#include "store/shard_index.h"
#include "store/shard_name.h"
#include "store/status.h"

namespace gigafetch::store {

class ShardFile {
 public:
  // Creates the first of the worker's shards, from `id` on, whose file is not there yet. `shard` is
  // set when the status is ok. `output_fd` is borrowed for the call.
  static StoreStatus create(int output_fd, ShardId id, bool compressed,
                            std::unique_ptr<ShardFile>& shard);

  const ShardId& id() const { return name_.id; }
  uint64_t size() const { return size_; }
  ShardEnd end(bool finished) const { return {id().worker, id().number, size_, finished}; }
  IndexWriter& index() { return index_; }

  StoreStatus append(std::string_view bytes);
  // Writes over what stands at `offset`, which is that long.
  StoreStatus overwrite(uint64_t offset, std::string_view bytes);
  // Back to a size it has had.
  StoreStatus cut(uint64_t size);
  // Takes `count` bytes from `begin` on out of it: those behind them move up.
  StoreStatus take_out(uint64_t begin, uint64_t count);
  StoreStatus sync();

 private:
  ShardFile(ShardName name, UniqueFd fd, IndexWriter index);
  StoreStatus failed(int error_number, std::string_view operation) const;

  ShardName name_;
  UniqueFd fd_;
  IndexWriter index_;
  uint64_t size_ = 0;
};

}  // namespace gigafetch::store
