// Time in this program: monotonic points and millisecond spans.
//
// Pure parts (plan, back-off, depth) take the time as an argument, so that their tests own it; loop
// code takes it from net::Loop::now().
#pragma once

#include <chrono>

namespace gigafetch {

using Millis = std::chrono::milliseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Millis>;

inline TimePoint monotonic_now() {
  return std::chrono::time_point_cast<Millis>(std::chrono::steady_clock::now());
}

inline double seconds_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace gigafetch
