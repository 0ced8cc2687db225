// Random: a small generator for jitter and for the origin's faults; not for secrets.
//
// SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
#pragma once

#include <cstdint>

namespace gigafetch {

// One step of SplitMix64's output function: a bijection that spreads every input bit.
constexpr uint64_t mix64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

inline constexpr uint64_t kGoldenGamma = 0x9E3779B97F4A7C15ull;

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    state_ += kGoldenGamma;
    return mix64(state_);
  }
  // 0 .. bound-1; the bias of the multiplication is below 2^-32 for the bounds used here. `bound`
  // must not be 0.
  uint64_t below(uint64_t bound) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
  // True with probability `rate` (0 to 1).
  bool chance(double rate) {
    return rate > 0 && static_cast<double>(next() >> 11) * 0x1.0p-53 < rate;
  }

 private:
  uint64_t state_;
};

}  // namespace gigafetch
