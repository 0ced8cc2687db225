// Content codings: what comes out of a body does not depend on how its bytes were cut, and neither
// does whether it is whole; it never grows beyond its bounds.
//
// Input: how many codings and which (a byte each), how to split (two bytes), the coded body.
#include <string>
#include <vector>

#include "http/content_coding.h"
#include "input.h"

using namespace gigafetch::http;
using gigafetch::fuzz::feed_in_pieces;
using gigafetch::fuzz::Input;
using gigafetch::fuzz::require;
using gigafetch::fuzz::Split;

namespace {

struct Decoded {
  std::string body;
  DecodeFault fault = DecodeFault::none;
};

Decoded decode(const std::vector<ContentCoding>& codings, std::string_view coded, Split split) {
  Decoded result;
  ContentDecoder decoder(codings, [&](std::string_view piece) {
    require(!piece.empty(), "no piece is empty");
    result.body += piece;
    return true;
  });
  DecodeFault fault = DecodeFault::none;
  feed_in_pieces(coded, split, [&](std::string_view piece) {
    const DecodeFault next = decoder.feed(piece);
    require(fault == DecodeFault::none || next == fault, "a fault stays");
    fault = next;
  });
  result.fault = decoder.finish();
  require(fault == DecodeFault::none || result.fault == fault, "a fault stays to the end");
  constexpr uint64_t kBuffer = 64 * 1024;
  require(result.body.size() <= kFreeGrowth + kMaxGrowth * (coded.size() + 1) + kBuffer,
          "a body grows within its bounds");
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const size_t count = 1 + input.take_byte() % kMaxContentCodings;
  std::vector<ContentCoding> codings;
  while (codings.size() < count)
    codings.push_back(static_cast<ContentCoding>(input.take_byte() % 4));
  const Split split = Split::of(input);
  const Decoded whole = decode(codings, input.rest(), Split::whole());
  const Decoded pieces = decode(codings, input.rest(), split);
  // Growth is judged by what has come so far, which is what the cuts change.
  if (whole.fault == DecodeFault::growth || pieces.fault == DecodeFault::growth) return 0;
  require((whole.fault == DecodeFault::none) == (pieces.fault == DecodeFault::none),
          "whether a body is whole does not depend on the cuts");
  require(whole.fault != DecodeFault::none || whole.body == pieces.body,
          "what comes out does not depend on the cuts");
  return 0;
}
