// Request bytes: whole input, the split that the input chooses and single bytes, which all go
// through llhttp, bring the same requests and the same refusal; and so they do when the handler
// takes them one at a time.
//
// Input: the split (2 bytes), the bytes. In these, 0x1A stands for the front of a plain request and
// 0x1B for the rest of one, so that short inputs repeat heads.
#include "http/request_parser.h"

#include <string>

#include "input.h"

using namespace gigafetch::http;
using gigafetch::fuzz::feed_in_pieces;
using gigafetch::fuzz::Input;
using gigafetch::fuzz::require;
using gigafetch::fuzz::Split;

namespace {

class Connection final : private RequestParser::Handler {
 public:
  explicit Connection(bool reluctant) : reluctant_(reluctant), parser_(*this) {}

  void feed(std::string_view bytes) {
    if (refused_) return;
    taken_ = 0;
    note(parser_.feed(bytes));
    while (!refused_ && parser_.holding()) {
      require(reluctant_, "a willing handler leaves nothing held");
      taken_ = 0;
      note(parser_.resume());
    }
  }
  std::string take_events() { return std::move(events_); }

 private:
  bool on_request(const Request& request) override {
    require(!refused_, "nothing is told after a refusal");
    require(!closing_, "nothing is told after the announced last one");
    require(!reluctant_ || ++taken_ == 1, "a handler that wants no more gets no more");
    require(!request.target.empty(), "a request has a target");
    closing_ = !request.keep_alive;
    events_ += (request.is_get ? "GET " : "other ") + std::string(request.target) +
               (request.keep_alive ? " keep\n" : " close\n");
    return !reluctant_;
  }
  void note(bool taken) {
    refused_ = !taken;
    if (refused_) events_ += "refused";
  }

  bool reluctant_;
  RequestParser parser_;
  bool refused_ = false;
  bool closing_ = false;
  int taken_ = 0;
  std::string events_;
};

// Below the limit of a request: where within a piece that is passed, its size decides.
std::string expanded(std::string_view bytes) {
  constexpr size_t kMostBytes = 32'000;
  std::string out;
  for (const char c : bytes) {
    if (out.size() >= kMostBytes) break;
    if (c == 0x1A) {
      out += "GET /";
    } else if (c == 0x1B) {
      out += " HTTP/1.1\r\nHost: h\r\n\r\n";
    } else {
      out += c;
    }
  }
  return out;
}

std::string events_of(std::string_view bytes, Split split, bool reluctant) {
  Connection connection(reluctant);
  feed_in_pieces(bytes, split, [&](std::string_view piece) { connection.feed(piece); });
  return connection.take_events();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const Split split = Split::of(input);
  const std::string bytes = expanded(input.rest());
  const std::string by_llhttp = events_of(bytes, Split::bytewise(), false);
  for (const bool reluctant : {false, true}) {
    require(events_of(bytes, Split::whole(), reluctant) == by_llhttp,
            "the whole gives the events of single bytes");
    require(events_of(bytes, split, reluctant) == by_llhttp,
            "a split gives the events of single bytes");
  }
  return 0;
}
