// Driving a loop in tests: by its events, never by the time that passes.
#pragma once

#include <functional>

#include "net/loop.h"
#include "net/timer.h"

namespace gigafetch::testing {

// Longer than any machine needs; it only keeps a broken test from hanging.
inline constexpr Millis kWatchdog{30'000};

// Runs the loop, event by event, until `done` says so. False when that never comes.
inline bool run_until(net::Loop& loop, const std::function<bool()>& done) {
  bool expired = false;
  net::Timer watchdog(loop, [&] { expired = true; });
  watchdog.start(kWatchdog);
  while (!done() && !expired)
    uv_run(loop.uv(), UV_RUN_ONCE);
  return done();
}

// Takes in whatever has already happened, without waiting for more.
inline void run_what_is_there(net::Loop& loop) {
  for (int turn = 0; turn < 10; ++turn)
    uv_run(loop.uv(), UV_RUN_NOWAIT);
}

}  // namespace gigafetch::testing
