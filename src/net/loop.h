// Loop: one process's event loop (libuv). Everything in net/ belongs to one loop and is used on its
// thread only. A process that has made a Loop must not fork (libuv's loops do not survive it).
#pragma once

#include <uv.h>

#include <memory>
#include <span>

#include "base/clock.h"

namespace gigafetch::net {

class Loop {
 public:
  Loop();
  // Every stream, timer and server of the loop must be gone by now; their handles are closed here.
  // Work on another thread may go on.
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Runs until stop() or until nothing is left to wait for.
  void run();
  // Makes run() return after the current callbacks.
  void stop();

  // The time at which the current callbacks began.
  TimePoint now() const {
    // libuv's clock is CLOCK_MONOTONIC in milliseconds, as steady_clock's is.
    return TimePoint(Millis(static_cast<int64_t>(uv_now(loop_.get()))));
  }

  uv_loop_t* uv() { return loop_.get(); }

  // Where every stream of the loop reads into: the bytes are used up before the next read.
  std::span<char> read_buffer() { return {read_buffer_.get(), kReadBufferBytes}; }

 private:
  static constexpr size_t kReadBufferBytes = 256 * 1024;
  std::unique_ptr<uv_loop_t> loop_;
  std::unique_ptr<char[]> read_buffer_;
};

}  // namespace gigafetch::net
