// HttpServer: a small HTTP/1.1 server for GET requests, pipelined as the client likes. Loop thread
// only. It serves the embedded origin.
//
// Requests that arrive together are answered with one write. A client that does not read is not
// read from either, nor are more of its requests answered: a connection holds at most 1 MiB of
// replies and one reply more, and the requests of one read.
#pragma once

#include <uv.h>

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>

#include "http/request_parser.h"
#include "net/stream.h"
#include "net/timer.h"

namespace gigafetch::net {

// What becomes of the connection once the reply has gone out.
enum class AfterReply : uint8_t {
  keep,   // serve the next request
  close,  // an orderly end
  reset,  // a TCP reset
  stall,  // stay silent for good, and leave it to the client to give up
};

class HttpServer {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;
    // Appends the whole response to `out`, and says what comes after it.
    virtual AfterReply on_request(const http::Request& request, std::string& out) = 0;
  };

  // Replies leave `lag` after their request was taken. `loop` and `handler` must outlive the
  // server.
  HttpServer(Loop& loop, Handler& handler, Millis lag);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Serves a listening TCP socket.
  Result<void> serve(UniqueFd listening_fd);

 private:
  class Connection;
  void accept();
  void remove(Connection* connection);

  Loop& loop_;
  Handler& handler_;
  Millis lag_;
  uv_tcp_t* listener_ = nullptr;
  std::unordered_map<Connection*, std::unique_ptr<Connection>> connections_;
  // Connections whose end came inside one of their own callbacks: destroyed from the loop.
  std::deque<std::unique_ptr<Connection>> ended_;
  Timer reaper_;
};

// Listens on `host` (a literal) and `port` (0: any free one, and set to it), with SO_REUSEPORT, so
// that several processes can each serve a socket of their own. Connections wait from here on.
Result<UniqueFd> listen_tcp(const std::string& host, uint16_t& port);

}  // namespace gigafetch::net
