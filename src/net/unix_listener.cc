#include "net/unix_listener.h"

namespace gigafetch::net {

UnixListener::UnixListener(Loop& loop, std::function<void()> on_waiting)
    : handle_(new uv_pipe_t), on_waiting_(std::move(on_waiting)) {
  uv_pipe_init(loop.uv(), handle_, 0);
  handle_->data = this;
}

UnixListener::~UnixListener() {
  handle_->data = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(handle_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_pipe_t*>(handle); });
}

Result<void> UnixListener::open(UniqueFd listening_fd) {
  int status = uv_pipe_open(handle_, listening_fd.get());
  if (status == 0) {
    listening_fd.release();
    status = uv_listen(reinterpret_cast<uv_stream_t*>(handle_), 512,
                       [](uv_stream_t* listener, int waiting_status) {
                         auto* self = static_cast<UnixListener*>(listener->data);
                         if (self != nullptr && waiting_status == 0) self->on_waiting_();
                       });
  }
  if (status == 0) return {};
  return error(code_of_errno(-status), "cannot listen on a Unix socket: {}", uv_strerror(status));
}

}  // namespace gigafetch::net
