#include "net/loop.h"

#include <signal.h>

#include <cstdlib>

namespace gigafetch::net {
namespace {

constexpr int kClosingTurns = 10;

}  // namespace

Loop::Loop() : read_buffer_(new char[kReadBufferBytes]) {
  // A peer that is gone shows as EPIPE where it was written to.
  ::signal(SIGPIPE, SIG_IGN);
  if (uv_loop_init(&loop_) != 0) std::abort();  // only without memory or descriptors at start
}

Loop::~Loop() {
  // Owners have detached; what is left are close callbacks that free the handles.
  // More than one turn when a stop() was not yet seen; only a look-up that cannot be cancelled
  // takes longer, and is left to the end of the process.
  for (int turn = 0; turn < kClosingTurns && uv_loop_close(&loop_) == UV_EBUSY; ++turn)
    uv_run(&loop_, UV_RUN_NOWAIT);
}

void Loop::run() {
  uv_run(&loop_, UV_RUN_DEFAULT);
}

void Loop::stop() {
  uv_stop(&loop_);
}

TimePoint Loop::now() const {
  // libuv's clock is CLOCK_MONOTONIC in milliseconds, as steady_clock's is.
  return TimePoint(Millis(static_cast<int64_t>(uv_now(&loop_))));
}

}  // namespace gigafetch::net
