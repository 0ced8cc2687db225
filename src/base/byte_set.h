// ByteSet: which of the 256 bytes belong to a class.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace gigafetch {

using ByteSet = std::array<bool, 256>;

// How many bytes at the front of `text` are in the set. Eight are looked up at a time, with one
// branch: mostly it is all of them.
inline size_t leading_run(std::string_view text, const ByteSet& set) {
  constexpr size_t kAtOnce = 8;
  const auto* const bytes = reinterpret_cast<const uint8_t*>(text.data());
  size_t run = 0;
  for (; text.size() - run >= kAtOnce; run += kAtOnce) {
    bool all = true;
    for (size_t i = 0; i < kAtOnce; ++i)
      all &= set[bytes[run + i]];
    if (!all) break;
  }
  while (run < text.size() && set[bytes[run]])
    ++run;
  return run;
}

}  // namespace gigafetch
