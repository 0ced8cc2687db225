#include "worker/batch.h"

#include <algorithm>
#include <cassert>
#include <map>
#include <utility>

namespace gigafetch::worker {
namespace {

void append_to_runs(std::vector<wire::Outcome::Range>& runs, uint32_t index) {
  if (runs.empty() || runs.back().first + runs.back().count != index) runs.push_back({index, 0});
  ++runs.back().count;
}

}  // namespace

Batch::Batch(const wire::BatchView& view)
    : lease_(view.lease),
      count_(view.count),
      patient_(view.patient),
      names_(view.names),
      fates_(view.count),
      sums_(view.segments.size()) {
  uint32_t end = 0;
  for (const uint32_t names : view.segments)
    segment_ends_.push_back(end += names);
  offsets_.reserve(count_ + 1);
  for (NameCursor cursor(names_); !cursor.done(); cursor.next()) {
    offsets_.push_back(static_cast<uint32_t>(names_.size() - cursor.rest().size()));
  }
  offsets_.push_back(static_cast<uint32_t>(names_.size()));
}

void Batch::mark(uint32_t index, Fate fate) {
  assert(fates_[index] == Fate::open);
  fates_[index] = fate;
  ++settled_count_;
}

// Names are stored nearly in order: mostly it is the same segment as the last time.
uint32_t Batch::segment_of(uint32_t index) {
  const uint32_t begin = segment_ == 0 ? 0 : segment_ends_[segment_ - 1];
  if (index < begin || index >= segment_ends_[segment_]) {
    const auto end = std::upper_bound(segment_ends_.begin(), segment_ends_.end(), index);
    segment_ = static_cast<uint32_t>(end - segment_ends_.begin());
  }
  return segment_;
}

void Batch::settle_stored(uint32_t index, uint64_t bytes, const store::Hash128& content) {
  mark(index, Fate::stored);
  Sum& sum = sums_[segment_of(index)];
  sum.any = true;
  sum.bytes += bytes;
  sum.content = sum.content + content;
}

void Batch::settle_failed(uint32_t index, FileFailure failure) {
  mark(index, Fate::failed);
  failures_.push_back({index, std::move(failure)});
}

void Batch::release(uint32_t index) {
  mark(index, Fate::released);
}

wire::Outcome Batch::take_outcome() {
  wire::Outcome outcome;
  outcome.lease = lease_;
  outcome.count = count_;
  outcome.last = all_settled();
  // Names are settled nearly in order: the first ones have been told of long since.
  while (first_untold_ < count_ && fates_[first_untold_] == Fate::told)
    ++first_untold_;
  for (uint32_t i = first_untold_; i < count_; ++i) {
    if (fates_[i] == Fate::open) continue;
    if (fates_[i] == Fate::stored) append_to_runs(outcome.stored, i);
    if (fates_[i] == Fate::released) append_to_runs(outcome.released, i);
    fates_[i] = Fate::told;
  }
  for (uint32_t segment = 0; segment < sums_.size(); ++segment) {
    const Sum sum = std::exchange(sums_[segment], {});
    if (!sum.any) continue;
    outcome.contents.push_back({segment, sum.bytes, sum.content.low, sum.content.high});
  }
  outcome.failures = std::exchange(failures_, {});
  std::sort(outcome.failures.begin(), outcome.failures.end(),
            [](const auto& a, const auto& b) { return a.index < b.index; });
  outcome.shards = take_shards();
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
  for (Fate& fate : fates_) {
    if (fate == Fate::stored || fate == Fate::failed) fate = Fate::released;
  }
  std::fill(sums_.begin(), sums_.end(), Sum());
  failures_.clear();
  lot_.committed.clear();
  return take_last_outcome();
}

wire::Outcome Batch::take_last_outcome() {
  for (uint32_t i = 0; i < count_; ++i) {
    if (fates_[i] == Fate::open) release(i);
  }
  return take_outcome();
}

}  // namespace gigafetch::worker
