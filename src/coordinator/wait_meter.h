// WaitMeter: which share of the workers' time went into waiting for names (`listing_bound`). Pure.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace gigafetch::coordinator {

class WaitMeter {
 public:
  WaitMeter(uint32_t workers, TimePoint start) : workers_(workers), start_(start), last_(start) {}

  // From `now` on, `waiting` of the workers have nothing to do because the listing has not yet
  // brought more names.
  void update(uint32_t waiting, TimePoint now) {
    waited_ += waiting_ * seconds_between(last_, now);
    waiting_ = waiting;
    last_ = now;
  }

  // 0 to 1, over the time up to `now`.
  double share(TimePoint now) const {
    const double total = workers_ * seconds_between(start_, now);
    if (total <= 0) return 0;
    return (waited_ + waiting_ * seconds_between(last_, now)) / total;
  }

 private:
  uint32_t workers_;
  TimePoint start_;
  TimePoint last_;
  uint32_t waiting_ = 0;
  double waited_ = 0;  // worker-seconds
};

}  // namespace gigafetch::coordinator
