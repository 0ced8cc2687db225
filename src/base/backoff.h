// Backoff: how long to wait before the next try.
//
// Doubles from `first` up to `cap`, and draws from the upper half of the interval, so that many
// waiters do not come back together ("equal jitter": Brooker, Exponential Backoff And Jitter, AWS
// Architecture Blog, 2015).
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"
#include "base/random.h"

namespace gigafetch {

class Backoff {
 public:
  Backoff(Millis first, Millis cap) : first_(first), cap_(cap) {}

  // The wait after the `failures`-th failure in a row, counted from 1.
  Millis delay(uint32_t failures, Random& random) const {
    const uint32_t doublings = std::min<uint32_t>(failures > 0 ? failures - 1 : 0, 20);
    const auto whole = std::min<int64_t>(cap_.count(), first_.count() << doublings);
    const auto half = static_cast<uint64_t>(whole) / 2;
    return Millis(
        static_cast<int64_t>(half + random.below(static_cast<uint64_t>(whole) - half + 1)));
  }

 private:
  Millis first_;
  Millis cap_;
};

}  // namespace gigafetch
