#include "store/shard_ends.h"

#include <algorithm>

#include "store/ledger_fields.h"

namespace gigafetch::store {
namespace {

// A shard's number is an index in a RangeSet, whose ranges have an end.
constexpr uint32_t kMaxNumber = UINT32_MAX - 1;

}  // namespace

bool ShardEnds::add(const ShardEnd& end) {
  const ShardId id{end.worker, end.number};
  const auto open = open_.find(id);
  const bool shrinks = open != open_.end() && end.end < open->second;
  if (end.number > kMaxNumber || shrinks || is_finished(id)) return false;
  if (!end.finished) {
    open_[id] = end.end;
    return true;
  }
  if (open != open_.end()) open_.erase(open);
  return finished_[end.worker].add({end.number, end.number + 1});
}

bool ShardEnds::is_finished(const ShardId& id) const {
  const auto numbers = finished_.find(id.worker);
  return numbers != finished_.end() && numbers->second.contains(id.number);
}

uint32_t ShardEnds::next_number(uint32_t worker) const {
  uint32_t next = 0;
  if (const auto numbers = finished_.find(worker); numbers != finished_.end()) {
    next = numbers->second.ranges().back().end;
  }
  // The last open one of this worker.
  const auto behind = open_.upper_bound(ShardId{worker, UINT32_MAX});
  if (behind != open_.begin() && std::prev(behind)->first.worker == worker) {
    next = std::max(next, std::prev(behind)->first.number + 1);
  }
  return next;
}

void ShardEnds::put(std::string& out) const {
  put_varint(out, open_.size());
  for (const auto& [id, end] : open_) {
    for (const uint64_t value : {uint64_t{id.worker}, uint64_t{id.number}, end})
      put_varint(out, value);
  }
  put_varint(out, finished_.size());
  for (const auto& [worker, numbers] : finished_) {
    put_varint(out, worker);
    put_ranges(out, numbers.ranges());
  }
}

bool ShardEnds::take(VarintReader& in) {
  ShardEnds read;
  const uint64_t open = in.take();
  for (uint64_t i = 0; i < open && in.ok(); ++i) {
    ShardEnd end;
    end.worker = static_cast<uint32_t>(in.take_up_to(UINT32_MAX));
    end.number = static_cast<uint32_t>(in.take_up_to(kMaxNumber));
    end.end = in.take();
    if (read.open_.contains({end.worker, end.number}) || !read.add(end)) return false;
  }
  const uint64_t workers = in.take();
  for (uint64_t i = 0; i < workers && in.ok(); ++i) {
    const auto worker = static_cast<uint32_t>(in.take_up_to(UINT32_MAX));
    const std::vector<IndexRange> ranges = take_ranges(in);
    if (ranges.empty() || read.finished_.contains(worker)) return false;
    for (const IndexRange& range : ranges)
      if (!read.finished_[worker].add(range)) return false;
  }
  for (const auto& [id, end] : read.open_)
    if (read.is_finished(id)) return false;
  if (!in.ok()) return false;
  *this = std::move(read);
  return true;
}

}  // namespace gigafetch::store
