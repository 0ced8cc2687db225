// HttpConnection: one HTTP/1.1 connection to an origin, requests pipelined as far as its owner
// sends them. Loop thread only.
//
//     closed --connect()--> connecting --on_open--> open
//       ^                       |                     |
//       +------- on_closed -----+---- on_closed ------+      (or close(), silently)
//
// It guarantees that a response is given to the request it belongs to or to none: responses come in
// the order of the requests, and anything that casts doubt on the order (an error, a byte that was
// not asked for, a response that ends early) closes the connection, with the requests not yet
// answered counted in Closure. It never retries; that is its owner's business.
#pragma once

#include <cstdint>
#include <string_view>

#include "http/response_parser.h"
#include "net/stream.h"

namespace gigafetch::net {

// How a connection ended, other than by its owner's close().
struct Closure {
  enum class Cause : uint8_t {
    connect_failed,  // never opened: `uv_error` says why
    announced,       // the origin said that it would close behind the last response
    ended,           // end of file, or a reset (`uv_error` not 0)
    bad_response,    // see `fault`
    refused,         // the handler returned false
  };
  Cause cause = Cause::ended;
  int uv_error = 0;
  http::ResponseFault fault = http::ResponseFault::none;
  std::string_view text;     // the fault in words
  uint32_t unanswered = 0;   // requests without a complete response, oldest first
  bool in_response = false;  // the oldest of them had begun to be answered
  // What had come behind the last complete response begins no other one: it is that response's end
  // that is in doubt. Not with ResponseFault::surplus.
  bool no_head = false;
  uint64_t responses = 0;  // complete responses on this connection
};

class HttpConnection final : private Stream::Handler, private http::ResponseParser::Handler {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;
    virtual void on_open() = 0;
    // About the oldest unanswered request. False closes the connection (Closure::Cause::refused).
    virtual bool on_head(const http::ResponseHead& head) = 0;
    virtual bool on_body(std::string_view piece) = 0;
    virtual void on_response() = 0;
    // All bytes of one read are used up: views of body pieces end here, and it is the time to send
    // more. Not called when the connection closed meanwhile.
    virtual void on_read_end() = 0;
    // The connection is closed and may be opened again.
    virtual void on_closed(const Closure& closure) = 0;
  };

  // What becomes of a connection whose origin has announced its end.
  enum class Announced : uint8_t {
    close,  // it is closed behind the announcing response
    await,  // it is read on until the origin's end, which shows that nothing else was to come
  };

  // `loop` and `handler` must outlive the connection, which must not be destroyed in a callback.
  HttpConnection(Loop& loop, Handler& handler, Announced announced = Announced::close);

  // Closed to connecting. When not even a try can be made, stays closed and returns the error
  // (negative, see uv_strerror).
  int connect(const SocketAddress& address);

  // Sends `count` whole requests. Only when open.
  void send(std::string_view requests, uint32_t count);

  // To closed; no callback follows. What was unanswered is forgotten. Not from on_head, on_body or
  // on_response, which return false or let on_read_end do it.
  void close();

  // Stops and restarts the reading; bytes of the read under way still come.
  void pause() { stream_.pause(); }
  void resume() { stream_.resume(); }

  bool is_open() const { return open_ && !announced_; }
  // Open, but its end is announced: nothing more is to be sent (Announced::await).
  bool is_ending() const { return open_ && announced_; }
  bool is_closed() const { return stream_.is_closed(); }
  uint32_t outstanding() const { return outstanding_; }  // requests sent, not fully answered
  uint64_t sent() const { return sent_; }                // requests sent on this connection
  uint64_t responses() const { return responses_; }      // complete responses on this connection

  // When something last happened that shows life: a connect() or send() of ours after idleness, or
  // bytes of the origin's.
  TimePoint last_activity() const { return last_activity_; }
  // Whether bytes, or the end, have come and wait to be read. A system call.
  bool has_unread() const { return stream_.has_unread(); }

 private:
  void on_connected() override;
  void on_bytes(std::string_view bytes) override;
  void on_ended(int uv_error) override;
  bool on_head(const http::ResponseHead& head) override;
  bool on_body(std::string_view piece) override { return handler_.on_body(piece); }
  http::ResponseParser::Next on_complete(bool keep_alive) override;

  // Whether the body under way could take in the answers to further requests.
  bool is_ambiguous() const { return endless_ && outstanding_ > 1; }
  static void refuse_ambiguous(Closure& closure);
  void finish(Closure closure);

  Loop& loop_;
  HttpConnection::Handler& handler_;
  Stream stream_;
  http::ResponseParser parser_;
  const Announced await_end_;
  bool open_ = false;
  bool announced_ = false;  // the last response said "Connection: close" or the like
  bool endless_ = false;    // of the response under way: see ResponseHead
  uint32_t outstanding_ = 0;
  uint64_t sent_ = 0;
  uint64_t responses_ = 0;
  TimePoint last_activity_;
};

}  // namespace gigafetch::net
