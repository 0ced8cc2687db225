// Feeds a response parser as a connection does, and records what its handler is told.
#pragma once

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/escape.h"
#include "http/response_parser.h"
#include "http/string_list.h"

namespace gigafetch::http {

class ResponseRecorder : private ResponseParser::Handler {
 public:
  // What the handler answers, from when on.
  struct Orders {
    size_t stop_at_head = SIZE_MAX;      // the response, counted from 0, whose head it refuses
    size_t stop_at_body = SIZE_MAX;      // the response whose first body piece it refuses
    size_t stop_at_complete = SIZE_MAX;  // the response behind which it wants no more
  };

  // `requests` have been sent and wait for their responses.
  explicit ResponseRecorder(size_t requests) : ResponseRecorder(requests, Orders()) {}
  ResponseRecorder(size_t requests, const Orders& orders)
      : outstanding_(requests), orders_(orders), parser_(*this) {}

  // As net::HttpConnection does it: the parser cannot know whether a request has gone out
  // meanwhile.
  ResponseFault feed(std::string_view bytes) {
    return note(outstanding_ == 0 ? parser_.feed_idle(bytes) : parser_.feed(bytes));
  }
  ResponseFault finish() { return fault_ == ResponseFault::none ? note(parser_.finish()) : fault_; }

  // One more request has been sent.
  void ask() { ++outstanding_; }

  ResponseParser& parser() { return parser_; }
  size_t complete() const { return complete_; }
  // Heads, bodies with their pieces joined, completions and the fault, one a line.
  const Strings& events() const { return events_; }

 private:
  bool on_head(const ResponseHead& head) override {
    std::string event = fmt::format("head {} {}", head.status, head.keep_alive ? "keep" : "close");
    if (head.has_length) event += fmt::format(" length={}", head.length);
    const auto field = [&](std::string_view name, std::string_view value) {
      if (!value.empty()) event += fmt::format(" {}='{}'", name, printable(value));
    };
    field("encoding", head.content_encoding);
    field("type", head.content_type);
    field("location", head.location);
    field("retry", head.retry_after);
    events_.push_back(std::move(event));
    return complete_ != orders_.stop_at_head;
  }
  bool on_body(std::string_view piece) override {
    if (complete_ == orders_.stop_at_body) {
      events_.push_back("body refused");
      return false;
    }
    if (!events_.back().starts_with("body ")) events_.push_back("body ");
    events_.back() += piece;
    return true;
  }
  ResponseParser::Next on_complete(bool keep_alive) override {
    events_.push_back(keep_alive ? "complete keep" : "complete close");
    --outstanding_;
    if (complete_++ == orders_.stop_at_complete || !keep_alive) return ResponseParser::Next::stop;
    return outstanding_ > 0 ? ResponseParser::Next::more : ResponseParser::Next::none;
  }

  ResponseFault note(ResponseFault fault) {
    if (fault != ResponseFault::none && fault_ == ResponseFault::none) {
      fault_ = fault;
      events_.push_back(fmt::format("fault {}", name_of(fault)));
    }
    return fault;
  }

  size_t outstanding_;
  Orders orders_;
  size_t complete_ = 0;
  Strings events_;
  ResponseFault fault_ = ResponseFault::none;
  ResponseParser parser_;
};

using Events = Strings;

// The events of `bytes`, cut behind the positions in `cuts`; `ended` says whether the peer then
// closes. Each piece is a copy of its own size, so that a read behind its end shows under a
// sanitizer.
inline Events events_of(std::string_view bytes, const std::vector<size_t>& cuts, size_t requests,
                        bool ended, const ResponseRecorder::Orders& orders = {}) {
  ResponseRecorder recorder(requests, orders);
  size_t begin = 0;
  const auto feed_until = [&](size_t end) {
    const size_t size = end - begin;
    const std::unique_ptr<char[]> piece(new char[size > 0 ? size : 1]);
    bytes.copy(piece.get(), size, begin);
    recorder.feed(std::string_view(piece.get(), size));
    begin = end;
  };
  for (const size_t cut : cuts)
    feed_until(cut);
  feed_until(bytes.size());
  if (ended) recorder.finish();
  return recorder.events();
}

// Every position, `step` bytes apart.
inline std::vector<size_t> every(size_t step, size_t size) {
  std::vector<size_t> cuts;
  for (size_t at = step; at < size; at += step)
    cuts.push_back(at);
  return cuts;
}

// The events of `bytes` fed whole, having checked that byte by byte (with empty reads between) and
// every split in two give the same.
inline Events events_in_every_split(std::string_view bytes, size_t requests, bool ended = false,
                                    const ResponseRecorder::Orders& orders = {}) {
  CAPTURE(printable(bytes, 300));
  const Events whole = events_of(bytes, {}, requests, ended, orders);
  std::vector<size_t> twice = every(1, bytes.size());
  twice.insert(twice.end(), twice.begin(), twice.end());
  std::sort(twice.begin(), twice.end());
  CHECK(events_of(bytes, every(1, bytes.size()), requests, ended, orders) == whole);
  CHECK(events_of(bytes, twice, requests, ended, orders) == whole);
  size_t different = 0;
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    different += events_of(bytes, {cut}, requests, ended, orders) != whole;
  }
  CHECK(different == 0);
  return whole;
}

}  // namespace gigafetch::http
