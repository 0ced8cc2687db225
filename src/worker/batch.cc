#include "worker/batch.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace gigafetch::worker {
namespace {

// The runs of indices that are set.
std::vector<wire::Outcome::Range> runs(const std::vector<bool>& set) {
  std::vector<wire::Outcome::Range> runs;
  for (uint32_t i = 0; i < set.size(); ++i) {
    if (!set[i]) continue;
    if (runs.empty() || runs.back().first + runs.back().count != i) runs.push_back({i, 0});
    ++runs.back().count;
  }
  return runs;
}

}  // namespace

Batch::Batch(const wire::BatchView& view)
    : lease_(view.lease),
      count_(view.count),
      patient_(view.patient),
      names_(view.names),
      settled_(view.count),
      stored_(view.count),
      released_(view.count) {
  uint32_t end = 0;
  for (const uint32_t names : view.segments)
    segment_ends_.push_back(end += names);
  offsets_.reserve(count_ + 1);
  for (NameCursor cursor(names_); !cursor.done(); cursor.next()) {
    offsets_.push_back(static_cast<uint32_t>(names_.size() - cursor.rest().size()));
  }
  offsets_.push_back(static_cast<uint32_t>(names_.size()));
}

void Batch::mark(uint32_t index) {
  assert(!settled_[index]);
  settled_[index] = true;
  ++settled_count_;
}

uint32_t Batch::segment_of(uint32_t index) const {
  if (index < segment_ends_.front()) return 0;
  const auto end = std::upper_bound(segment_ends_.begin(), segment_ends_.end(), index);
  return static_cast<uint32_t>(end - segment_ends_.begin());
}

void Batch::settle_stored(uint32_t index, uint64_t bytes, const store::Hash128& content) {
  mark(index);
  stored_[index] = true;
  const uint32_t segment = segment_of(index);
  wire::Outcome::Content& sum = contents_[segment];
  const store::Hash128 total = store::Hash128{sum.sum_low, sum.sum_high} + content;
  sum = {segment, sum.bytes + bytes, total.low, total.high};
}

void Batch::settle_failed(uint32_t index, FileFailure failure) {
  mark(index);
  failures_.push_back({index, std::move(failure)});
}

void Batch::release(uint32_t index) {
  mark(index);
  released_[index] = true;
}

wire::Outcome Batch::take_outcome() {
  wire::Outcome outcome;
  outcome.lease = lease_;
  outcome.count = count_;
  outcome.last = all_settled();
  outcome.stored = runs(stored_);
  for (const auto& [segment, content] : contents_)
    outcome.contents.push_back(content);
  outcome.failures = std::move(failures_);
  std::sort(outcome.failures.begin(), outcome.failures.end(),
            [](const auto& a, const auto& b) { return a.index < b.index; });
  outcome.released = runs(released_);
  outcome.shards = take_shards();
  failures_.clear();
  contents_.clear();
  std::fill(stored_.begin(), stored_.end(), false);
  std::fill(released_.begin(), released_.end(), false);
  told_count_ = settled_count_;
  return outcome;
}

// A shard may have been committed to more than once.
std::vector<ShardEnd> Batch::take_shards() {
  std::map<uint32_t, ShardEnd> last;
  for (const ShardEnd& end : std::exchange(lot_.committed, {}))
    last[end.number] = end;
  std::vector<ShardEnd> shards;
  for (const auto& [number, end] : last)
    shards.push_back(end);
  return shards;
}

wire::Outcome Batch::take_back_untold() {
  for (uint32_t i = 0; i < count_; ++i) {
    if (stored_[i]) released_[i] = true;
  }
  for (const wire::Outcome::Failure& failure : failures_)
    released_[failure.index] = true;
  std::fill(stored_.begin(), stored_.end(), false);
  contents_.clear();
  failures_.clear();
  lot_.committed.clear();
  return take_last_outcome();
}

wire::Outcome Batch::take_last_outcome() {
  for (uint32_t i = 0; i < count_; ++i) {
    if (!settled_[i]) release(i);
  }
  return take_outcome();
}

}  // namespace gigafetch::worker
