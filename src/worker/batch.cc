#include "worker/batch.h"

#include <algorithm>
#include <cassert>
#include <map>
#include <utility>

namespace gigafetch::worker {
namespace {

// Runs of names in a part, for which there is room from the first on.
constexpr size_t kUsualRuns = 32;

void append_to_runs(std::vector<wire::Outcome::Range>& runs, uint32_t index) {
  if (runs.empty() || runs.back().first + runs.back().count != index) runs.push_back({index, 0});
  ++runs.back().count;
}

void remove_from_runs(std::vector<wire::Outcome::Range>& runs, uint32_t index) {
  const auto found = std::find_if(runs.begin(), runs.end(), [index](const auto& run) {
    return run.first <= index && index - run.first < run.count;
  });
  assert(found != runs.end());
  const wire::Outcome::Range behind{index + 1, found->first + found->count - index - 1};
  found->count = index - found->first;
  if (behind.count > 0) {
    runs.insert(found + 1, behind);
  } else if (found->count == 0) {
    runs.erase(found);
  }
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
  if (gathers_) gathering_ = add_part();
}

// Names are stored nearly in order: mostly it is the same segment as the last time.
uint32_t Batch::find_segment(uint32_t index) {
  const uint32_t begin = segment_ == 0 ? 0 : segment_ends_[segment_ - 1];
  if (index < begin || index >= segment_ends_[segment_]) {
    const auto end = std::upper_bound(segment_ends_.begin(), segment_ends_.end(), index);
    segment_ = static_cast<uint32_t>(end - segment_ends_.begin());
  }
  return segment_;
}

SegmentSum& Batch::sum_of(Part& part, uint32_t segment) {
  if (segment == 0) return part.sum;
  if (part.more_sums.empty()) part.more_sums.resize(sums_.size() - 1);
  return part.more_sums[segment - 1];
}

// Calls `add` with the index of each segment of which something is proven in `part`, and its sum.
template <typename Add>
void Batch::add_sums(const Part& part, Add add) {
  if (part.sum.any) add(0, part.sum);
  for (uint32_t i = 0; i < part.more_sums.size(); ++i) {
    if (part.more_sums[i].any) add(i + 1, part.more_sums[i]);
  }
}

Part* Batch::set_answered(uint32_t index, bool stored) {
  assert(fates_[index] == Fate::open);
  fates_[index] = Fate::answered;
  ++waiting_count_;
  if (!gathers_ || !stored) return nullptr;
  append_to_runs(gathering_->names, index);
  ++gathering_->count;
  ++gathering_->unproven;
  return gathering_;
}

store::Receipt Batch::prove(const FileRun& run) {
  if (!gathers_) {
    settle_waiting(run.first, run.count);
    sums_[run.segment].add(run.bytes, run.content);
    return 0;
  }
  Part& part = *now(run.part);
  part.unproven -= run.count;
  sum_of(part, run.segment).add(run.bytes, run.content);
  return part.unproven == 0 ? part.receipt : 0;
}

void Batch::take_back(uint32_t index, Part* from) {
  assert(fates_[index] == Fate::answered);
  fates_[index] = Fate::open;
  --waiting_count_;
  if (from == nullptr) return;
  Part& part = *now(from);
  --part.unproven;
  --part.count;
  remove_from_runs(part.names, index);
}

void Batch::settle(uint32_t index, Fate fate) {
  Fate& now = fates_[index];
  assert(now == Fate::open || now == Fate::answered);
  if (now != Fate::open) --waiting_count_;
  now = fate;
  ++settled_count_;
}

// Answered names are stored.
void Batch::settle_waiting(uint32_t first, uint32_t count) {
  for (uint32_t i = first; i < first + count; ++i) {
    assert(fates_[i] == Fate::answered);
    fates_[i] = Fate::stored;
  }
  waiting_count_ -= count;
  settled_count_ += count;
}

void Batch::settle_stored(uint32_t index, uint64_t bytes, const store::Hash128& content) {
  settle(index, Fate::stored);
  sums_[segment_of(index)].add(bytes, content);
}

void Batch::settle_failed(uint32_t index, FileFailure failure) {
  settle(index, Fate::failed);
  failures_.push_back({index, std::move(failure)});
}

void Batch::release(uint32_t index) {
  settle(index, Fate::released);
}

Part* Batch::add_part() {
  Part& part = *parts_.emplace_back(std::make_unique<Part>());
  part.names.reserve(kUsualRuns);
  return &part;
}

const Part& Batch::part(store::Receipt receipt) const {
  const auto found = std::find_if(parts_.begin(), parts_.end(),
                                  [&](const auto& part) { return part->receipt == receipt; });
  assert(found != parts_.end());
  return **found;
}

void Batch::on_committed(store::Receipt receipt) {
  gathering_->receipt = receipt;
  gathering_ = add_part();
}

Part* Batch::on_streamed(uint32_t index, store::Receipt receipt) {
  remove_from_runs(gathering_->names, index);
  --gathering_->count;
  --gathering_->unproven;
  Part& part = *add_part();
  part.receipt = receipt;
  part.names = {{index, 1}};
  part.count = part.unproven = 1;
  return &part;
}

void Batch::reopen(store::Receipt receipt) {
  Part& from = part(receipt);
  Part& to = *gathering_;
  to.names.insert(to.names.end(), from.names.begin(), from.names.end());
  to.count += from.count;
  to.unproven += from.unproven;
  add_sums(from, [&](uint32_t segment, const SegmentSum& sum) {
    sum_of(to, segment).add(sum.bytes, sum.content);
  });
  from = {};
  from.moved_to = &to;
}

void Batch::settle_part(store::Receipt receipt, const ShardEnd& end) {
  const Part part = std::exchange(this->part(receipt), {});
  for (const auto& [first, count] : part.names)
    settle_waiting(first, count);
  add_sums(part, [&](uint32_t segment, const SegmentSum& sum) {
    sums_[segment].add(sum.bytes, sum.content);
  });
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
    const SegmentSum sum = std::exchange(sums_[segment], {});
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
    if (fate == Fate::open || fate == Fate::answered) release(i);
  }
  return take_outcome();
}

}  // namespace gigafetch::worker
