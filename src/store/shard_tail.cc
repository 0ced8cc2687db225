#include "store/shard_tail.h"

#include <algorithm>

namespace gigafetch::store {

const ShardTail::Piece* ShardTail::find(Receipt receipt) const {
  const auto found = std::find_if(pieces_.begin(), pieces_.end(),
                                  [&](const Piece& piece) { return piece.receipt == receipt; });
  return found == pieces_.end() ? nullptr : &*found;
}

StoreStatus ShardTail::remove(Receipt receipt, ShardFile& file) {
  const auto found = std::find_if(pieces_.begin(), pieces_.end(),
                                  [&](const Piece& piece) { return piece.receipt == receipt; });
  const uint64_t gap = found->end - found->begin;
  const uint64_t begin = found->begin;
  const auto behind = pieces_.erase(found);
  if (StoreStatus status = file.take_out(begin, gap); !status.ok()) return status;
  std::for_each(behind, pieces_.end(), [gap](Piece& piece) {
    piece.begin -= gap;
    piece.end -= gap;
  });
  return {};
}

}  // namespace gigafetch::store
