// DeathCount: deaths of a run's processes in a row, with nothing stored in between.
//
// A death now and then is mended by forking again, after a wait that grows with the row; a row that
// gets too long has a cause that forking does not mend.
#pragma once

#include <cstdint>

#include "base/backoff.h"
#include "base/clock.h"

namespace gigafetch::supervisor {

inline constexpr uint32_t kMaxDeathsInARow = 5;

class DeathCount {
 public:
  // A process that was forked at `forked_at` has died at `now`. What dies of one cause dies
  // together: a worker that was there already when the last death was counted adds nothing, and a
  // coordinator nothing when that was this very moment.
  void worker_died(TimePoint forked_at, TimePoint now) {
    if (in_a_row_ == 0 || forked_at > last_counted_) count(now);
  }
  void coordinator_died(TimePoint forked_at, TimePoint now) {
    if (in_a_row_ == 0 || forked_at > last_counted_ || now - last_counted_ > kMoment) count(now);
  }
  void something_was_stored() { in_a_row_ = 0; }

  uint32_t in_a_row() const { return in_a_row_; }
  bool is_hopeless() const { return in_a_row_ >= kMaxDeathsInARow; }
  // How long to wait before the next fork.
  Millis wait(Random& random) const { return backoff_.delay(in_a_row_, random); }

 private:
  static constexpr Millis kMoment{50};

  void count(TimePoint now) {
    ++in_a_row_;
    last_counted_ = now;
  }

  Backoff backoff_{Millis(100), Millis(5'000)};
  uint32_t in_a_row_ = 0;
  TimePoint last_counted_;
};

}  // namespace gigafetch::supervisor
