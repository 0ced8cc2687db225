#include "net/timer.h"

#include "net/handle.h"

namespace gigafetch::net {

Timer::Timer(Loop& loop, std::function<void()> on_time)
    : handle_(new uv_timer_t), on_time_(std::move(on_time)) {
  uv_timer_init(loop.uv(), handle_);
  handle_->data = this;
}

Timer::~Timer() {
  close_and_free(handle_);
}

void Timer::start(Millis delay, Millis repeat) {
  uv_timer_start(
      handle_, [](uv_timer_t* handle) { static_cast<Timer*>(handle->data)->on_time_(); },
      static_cast<uint64_t>(delay.count()), static_cast<uint64_t>(repeat.count()));
}

void Timer::stop() {
  uv_timer_stop(handle_);
}

bool Timer::active() const {
  return uv_is_active(reinterpret_cast<uv_handle_t*>(handle_)) != 0;
}

StallSweep::StallSweep(Loop& loop, Millis period, std::function<void(TimePoint)> on_sweep)
    : loop_(loop),
      on_sweep_(std::move(on_sweep)),
      idle_(new uv_idle_t),
      check_(new uv_check_t),
      timer_(loop, [this] {
        due_ = loop_.now();
        uv_idle_start(idle_, [](uv_idle_t*) {});
        uv_check_start(check_, [](uv_check_t* handle) {
          static_cast<StallSweep*>(handle->data)->after_poll();
        });
      }) {
  uv_idle_init(loop.uv(), idle_);
  uv_check_init(loop.uv(), check_);
  check_->data = this;
  timer_.start(period, period);
}

StallSweep::~StallSweep() {
  close_and_free(idle_);
  close_and_free(check_);
}

void StallSweep::after_poll() {
  uv_idle_stop(idle_);
  uv_check_stop(check_);
  on_sweep_(due_);
}

}  // namespace gigafetch::net
