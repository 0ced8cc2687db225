#include "worker/batch.h"

#include <algorithm>
#include <cassert>

namespace gigafetch::worker {

Batch::Batch(const wire::BatchView& view)
    : lease_(view.lease), count_(view.count), names_(view.names), settled_(view.count) {
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

void Batch::settle_stored(uint32_t index, uint64_t bytes) {
  mark(index);
  ++outcome_.stored;
  outcome_.bytes += bytes;
}

void Batch::settle_failed(uint32_t index, FileFailure failure) {
  mark(index);
  outcome_.failures.push_back({index, std::move(failure)});
}

void Batch::add_to_set(const store::Hash128& hash) {
  store::SetHash set{{outcome_.set_hash_low, outcome_.set_hash_high}, 0};
  set.add(hash);
  outcome_.set_hash_low = set.sum.low;
  outcome_.set_hash_high = set.sum.high;
}

wire::Outcome Batch::outcome() const {
  wire::Outcome outcome = outcome_;
  outcome.lease = lease_;
  outcome.count = count_;
  std::sort(outcome.failures.begin(), outcome.failures.end(),
            [](const auto& a, const auto& b) { return a.index < b.index; });
  for (uint32_t i = 0; i < count_; ++i) {
    if (settled_[i]) continue;
    if (outcome.released.empty() ||
        outcome.released.back().first + outcome.released.back().count != i) {
      outcome.released.push_back({i, 0});
    }
    ++outcome.released.back().count;
  }
  return outcome;
}

}  // namespace gigafetch::worker
