// Stream: one TCP or Unix-domain connection. Loop thread only.
//
// It is closed, connecting or open. Its owner is told of everything the peer does; what the owner
// does itself (close) is silent and at once, and the stream can be used again at once. A stream may
// be closed inside any of its callbacks, but not destroyed there.
#pragma once

#include <uv.h>

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "net/address.h"
#include "net/loop.h"

namespace gigafetch::net {

class Stream {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;
    // The connection that connect() began is there.
    virtual void on_connected() {}
    // Bytes from the peer; valid during the call only.
    virtual void on_bytes(std::string_view bytes) = 0;
    // The backlog of writes has gone out.
    virtual void on_drained() {}
    // The peer's end (`uv_error` 0), or an error (negative, see uv_strerror). The stream is closed.
    virtual void on_ended(int uv_error) = 0;
  };

  // `loop` and `handler` must outlive the stream.
  Stream(Loop& loop, Handler& handler) : loop_(loop), handler_(handler) {}
  ~Stream() { close(); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Closed to connecting; on_connected or on_ended follows. Or, when not even a try can be made (no
  // ports, no descriptors), stays closed and returns the error (negative, see uv_strerror).
  int connect(const SocketAddress& address);

  // Closed to open, with a connected socket.
  Result<void> adopt_unix(UniqueFd fd);
  // Closed to open, with a connection that `listener` holds ready.
  Result<void> accept_tcp(uv_tcp_t& listener);
  Result<void> accept_unix(uv_pipe_t& listener);

  // Writes what goes out at once and keeps the rest. Bytes written to a peer that is gone are
  // dropped; its end is reported by reading, or while paused by the write.
  void write(std::string_view bytes);
  // Bytes kept.
  size_t backlog() const { return backlog_.size() + in_flight_bytes_; }

  // Ends our side once everything written has gone out; reading goes on until the peer's end.
  void shutdown();

  // Stops and restarts the reading of an open stream.
  void pause();
  void resume();

  // To closed. No callback follows.
  void close();
  // The same, with a TCP reset instead of an orderly end.
  void close_reset();

  bool is_closed() const { return handle_ == nullptr; }

  // Whether the peer's bytes, or its end, have come and were not yet read. A system call.
  bool has_unread() const;

  // The descriptor, -1 when closed.
  int fd() const;

 private:
  // What libuv refers to, until its close callback.
  struct Handle {
    union {
      uv_handle_t handle;
      uv_stream_t stream;
      uv_tcp_t tcp;
      uv_pipe_t pipe;
    } uv;
    uv_connect_t connect;
    uv_write_t write;
    uv_shutdown_t shutdown;
    std::string in_flight;
    Stream* owner;  // null once the stream has let go
  };

  Handle* make_handle();
  void start_reading();
  void start_write();
  void end(int uv_error);
  int reset_behind_end() const;
  void let_go();
  static void on_read(uv_stream_t* stream, ssize_t count, const uv_buf_t* buffer);
  static void on_written(uv_write_t* request, int status);

  Loop& loop_;
  Handler& handler_;
  Handle* handle_ = nullptr;
  std::string backlog_;         // not yet given to libuv
  size_t in_flight_bytes_ = 0;  // given to libuv
  int write_error_ = 0;         // of the first write that failed
  bool paused_ = false;
};

}  // namespace gigafetch::net
