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
    int64_t whole = std::min(cap_.count(), first_.count());
    for (uint32_t i = 1; i < failures && whole > 0 && whole < cap_.count(); ++i)
      whole = whole > cap_.count() / 2 ? cap_.count() : whole * 2;
    const auto half = static_cast<uint64_t>(whole) / 2;
    return Millis(
        static_cast<int64_t>(half + random.below(static_cast<uint64_t>(whole) - half + 1)));
  }

 private:
  Millis first_;
  Millis cap_;
};

}  // namespace gigafetch
