// Silence: for how long the coordinator has said nothing although somebody listened.
//
// Only waits that found nothing count, and each no longer than it was meant to be: a supervisor
// that was stopped, or got no processor, wakes up from a long wait with nothing to accuse anybody
// of. So that a silence can be told from such a gap, no wait may be longer than longest_wait().
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace gigafetch::supervisor {

class Silence {
 public:
  explicit Silence(Millis patience) : patience_(patience) {}

  Millis longest_wait() const { return std::clamp(patience_ / 4, Millis(1), Millis(1'000)); }

  // It has said something, or has just been forked.
  void broken() { length_ = Millis(0); }
  // A wait of at most `meant` that took `took` ended, and there was nothing to read.
  void waited(Millis took, Millis meant) { length_ += std::min({took, meant, longest_wait()}); }
  bool is_too_long() const { return length_ >= patience_; }

 private:
  Millis patience_;
  Millis length_{0};
};

}  // namespace gigafetch::supervisor
