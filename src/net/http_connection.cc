#include "net/http_connection.h"

namespace gigafetch::net {

using http::ResponseFault;
using http::ResponseParser;

HttpConnection::HttpConnection(Loop& loop, HttpConnection::Handler& handler, Announced announced)
    : loop_(loop), handler_(handler), stream_(loop, *this), parser_(*this), await_end_(announced) {}

int HttpConnection::connect(const SocketAddress& address) {
  parser_.reset();
  open_ = announced_ = endless_ = false;
  outstanding_ = 0;
  sent_ = responses_ = 0;
  last_activity_ = monotonic_now();
  return stream_.connect(address);
}

void HttpConnection::send(std::string_view requests, uint32_t count) {
  // The clock, not the loop's time: that of a callback behind a slow one is long past.
  if (outstanding_ == 0) last_activity_ = monotonic_now();
  outstanding_ += count;
  sent_ += count;
  stream_.write(requests);
}

void HttpConnection::close() {
  open_ = false;
  outstanding_ = 0;
  stream_.close();
}

void HttpConnection::on_connected() {
  open_ = true;
  last_activity_ = monotonic_now();
  handler_.on_open();
}

void HttpConnection::on_bytes(std::string_view bytes) {
  last_activity_ = monotonic_now();
  Closure closure;
  const bool idle = outstanding_ == 0 || announced_;
  closure.fault = idle ? parser_.feed_idle(bytes) : parser_.feed(bytes);
  if (closure.fault == ResponseFault::none) return handler_.on_read_end();
  if (is_ambiguous()) {
    refuse_ambiguous(closure);
  } else if (announced_ && outstanding_ > 0 && closure.fault == ResponseFault::surplus) {
    // The origin has gone on behind its announcement: with a response that was asked for.
    closure.cause = Closure::Cause::announced;
    closure.fault = ResponseFault::none;
  } else if (closure.fault != ResponseFault::handler_stop) {
    closure.cause = Closure::Cause::bad_response;
    closure.text = parser_.fault_text();
  } else {
    closure.cause = announced_ ? Closure::Cause::announced : Closure::Cause::refused;
  }
  finish(closure);
}

bool HttpConnection::on_head(const http::ResponseHead& head) {
  endless_ = head.endless;
  return !is_ambiguous() && handler_.on_head(head);
}

ResponseParser::Next HttpConnection::on_complete(bool keep_alive) {
  --outstanding_;
  ++responses_;
  endless_ = false;
  handler_.on_response();
  if (!keep_alive) {
    announced_ = true;
    return await_end_ == Announced::await ? ResponseParser::Next::none : ResponseParser::Next::stop;
  }
  return outstanding_ > 0 ? ResponseParser::Next::more : ResponseParser::Next::none;
}

void HttpConnection::on_ended(int uv_error) {
  Closure closure;
  closure.uv_error = uv_error;
  if (!open_) {
    closure.cause = Closure::Cause::connect_failed;
    return finish(closure);
  }
  closure.cause = Closure::Cause::ended;
  // An orderly end completes a body that only the end delimits.
  if (uv_error == 0 && is_ambiguous()) {
    refuse_ambiguous(closure);
  } else if (uv_error == 0) {
    closure.fault = parser_.finish();
  }
  if (announced_) closure.cause = Closure::Cause::announced;
  finish(closure);
}

void HttpConnection::refuse_ambiguous(Closure& closure) {
  closure.cause = Closure::Cause::bad_response;
  closure.fault = ResponseFault::bad_framing;
  closure.text = "a body without a length, with further answers to come behind it";
}

void HttpConnection::finish(Closure closure) {
  closure.unanswered = outstanding_;
  closure.in_response = parser_.in_response();
  closure.no_head = closure.fault == ResponseFault::stray_bytes ||
                    (closure.fault == ResponseFault::bad_framing && parser_.at_no_head());
  closure.responses = responses_;
  close();
  handler_.on_closed(closure);
}

}  // namespace gigafetch::net
