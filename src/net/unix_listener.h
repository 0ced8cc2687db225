// UnixListener: tells when a connection waits on a listening Unix-domain socket. Loop thread only.
#pragma once

#include <uv.h>

#include <functional>

#include "base/result.h"
#include "base/unique_fd.h"
#include "net/stream.h"

namespace gigafetch::net {

class UnixListener {
 public:
  // `on_waiting` is called for each connection and should accept() it.
  UnixListener(Loop& loop, std::function<void()> on_waiting);
  ~UnixListener();
  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;

  // Takes over a socket that listens already.
  Result<void> open(UniqueFd listening_fd);

  // Opens `stream` (closed) with the connection that waits.
  Result<void> accept(Stream& stream) { return stream.accept_unix(*handle_); }

 private:
  uv_pipe_t* handle_;
  std::function<void()> on_waiting_;
};

}  // namespace gigafetch::net
