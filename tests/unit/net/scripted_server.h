// A TCP server for tests that does to its clients whatever the test says, in the test's own loop.
#pragma once

#include <sys/socket.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/raw_socket.h"

namespace gigafetch::testing {

inline std::string response(std::string_view status, std::string_view headers,
                            std::string_view body) {
  std::string out = "HTTP/1.1 ";
  out += status;
  out += "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  out += headers;
  out += "\r\n";
  out += body;
  return out;
}
inline std::string ok(std::string_view body) {
  return response("200 OK", "", body);
}

inline std::string chunk(std::string_view bytes) {
  char size[32];
  std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  return size + std::string(bytes) + "\r\n";
}

class ScriptedServer {
 public:
  // One client's connection.
  struct Peer {
    size_t number = 0;                 // of the connection, from 1
    std::vector<std::string> targets;  // of the requests that came, in order
    std::unique_ptr<RawSocket> socket;

    size_t requests() const { return targets.size(); }
    void send(std::string_view bytes) { socket->send(bytes); }
    void end() { socket->end(); }
    void reset() { socket->reset(); }
  };
  // Called for each request, in order; its target is the last of peer.targets.
  using OnRequest = std::function<void(Peer& peer, const std::string& target)>;

  // Has a port from now on, a free one when it is given none; connections are refused until
  // start().
  ScriptedServer(net::Loop& loop, OnRequest on_request, uint16_t port = 0)
      : loop_(loop),
        on_request_(std::move(on_request)),
        port_(port),
        listener_(bound_socket(port_)) {}
  ~ScriptedServer() { stop_accepting(); }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  void start() {
    ::listen(listener_.get(), 512);
    poll_ = new uv_poll_t;
    uv_poll_init_socket(loop_.uv(), poll_, listener_.get());
    poll_->data = this;
    uv_poll_start(poll_, UV_READABLE, [](uv_poll_t* poll, int, int) {
      static_cast<ScriptedServer*>(poll->data)->accept();
    });
  }
  // Refuses connections from now on.
  void stop_accepting() {
    if (poll_ == nullptr) return;
    uv_poll_stop(poll_);
    uv_close(reinterpret_cast<uv_handle_t*>(poll_),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_poll_t*>(handle); });
    poll_ = nullptr;
    listener_.reset();
  }

  uint16_t port() const { return port_; }
  net::SocketAddress address() const { return socket_address(port_); }

  // Called for each connection before its first request.
  std::function<void(Peer&)> on_accept;

  std::deque<std::unique_ptr<Peer>> peers;  // by number, also those that are gone
  std::vector<std::string> targets;         // of all requests, in the order in which they came
  std::vector<std::string> heads;           // the same, whole

 private:
  void accept() {
    for (;;) {
      UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!fd) return;
      Peer& peer = *peers.emplace_back(std::make_unique<Peer>());
      peer.number = peers.size();
      peer.socket = std::make_unique<RawSocket>(loop_, std::move(fd),
                                                [this, &peer](RawSocket&) { take_requests(peer); });
      if (on_accept) on_accept(peer);
    }
  }

  void take_requests(Peer& peer) {
    RawSocket& socket = *peer.socket;
    for (size_t end; (end = socket.received.find("\r\n\r\n")) != std::string::npos;) {
      const std::string head = socket.received.substr(0, end + 4);
      socket.received.erase(0, end + 4);
      const size_t begin = head.find(' ') + 1;
      const std::string target = head.substr(begin, head.find(' ', begin) - begin);
      peer.targets.push_back(target);
      targets.push_back(target);
      heads.push_back(head);
      on_request_(peer, target);
      if (!socket.is_open()) return;
    }
  }

  net::Loop& loop_;
  OnRequest on_request_;
  uint16_t port_;
  UniqueFd listener_;
  uv_poll_t* poll_ = nullptr;
};

}  // namespace gigafetch::testing
