// The other end of a connection, for tests: plain system calls and a uv_poll_t, so that what net/
// does is judged by something that shares no code with it.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <uv.h>

#include <cerrno>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "base/unique_fd.h"
#include "net/address.h"
#include "net/loop.h"

namespace gigafetch::testing {

inline sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

inline net::SocketAddress socket_address(uint16_t port) {
  return net::address_of_literal("127.0.0.1", port).value();
}

// A TCP socket on `port` of 127.0.0.1; 0 stands for a free one, and is set to it. Until listen(2)
// is called on it, connections to the port are refused, and nobody else can get the port.
inline UniqueFd bound_socket(uint16_t& port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address = loopback(port);
  socklen_t length = sizeof address;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return UniqueFd();
  }
  port = ntohs(address.sin_port);
  return fd;
}

// A connected client; the listener's backlog takes it before anybody accepts.
inline UniqueFd connect_client(uint16_t port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return UniqueFd();
  }
  return fd;
}

inline std::pair<UniqueFd, UniqueFd> socket_pair() {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return {};
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

class RawSocket {
 public:
  // Takes over a connected socket. `on_change` is called after bytes, the end or an error came.
  RawSocket(net::Loop& loop, UniqueFd fd, std::function<void(RawSocket&)> on_change = {})
      : fd_(std::move(fd)), on_change_(std::move(on_change)), poll_(new uv_poll_t) {
    const int on = 1;  // for a Unix socket this fails, and does not matter
    ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    uv_poll_init_socket(loop.uv(), poll_, fd_.get());
    poll_->data = this;
    watch();
  }
  ~RawSocket() { close(); }
  RawSocket(const RawSocket&) = delete;
  RawSocket& operator=(const RawSocket&) = delete;

  // Sends, as fast as the socket takes it.
  void send(std::string_view bytes) {
    to_send_ += bytes;
    if (is_open()) flush();
  }
  // Ends our side behind what was sent.
  void end() {
    ending_ = true;
    if (is_open()) flush();
  }
  // Ends the connection with a TCP reset.
  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  void close() {
    if (poll_ == nullptr) return;
    uv_poll_stop(poll_);
    uv_close(reinterpret_cast<uv_handle_t*>(poll_),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_poll_t*>(handle); });
    poll_ = nullptr;
    fd_.reset();
  }

  // Whether to read; a peer that does not, fills the other side's buffers.
  void set_reading(bool reading) {
    reading_ = reading;
    watch();
  }

  bool is_open() const { return poll_ != nullptr; }
  bool ended() const { return ended_; }  // the other side's orderly end
  int error() const { return error_; }   // errno of its reset
  bool gone() const { return ended_ || error_ != 0; }
  size_t unsent() const { return to_send_.size(); }
  int fd() const { return fd_.get(); }

  std::string received;

 private:
  void watch() {
    if (poll_ == nullptr) return;
    int events = 0;
    if (reading_ && !gone()) events |= UV_READABLE;
    if (!to_send_.empty() && error_ == 0) events |= UV_WRITABLE;
    if (events == 0) {
      uv_poll_stop(poll_);
      return;
    }
    uv_poll_start(poll_, events, [](uv_poll_t* poll, int status, int ready) {
      auto* self = static_cast<RawSocket*>(poll->data);
      if ((ready & UV_WRITABLE) != 0) self->flush();
      // uv_poll says only that there is an error; reading tells which.
      if (self->is_open() && (status < 0 || (ready & UV_READABLE) != 0)) self->read();
    });
  }

  void flush() {
    while (!to_send_.empty()) {
      const ssize_t sent =
          ::send(fd_.get(), to_send_.data(), to_send_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent <= 0) break;
      to_send_.erase(0, static_cast<size_t>(sent));
    }
    if (to_send_.empty() && ending_) ::shutdown(fd_.get(), SHUT_WR);
    watch();
  }

  void read() {
    char bytes[64 * 1024];
    const ssize_t got = ::recv(fd_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) {
      error_ = errno;
    } else if (got == 0) {
      ended_ = true;
    } else {
      received.append(bytes, static_cast<size_t>(got));
    }
    watch();
    if (on_change_) on_change_(*this);
  }

  UniqueFd fd_;
  std::function<void(RawSocket&)> on_change_;
  uv_poll_t* poll_;  // freed by its close callback
  std::string to_send_;
  bool ending_ = false;
  bool reading_ = true;
  bool ended_ = false;
  int error_ = 0;
};

}  // namespace gigafetch::testing
