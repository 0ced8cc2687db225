// NameSums: a sum over the hashes of names for each of many ranges of hashes. Where those of two
// sets of names agree, the sets do, but for a chance of 2^-64 a range: only the names of the other
// ranges need to be looked at one by one. Of a billion names each range has some 15,000, and a
// thousand that are missing leave 15 million to look at.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "store/set_hash.h"

namespace gigafetch::store {

class NameSums {
 public:
  static constexpr size_t kRanges = size_t{1} << 16;

  NameSums() : sums_(kRanges) {}
  // Takes over what has been summed elsewhere.
  explicit NameSums(std::span<const uint64_t, kRanges> sums) : sums_(sums.begin(), sums.end()) {}

  // In the sums some names later, or with settle(): the range is then in the cache.
  void add(const Hash128& name) { add(range_of(name), name.low); }
  // Makes the name's range differ from that of every set, but for the same chance.
  void spoil(const Hash128& name) { add(range_of(name), name.low * 0x9E3779B97F4A7C15 | 1); }
  void settle() {
    for (size_t i = 0; i < kLate; ++i)
      add(0, 0);
  }

  std::span<const uint64_t, kRanges> sums() const {
    return std::span<const uint64_t, kRanges>(sums_.data(), kRanges);
  }
  static size_t range_of(const Hash128& name) { return name.high % kRanges; }

 private:
  static constexpr size_t kLate = 8;
  struct Late {
    size_t range = 0;
    uint64_t value = 0;
  };

  void add(size_t range, uint64_t value) {
    __builtin_prefetch(&sums_[range], 1);
    Late& late = late_[next_++ % kLate];
    sums_[late.range] += late.value;
    late = {range, value};
  }

  std::vector<uint64_t> sums_;
  std::array<Late, kLate> late_;
  size_t next_ = 0;
};

// Ranges in which two sets of names differ.
class NameRanges {
 public:
  NameRanges() : marked_(NameSums::kRanges) {}
  void mark_different(const NameSums& a, const NameSums& b) {
    for (size_t i = 0; i < NameSums::kRanges; ++i)
      if (a.sums()[i] != b.sums()[i]) marked_[i] = true;
  }
  void mark_all() { marked_.assign(NameSums::kRanges, true); }
  bool operator==(const NameRanges&) const = default;
  bool has(const Hash128& name) const { return marked_[NameSums::range_of(name)]; }

 private:
  std::vector<bool> marked_;
};

}  // namespace gigafetch::store
