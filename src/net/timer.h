// Timer: calls a function once or again and again. Loop thread only.
#pragma once

#include <algorithm>
#include <functional>

#include "net/loop.h"

namespace gigafetch::net {

class Timer {
 public:
  Timer(Loop& loop, std::function<void()> on_time);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Fires after `delay`, then every `repeat` when that is not zero. Starting again moves it.
  void start(Millis delay, Millis repeat = Millis(0));
  void stop();
  bool active() const;

 private:
  uv_timer_t* handle_;  // freed by its close callback: libuv needs it until then
  std::function<void()> on_time_;
};

// StallSweep: calls a function every `period`, right after a poll that the period's end preceded.
//
// A loop that was blocked (on the disk, or because the process was stopped) finds its timers due
// before it has looked at its sockets. A sweep that compared times there would accuse peers of a
// silence that is the loop's own. So the sweep first lets one poll pass, which takes in whatever
// had arrived by then.
class StallSweep {
 public:
  // How often to sweep so that a silence of `timeout` is noticed soon after.
  static Millis period_for(Millis timeout) {
    return std::clamp(timeout / 8, Millis(10), Millis(1000));
  }

  // `on_sweep` gets the time at which the period ended, before that poll.
  StallSweep(Loop& loop, Millis period, std::function<void(TimePoint)> on_sweep);
  ~StallSweep();
  StallSweep(const StallSweep&) = delete;
  StallSweep& operator=(const StallSweep&) = delete;

 private:
  void after_poll();

  Loop& loop_;
  std::function<void(TimePoint)> on_sweep_;
  TimePoint due_;
  uv_idle_t* idle_;    // keeps that poll from waiting
  uv_check_t* check_;  // runs behind that poll
  Timer timer_;
};

}  // namespace gigafetch::net
