// An origin for one client, blocking: the test itself reads each request and answers it.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "base/readable.h"
#include "net/raw_socket.h"

namespace gigafetch::testing {

class BlockingOrigin {
 public:
  BlockingOrigin() : listener_(bound_socket(port_)) { ::listen(listener_.get(), 16); }

  uint16_t port() const { return port_; }
  // In a child process, which is the client.
  void close() { listener_.reset(); }

  // Accepts a connection when there is none, reads one request, gives its target.
  std::string take_request() {
    if (!connection_ && readable(listener_.get())) {
      connection_ = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }
    std::string request;
    char byte = 0;
    while (!request.ends_with("\r\n\r\n") && readable(connection_.get()) &&
           ::recv(connection_.get(), &byte, 1, 0) == 1) {
      request += byte;
    }
    const size_t begin = request.find(' ') + 1;
    return request.substr(begin, request.find(' ', begin) - begin);
  }
  // The next request comes on another connection.
  void drop() { connection_.reset(); }
  void answer(const std::string& body, const std::string& status = "200 OK") const {
    send("HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body);
  }
  void send(const std::string& bytes) const {
    CHECK(::send(connection_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(bytes.size()));
  }
  // Waits for the client to end the connection. The next request is on another one.
  bool client_leaves() {
    char byte = 0;
    const bool left = readable(connection_.get()) && ::recv(connection_.get(), &byte, 1, 0) <= 0;
    connection_.reset();
    return left;
  }

 private:
  uint16_t port_ = 0;
  UniqueFd listener_, connection_;
};

}  // namespace gigafetch::testing
