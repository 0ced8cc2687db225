// ShardTail: the end of a shard that does not count yet: what was committed to it and is not told,
// commit by commit in the order in which they stand there. Worker, loop thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "store/shard_file.h"
#include "store/shard_index.h"
#include "store/sink.h"
#include "store/status.h"

namespace gigafetch::store {

class ShardTail {
 public:
  // One commit's bytes.
  struct Piece {
    Receipt receipt = 0;
    uint64_t begin = 0;  // in the shard
    uint64_t end = 0;
    std::vector<IndexEntry> entries;  // for the index, once it is told
    uint64_t blocks = 0;              // tar blocks in it, before any compression
  };

  bool empty() const { return pieces_.empty(); }
  const Piece& front() const { return pieces_.front(); }
  void add(Piece piece) { pieces_.push_back(std::move(piece)); }
  // Only when not empty.
  Piece take_front() {
    Piece piece = std::move(pieces_.front());
    pieces_.pop_front();
    return piece;
  }
  const Piece* find(Receipt receipt) const;
  // Takes the bytes of a commit that is in the tail out of `file`: what stands behind them moves
  // up. A death meanwhile leaves bytes that do not count. After a failure nothing of the tail is to
  // be relied on.
  StoreStatus remove(Receipt receipt, ShardFile& file);

 private:
  std::deque<Piece> pieces_;
};

}  // namespace gigafetch::store
