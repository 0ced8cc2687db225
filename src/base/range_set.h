// RangeSet: a set of indices kept as runs. Small while what is in it comes in runs: which names of
// a page are settled, say.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace gigafetch {

// The indices from `first` to the one before `end`.
struct IndexRange {
  uint32_t first = 0;
  uint32_t end = 0;
  uint32_t count() const { return end - first; }
  bool operator==(const IndexRange&) const = default;
};

class RangeSet {
 public:
  // Adds a run that is not empty. False, and nothing changes, when a part of it is there already.
  bool add(IndexRange range) {
    const auto next = behind(range.first);
    if (next != ranges_.end() && next->first < range.end) return false;
    const bool joins_next = next != ranges_.end() && next->first == range.end;
    const bool joins_last = next != ranges_.begin() && std::prev(next)->end >= range.first;
    if (joins_last && std::prev(next)->end > range.first) return false;
    count_ += range.count();
    if (joins_last && joins_next) {
      std::prev(next)->end = next->end;
      ranges_.erase(next);
    } else if (joins_last) {
      std::prev(next)->end = range.end;
    } else if (joins_next) {
      next->first = range.first;
    } else {
      ranges_.insert(next, range);
    }
    return true;
  }

  bool contains(uint32_t index) const {
    const auto next = const_cast<RangeSet*>(this)->behind(index);
    return next != ranges_.begin() && std::prev(next)->end > index;
  }

  // How many indices are in it.
  uint32_t count() const { return count_; }
  // Ascending, not touching.
  const std::vector<IndexRange>& ranges() const { return ranges_; }

  // The runs of 0 to `end` - 1 that are not in it, ascending.
  std::vector<IndexRange> gaps(uint32_t end) const {
    std::vector<IndexRange> gaps;
    uint32_t next = 0;
    for (const IndexRange& range : ranges_) {
      if (range.first > next) gaps.push_back({next, range.first});
      next = range.end;
    }
    if (next < end) gaps.push_back({next, end});
    return gaps;
  }

  bool operator==(const RangeSet&) const = default;

 private:
  // The first run that begins behind `index`.
  std::vector<IndexRange>::iterator behind(uint32_t index) {
    return std::upper_bound(ranges_.begin(), ranges_.end(), index,
                            [](uint32_t at, const IndexRange& range) { return at < range.first; });
  }

  std::vector<IndexRange> ranges_;
  uint32_t count_ = 0;
};

}  // namespace gigafetch
