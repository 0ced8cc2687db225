// PlainHead: the head of an ordinary answer, read in one pass over bytes that hold the whole of it.
//
// It knows one form only: `HTTP/1.1 200 OK`, one Content-Length in digits, no transfer or content
// coding, a connection that stays. Whatever it does not recognise it leaves to llhttp, without a
// word on whether it is right: so it may refuse anything, but must never take what llhttp and
// http/response_parser.h would refuse, nor make anything else of it. An answer read this way costs
// a fifth of what it costs there (bench/fetch).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace gigafetch::http {

struct PlainHead {
  size_t size = 0;               // of the head, with the empty line
  uint64_t length = 0;           // Content-Length
  const char* digits = nullptr;  // where it stands in the bytes read
  // Valid as long as the bytes, and until the next read.
  std::string_view content_type;
};

// Reads a head that starts with the first of `bytes`. False when they do not start with a whole
// head of the known form; `head` is then of no use.
bool read_plain_head(std::string_view bytes, PlainHead& head);

// The same, one head after the other. An origin's heads often differ in nothing but the digits of
// their Content-Length: those cost two comparisons with the head before.
class PlainHeadReader {
 public:
  bool read(std::string_view bytes, PlainHead& head);

 private:
  bool read_alike(std::string_view bytes, PlainHead& head) const;
  void remember(std::string_view bytes, const PlainHead& head);

  // The last head, before and behind the digits; the first is empty when none is remembered.
  std::string before_, behind_;
  std::string content_type_;
};

}  // namespace gigafetch::http
