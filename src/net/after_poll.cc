#include "net/after_poll.h"

#include <utility>

#include "net/handle.h"

namespace gigafetch::net {

AfterPoll::AfterPoll(Loop& loop, std::function<void()> call)
    : call_(std::move(call)), idle_(new uv_idle_t), check_(new uv_check_t) {
  uv_idle_init(loop.uv(), idle_);
  uv_check_init(loop.uv(), check_);
  check_->data = this;
}

AfterPoll::~AfterPoll() {
  close_and_free(idle_);
  close_and_free(check_);
}

void AfterPoll::request() {
  if (std::exchange(requested_, true)) return;
  uv_idle_start(idle_, [](uv_idle_t*) {});
  uv_check_start(check_, [](uv_check_t* handle) { static_cast<AfterPoll*>(handle->data)->run(); });
}

void AfterPoll::run() {
  uv_idle_stop(idle_);
  uv_check_stop(check_);
  requested_ = false;
  call_();
}

}  // namespace gigafetch::net
