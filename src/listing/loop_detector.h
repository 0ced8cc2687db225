// LoopDetector: finds out, in constant memory, that a listing goes in a circle.
//
// Brent's algorithm (R. P. Brent, "An improved Monte Carlo factorization algorithm", BIT 20, 1980):
// one marker is remembered and compared with each that follows; after 1, 2, 4, 8, ... comparisons
// the current marker is remembered instead. A circle of length L entered after M pages is found
// after at most 3 (M + L) pages.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace gigafetch::listing {

class LoopDetector {
 public:
  // Takes the marker of the next page; true when it shows that the listing repeats itself.
  bool repeats(std::string_view marker) {
    if (seen_ > 0 && marker == remembered_) return true;
    if (seen_ == 0 || steps_ == power_) {
      remembered_ = marker;
      if (seen_ > 0) power_ *= 2;
      steps_ = 0;
    }
    ++steps_;
    ++seen_;
    return false;
  }

 private:
  std::string remembered_;
  uint64_t seen_ = 0;
  uint64_t power_ = 1;
  uint64_t steps_ = 0;
};

}  // namespace gigafetch::listing
