#include "net/stream.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace gigafetch::net {
namespace {

Error uv_failure(int status, std::string_view what) {
  return error(code_of_errno(-status), "{}: {}", what, uv_strerror(status));
}

// What a peer that was slow for once has made wait, of each stream, would stay with it for good.
void release_if_large(std::string& written) {
  constexpr size_t kKept = 16 * 1024;
  written.clear();
  if (written.capacity() > kKept) written.shrink_to_fit();
}

}  // namespace

Stream::Handle* Stream::make_handle() {
  handle_ = new Handle();
  write_error_ = 0;
  paused_ = false;
  handle_->owner = this;
  handle_->connect.data = handle_;
  handle_->write.data = handle_;
  return handle_;
}

int Stream::connect(const SocketAddress& address) {
  Handle* handle = make_handle();
  uv_tcp_init(loop_.uv(), &handle->uv.tcp);
  handle->uv.handle.data = handle;
  const auto on_result = [](uv_connect_t* request, int status) {
    Stream* stream = static_cast<Handle*>(request->data)->owner;
    if (stream == nullptr) return;
    if (status != 0) return stream->end(status);
    uv_tcp_nodelay(&stream->handle_->uv.tcp, 1);
    stream->start_reading();
    stream->handler_.on_connected();
  };
  const int status = uv_tcp_connect(&handle->connect, &handle->uv.tcp, address.get(), on_result);
  if (status != 0) let_go();
  return status;
}

Result<void> Stream::adopt_unix(UniqueFd fd) {
  Handle* handle = make_handle();
  uv_pipe_init(loop_.uv(), &handle->uv.pipe, 0);
  handle->uv.handle.data = handle;
  if (const int status = uv_pipe_open(&handle->uv.pipe, fd.get()); status != 0) {
    let_go();
    return uv_failure(status, "cannot use a Unix socket");
  }
  fd.release();
  start_reading();
  return {};
}

Result<void> Stream::accept_tcp(uv_tcp_t& listener) {
  Handle* handle = make_handle();
  uv_tcp_init(loop_.uv(), &handle->uv.tcp);
  handle->uv.handle.data = handle;
  const int status = uv_accept(reinterpret_cast<uv_stream_t*>(&listener), &handle->uv.stream);
  if (status != 0) {
    let_go();
    return uv_failure(status, "cannot accept a connection");
  }
  uv_tcp_nodelay(&handle->uv.tcp, 1);
  start_reading();
  return {};
}

Result<void> Stream::accept_unix(uv_pipe_t& listener) {
  Handle* handle = make_handle();
  uv_pipe_init(loop_.uv(), &handle->uv.pipe, 0);
  handle->uv.handle.data = handle;
  const int status = uv_accept(reinterpret_cast<uv_stream_t*>(&listener), &handle->uv.stream);
  if (status != 0) {
    let_go();
    return uv_failure(status, "cannot accept a connection");
  }
  start_reading();
  return {};
}

void Stream::start_reading() {
  const auto lend_buffer = [](uv_handle_t* uv, size_t, uv_buf_t* buffer) {
    Stream* stream = static_cast<Handle*>(uv->data)->owner;
    const std::span<char> lent = stream->loop_.read_buffer();
    *buffer = uv_buf_init(lent.data(), static_cast<unsigned>(lent.size()));
  };
  uv_read_start(&handle_->uv.stream, lend_buffer, on_read);
}

void Stream::on_read(uv_stream_t* uv, ssize_t count, const uv_buf_t* buffer) {
  Stream* stream = static_cast<Handle*>(uv->data)->owner;
  if (stream == nullptr || count == 0) return;  // 0 is libuv's "try again"
  if (count == UV_EOF) return stream->end(stream->reset_behind_end());
  if (count < 0) return stream->end(static_cast<int>(count));
  stream->handler_.on_bytes(std::string_view(buffer->base, static_cast<size_t>(count)));
}

// libuv reports a reset as an end of file when bytes came with it, and the kernel does so when a
// write has taken the error away. EPIPE alone is what a write into an orderly end brings.
int Stream::reset_behind_end() const {
  if (write_error_ != 0 && write_error_ != UV_EPIPE) return write_error_;
  int pending = 0;
  socklen_t length = sizeof pending;
  ::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &pending, &length);
  return pending == EPIPE ? 0 : -pending;
}

void Stream::write(std::string_view bytes) {
  if (handle_ == nullptr) return;
  if (backlog() == 0) {
    uv_buf_t buffer =
        uv_buf_init(const_cast<char*>(bytes.data()), static_cast<unsigned>(bytes.size()));
    const int written = uv_try_write(&handle_->uv.stream, &buffer, 1);
    if (written > 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
    } else if (written != UV_EAGAIN) {
      write_error_ = written;
      return;
    }
  }
  if (bytes.empty()) return;
  backlog_.append(bytes);
  if (in_flight_bytes_ == 0) start_write();
}

void Stream::start_write() {
  // One buffer and one request at a time: before 1.45 libuv completes one request a turn.
  handle_->in_flight.swap(backlog_);
  backlog_.clear();
  in_flight_bytes_ = handle_->in_flight.size();
  const uv_buf_t buffer =
      uv_buf_init(handle_->in_flight.data(), static_cast<unsigned>(handle_->in_flight.size()));
  if (uv_write(&handle_->write, &handle_->uv.stream, &buffer, 1, on_written) != 0)
    in_flight_bytes_ = 0;
}

void Stream::on_written(uv_write_t* request, int status) {
  Stream* stream = static_cast<Handle*>(request->data)->owner;
  if (stream == nullptr) return;
  stream->in_flight_bytes_ = 0;
  release_if_large(stream->handle_->in_flight);
  if (status != 0) {
    stream->backlog_.clear();
    stream->write_error_ = status;
    if (stream->paused_) stream->end(status);  // nothing else would tell
    return;
  }
  if (stream->backlog_.empty()) return stream->handler_.on_drained();
  stream->start_write();
}

void Stream::shutdown() {
  // A failure means that the peer is gone already, which reading reports.
  if (handle_ != nullptr) {
    uv_shutdown(&handle_->shutdown, &handle_->uv.stream, [](uv_shutdown_t*, int) {});
  }
}

void Stream::pause() {
  if (handle_ == nullptr) return;
  paused_ = true;
  uv_read_stop(&handle_->uv.stream);
}

void Stream::resume() {
  if (handle_ == nullptr) return;
  paused_ = false;
  start_reading();
}

void Stream::end(int uv_error) {
  let_go();
  handler_.on_ended(uv_error);
}

void Stream::close() {
  if (handle_ != nullptr) let_go();
}

void Stream::close_reset() {
  if (handle_ == nullptr) return;
  const linger reset{1, 0};
  ::setsockopt(fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  let_go();
}

bool Stream::has_unread() const {
  char byte;
  return ::recv(fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

int Stream::fd() const {
  uv_os_fd_t fd = -1;
  if (handle_ == nullptr || uv_fileno(&handle_->uv.handle, &fd) != 0) return -1;
  return fd;
}

void Stream::let_go() {
  Handle* handle = std::exchange(handle_, nullptr);
  handle->owner = nullptr;
  backlog_.clear();
  in_flight_bytes_ = 0;
  uv_close(&handle->uv.handle, [](uv_handle_t* uv) { delete static_cast<Handle*>(uv->data); });
}

}  // namespace gigafetch::net
