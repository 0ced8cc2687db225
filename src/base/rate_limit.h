// RateLimit: a token bucket that holds requests to a number a second. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace gigafetch {

class RateLimit {
 public:
  // `per_second` 0 means no limit. Bursts are at most `burst_seconds` worth of requests, or one.
  RateLimit(double per_second, TimePoint now, double burst_seconds = 0.1)
      : per_second_(per_second),
        burst_seconds_(burst_seconds),
        burst_(std::max(1.0, per_second * burst_seconds)),
        tokens_(1),
        filled_(now) {}

  // From now on `per_second`; what has gathered stays, as far as the new bound allows. Where there
  // was no limit, nothing has.
  void set(double per_second, TimePoint now) {
    if (per_second == per_second_) return;
    const bool was_limited = per_second_ > 0;
    if (was_limited) refill(now);
    per_second_ = per_second;
    burst_ = std::max(1.0, per_second * burst_seconds_);
    tokens_ = was_limited ? std::min(tokens_, burst_) : 0;
    if (!was_limited) filled_ = now;
  }

  // Nothing is to be sent before `until`: what has gathered is gone, and more gathers only then.
  void hold_until(TimePoint until) {
    tokens_ = 0;
    filled_ = until;
  }

  // Takes one request's worth; false when none is left at `now`.
  bool take(TimePoint now) {
    if (per_second_ <= 0) return true;
    refill(now);
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }
  // How long after the last take() the next one can succeed.
  Millis wait() const {
    if (per_second_ <= 0 || tokens_ >= 1) return Millis(0);
    return Millis(static_cast<int64_t>((1 - tokens_) / per_second_ * 1000) + 1);
  }

 private:
  void refill(TimePoint now) {
    if (now <= filled_) return;
    tokens_ = std::min(burst_, tokens_ + per_second_ * seconds_between(filled_, now));
    filled_ = now;
  }

  double per_second_;
  double burst_seconds_;
  double burst_;
  double tokens_;
  TimePoint filled_;
};

}  // namespace gigafetch
