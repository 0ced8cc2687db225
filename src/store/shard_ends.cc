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

bool ShardEnds::add_epoch(uint32_t first) {
  if (first <= epoch_begin() || first < next_number() || first > kMaxNumber) return false;
  epochs_.push_back(first);
  return true;
}

uint64_t ShardEnds::finished_count() const {
  uint64_t count = 0;
  for (const auto& [worker, numbers] : finished_)
    count += numbers.count();
  return count;
}

size_t ShardEnds::epoch_of(uint32_t number) const {
  const auto behind = std::upper_bound(epochs_.begin(), epochs_.end(), number);
  return static_cast<size_t>(behind - epochs_.begin());
}

uint32_t ShardEnds::next_number() const {
  uint32_t next = epoch_begin();
  for (const auto& [worker, numbers] : finished_)
    next = std::max(next, numbers.ranges().back().end);
  for (const auto& [id, end] : open_)
    next = std::max(next, id.number + 1);
  return next;
}

uint32_t ShardEnds::next_number(uint32_t worker) const {
  uint32_t next = epoch_begin();
  if (const auto numbers = finished_.find(worker); numbers != finished_.end()) {
    next = std::max(next, numbers->second.ranges().back().end);
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
  // Nothing where there are none, as in checkpoints of format 3.
  if (epochs_.empty()) return;
  put_varint(out, epochs_.size());
  for (const uint32_t first : epochs_)
    put_varint(out, first);
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
  const bool has_epochs = in.left() > 0;
  const uint64_t epochs = has_epochs ? in.take() : 0;
  if (has_epochs && epochs == 0) return false;
  for (uint64_t i = 0; i < epochs && in.ok(); ++i) {
    const auto first = static_cast<uint32_t>(in.take_up_to(kMaxNumber));
    if (first <= read.epoch_begin()) return false;
    read.epochs_.push_back(first);
  }
  if (!in.ok()) return false;
  *this = std::move(read);
  return true;
}

}  // namespace gigafetch::store
