// RequestParser: the bytes of one connection, cut into HTTP/1.1 requests, for the small server.
//
// A layer over llhttp for GET requests without bodies, which is all that the server answers. It
// knows no sockets; whole input and any split of it give the same events.
//
// Clients send the same head again and again, but for the target. What followed the target of the
// last GET that llhttp took is remembered, and a request with a plain target and exactly those
// bytes behind it needs no llhttp: it would come to the same. A third of the instructions of an
// answer were spent there (callgrind; bench/origin.py measures the whole).
#pragma once

#include <llhttp.h>

#include <string>
#include <string_view>

namespace gigafetch::http {

struct Request {
  std::string_view target;  // path and query as sent; valid inside Handler::on_request only
  bool is_get = false;
  bool keep_alive = true;  // whether the client wants the connection to stay
};

class RequestParser {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;
    // One whole request. Says whether the next may follow at once; if not, the parser holds what
    // it was fed until resume(). Must not destroy or reset the parser.
    virtual bool on_request(const Request& request) = 0;
  };

  // `handler` must outlive the parser.
  explicit RequestParser(Handler& handler);
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // False when the bytes are not requests that this server takes: answer 400 and close. While the
  // parser holds bytes, more of them wait behind those.
  bool feed(std::string_view bytes);
  // Goes on with the bytes held, if there are any. Fails like feed().
  bool resume();
  // Whether there are bytes that only resume() will look at.
  bool holding() const { return !held_.empty(); }

 private:
  static const llhttp_settings_t& callbacks();
  size_t parse(std::string_view bytes);
  llhttp_errno_t parse_one(std::string_view bytes, size_t& parsed);
  size_t take_repeated(std::string_view bytes);
  void remember(std::string_view request);
  int on_target(const char* at, size_t length);
  int on_message_begin();
  int on_headers_complete();
  int on_message_complete();
  int count_bytes(size_t length);

  llhttp_t parser_;
  Handler* handler_;
  // The target, as a view while it lies whole in the bytes fed, as a copy once it is split.
  std::string_view target_;
  std::string split_target_;
  bool target_split_ = false;
  size_t seen_bytes_ = 0;        // of the request, by callbacks
  size_t unfinished_bytes_ = 0;  // fed since the last feed() that completed a request
  bool completed_ = false;       // a request was completed inside the current feed()
  bool more_ = true;             // as the handler said of the last request
  bool refused_ = false;
  bool between_ = true;     // llhttp is inside of no request, and takes another
  std::string remembered_;  // what followed the target of a GET, to the request's end; or nothing
  std::string held_;        // fed, and not yet looked at
};

}  // namespace gigafetch::http
