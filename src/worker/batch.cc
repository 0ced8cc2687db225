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

// Of a shard that stands there more than once, the last.
std::vector<ShardEnd> last_of_each(const std::vector<ShardEnd>& ends) {
  std::map<uint32_t, ShardEnd> last;
  for (const ShardEnd& end : ends)
    last[end.number] = end;
  std::vector<ShardEnd> shards;
  for (const auto& [number, end] : last)
    shards.push_back(end);
  return shards;
}

}  // namespace

Batch::Batch(const wire::BatchView& view, bool gathers)
    : lease_(view.lease),
      count_(view.count),
      patient_(view.patient),
      gathers_(gathers),
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
  if (!gathers_) return;
  parts_.emplace_back();
  part_of_.resize(count_);
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

void Batch::add(Sum& sum, uint64_t bytes, const store::Hash128& content) {
  sum.any = true;
  sum.bytes += bytes;
  sum.content = sum.content + content;
}

void Batch::set_answered(uint32_t index, bool stored) {
  assert(fates_[index] == Fate::open);
  fates_[index] = Fate::answered;
  ++waiting_count_;
  if (!gathers_) return;
  part_of_[index] = stored ? gathering_ : kNoPart;
  if (!stored) return;
  gathering().names.push_back(index);
  ++gathering().unproven;
}

void Batch::prove(uint32_t index, uint64_t bytes, const store::Hash128& content) {
  assert(fates_[index] == Fate::answered);
  if (!gathers_) {
    settle(index, Fate::stored);
    return add(sums_[segment_of(index)], bytes, content);
  }
  fates_[index] = Fate::proven;
  Part& part = parts_[part_of_[index]];
  --part.unproven;
  if (part.sums.empty()) part.sums.resize(sums_.size());
  add(part.sums[segment_of(index)], bytes, content);
}

void Batch::take_back(uint32_t index) {
  assert(fates_[index] == Fate::answered);
  fates_[index] = Fate::open;
  --waiting_count_;
  if (!gathers_ || part_of_[index] == kNoPart) return;
  Part& part = parts_[part_of_[index]];
  --part.unproven;
  std::erase(part.names, index);
}

void Batch::settle(uint32_t index, Fate fate) {
  Fate& now = fates_[index];
  assert(now == Fate::open || now == Fate::answered || now == Fate::proven);
  if (now != Fate::open) --waiting_count_;
  now = fate;
  ++settled_count_;
}

void Batch::settle_stored(uint32_t index, uint64_t bytes, const store::Hash128& content) {
  settle(index, Fate::stored);
  add(sums_[segment_of(index)], bytes, content);
}

void Batch::settle_failed(uint32_t index, FileFailure failure) {
  settle(index, Fate::failed);
  failures_.push_back({index, std::move(failure)});
}

void Batch::release(uint32_t index) {
  settle(index, Fate::released);
}

uint32_t Batch::part_index(store::Receipt receipt) const {
  const auto found = std::find_if(parts_.begin(), parts_.end(),
                                  [&](const Part& part) { return part.receipt == receipt; });
  assert(found != parts_.end());
  return static_cast<uint32_t>(found - parts_.begin());
}

const Batch::Part& Batch::part(store::Receipt receipt) const {
  return parts_[part_index(receipt)];
}

void Batch::on_committed(store::Receipt receipt) {
  gathering().receipt = receipt;
  gathering_ = static_cast<uint32_t>(parts_.size());
  parts_.emplace_back();
}

void Batch::on_streamed(uint32_t index, store::Receipt receipt) {
  assert(gathering().names.back() == index);
  gathering().names.pop_back();
  --gathering().unproven;
  part_of_[index] = static_cast<uint32_t>(parts_.size());
  Part& part = parts_.emplace_back();
  part.receipt = receipt;
  part.names = {index};
  part.unproven = 1;
}

// The part's place stays, empty: others are known by theirs.
void Batch::reopen(store::Receipt receipt) {
  Part part = std::exchange(parts_[part_index(receipt)], {});
  for (const uint32_t index : part.names)
    part_of_[index] = gathering_;
  Part& to = gathering();
  to.names.insert(to.names.end(), part.names.begin(), part.names.end());
  to.unproven += part.unproven;
  if (part.sums.empty()) return;
  if (to.sums.empty()) to.sums.resize(sums_.size());
  for (size_t i = 0; i < part.sums.size(); ++i) {
    if (part.sums[i].any) add(to.sums[i], part.sums[i].bytes, part.sums[i].content);
  }
}

void Batch::settle_part(store::Receipt receipt, const ShardEnd& end) {
  const Part part = std::exchange(parts_[part_index(receipt)], {});
  for (const uint32_t index : part.names)
    settle(index, Fate::stored);
  for (size_t i = 0; i < part.sums.size(); ++i) {
    if (part.sums[i].any) add(sums_[i], part.sums[i].bytes, part.sums[i].content);
  }
  shards_.push_back(end);
}

wire::Outcome Batch::take_outcome() {
  wire::Outcome outcome;
  outcome.lease = lease_;
  outcome.count = count_;
  outcome.last = all_settled();
  // Names are settled nearly in order: the first ones have been told of long since.
  while (first_untold_ < count_ && fates_[first_untold_] == Fate::told)
    ++first_untold_;
  for (uint32_t i = first_untold_; untold_count() > 0 && i < count_; ++i) {
    if (fates_[i] == Fate::stored) {
      append_to_runs(outcome.stored, i);
    } else if (fates_[i] == Fate::released) {
      append_to_runs(outcome.released, i);
    } else if (fates_[i] != Fate::failed) {
      continue;
    }
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
  outcome.shards = last_of_each(std::exchange(shards_, {}));
  told_count_ = settled_count_;
  return outcome;
}

wire::Outcome Batch::take_last_outcome() {
  for (uint32_t i = 0; i < count_; ++i) {
    const Fate fate = fates_[i];
    if (fate == Fate::open || fate == Fate::answered || fate == Fate::proven) release(i);
  }
  return take_outcome();
}

}  // namespace gigafetch::worker
