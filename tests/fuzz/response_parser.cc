// Response bytes: whole input, the split that the input chooses and single bytes bring the same
// events and the same fault, and the events keep the promises of http/response_parser.h. Ordinary
// answers that come whole are read by http/plain_head.h, single bytes always by llhttp: so the two
// are compared; once more behind an answer that the former remembers.
//
// Input: requests sent (low 3 bits, plus 1) and whether the peer closes at the end (bit 3), the
// split (2 bytes), the bytes. In these, 0x1A and a byte stand for 12,000 of that byte, so that
// short inputs reach the limits of heads.
#include "http/response_parser.h"

#include <string>

#include "input.h"

using namespace gigafetch::http;
using gigafetch::fuzz::feed_in_pieces;
using gigafetch::fuzz::Input;
using gigafetch::fuzz::require;
using gigafetch::fuzz::Split;

namespace {

class Connection final : private ResponseParser::Handler {
 public:
  explicit Connection(size_t requests) : outstanding_(requests), parser_(*this) {}

  void feed(std::string_view bytes) {
    // As net/http_connection.h.
    if (outstanding_ == 0) return note(parser_.feed_idle(bytes));
    fed_ = bytes;
    note(parser_.feed(bytes));
  }
  void finish() {
    note(parser_.finish());
    require(fault_ != ResponseFault::none || !in_body_, "an end inside a body is a fault");
  }
  std::string take_events() {
    if (fault_ != ResponseFault::none) events_ += name_of(fault_);
    return std::move(events_);
  }

 private:
  bool on_head(const ResponseHead& head) override {
    require(fault_ == ResponseFault::none, "nothing is told after a fault");
    require(!in_body_ && outstanding_ > 0, "a head belongs to a request that waits");
    require(head.status >= 200 && head.status <= 599, "a final status is from 200 to 599");
    require(!head.endless || (!head.has_length && !head.keep_alive), "endless bodies have no end");
    in_body_ = true;
    head_ = {head.status, head.has_length, head.length, head.keep_alive};
    events_ += "\nhead " + std::to_string(head.status) + (head.keep_alive ? " keep" : " close") +
               (head.endless ? " endless" : "") + " " + std::to_string(head.length);
    for (const std::string_view value :
         {head.content_encoding, head.content_type, head.location, head.retry_after}) {
      require(value.find_first_of(std::string_view("\0\n", 2)) == value.npos,
              "a value is one line");
      events_.append("[").append(value).append("]");
    }
    body_ = 0;
    return true;
  }
  bool on_body(std::string_view piece) override {
    require(in_body_, "a body has a head");
    require(piece.data() >= fed_.data() && piece.data() + piece.size() <= fed_.data() + fed_.size(),
            "a piece is a view into what was fed");
    require(head_.status != 204 && head_.status != 304, "204 and 304 have no body");
    if (body_ == 0 && !piece.empty()) events_ += "\nbody ";
    body_ += piece.size();
    require(!head_.has_length || body_ <= head_.length, "a body is no longer than its head says");
    events_ += piece;
    return true;
  }
  ResponseParser::Next on_complete(bool keep_alive) override {
    require(in_body_, "what completes had a head");
    require(!head_.has_length || body_ == head_.length, "a body is as long as its head says");
    require(!keep_alive || head_.keep_alive, "what the head did not keep is not kept at the end");
    in_body_ = false;
    --outstanding_;
    events_ += "\ncomplete";
    if (!keep_alive) return ResponseParser::Next::stop;
    return outstanding_ > 0 ? ResponseParser::Next::more : ResponseParser::Next::none;
  }

  void note(ResponseFault fault) {
    require(fault_ == ResponseFault::none || fault == fault_, "a fault is final");
    require(fault != ResponseFault::none || parser_.in_response() || !in_body_,
            "inside a body the parser is in a response");
    require((fault != ResponseFault::none) || parser_.fault_text().empty(), "no fault, no text");
    fault_ = fault;
  }

  struct Head {
    int status;
    bool has_length;
    uint64_t length;
    bool keep_alive;
  };
  size_t outstanding_;
  ResponseParser parser_;
  ResponseFault fault_ = ResponseFault::none;
  std::string_view fed_;
  bool in_body_ = false;
  Head head_{};
  uint64_t body_ = 0;
  std::string events_;
};

std::string expanded(std::string_view bytes) {
  constexpr char kRun = 0x1A;
  constexpr size_t kRunBytes = 12'000, kMostBytes = 100'000;
  std::string out;
  for (size_t i = 0; i < bytes.size() && out.size() < kMostBytes; ++i) {
    if (bytes[i] == kRun && i + 1 < bytes.size()) {
      out.append(kRunBytes, bytes[++i]);
    } else {
      out += bytes[i];
    }
  }
  return out;
}

const std::string kOrdinary =
    "HTTP/1.1 200 OK\r\nContent-Type: t\r\nContent-Length: 5\r\n\r\nhello";

// As events_of() for whole input, with `kOrdinary` before it.
std::string events_behind_another(std::string_view bytes, size_t requests, bool closes) {
  Connection connection(requests + 1);
  connection.feed(kOrdinary);
  connection.take_events();
  connection.feed(bytes);
  if (closes) connection.finish();
  return connection.take_events();
}

std::string events_of(std::string_view bytes, Split split, size_t requests, bool closes) {
  Connection connection(requests);
  feed_in_pieces(bytes, split, [&](std::string_view piece) { connection.feed(piece); });
  if (closes) connection.finish();
  return connection.take_events();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const uint8_t choice = input.take_byte();
  const size_t requests = size_t{1} + (choice & 7);
  const bool closes = (choice & 8) != 0;
  const Split split = Split::of(input);
  const std::string bytes = expanded(input.rest());
  const std::string whole = events_of(bytes, Split::whole(), requests, closes);
  require(events_of(bytes, split, requests, closes) == whole,
          "a split gives the events of the whole");
  require(events_of(bytes, Split::bytewise(), requests, closes) == whole,
          "single bytes give the events of the whole");
  require(events_behind_another(bytes, requests, closes) == whole,
          "the events of a response do not depend on the one before it");
  return 0;
}
