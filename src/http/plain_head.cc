#include "http/plain_head.h"

#include <bit>
#include <utility>

#include "base/byte_order.h"
#include "base/byte_set.h"
#include "http/response_parser.h"
#include "http/text.h"

namespace gigafetch::http {
namespace {

constexpr std::string_view kStatusLine = "HTTP/1.1 200 OK\r\n";
// More digits may be more than a uint64_t holds.
constexpr size_t kMaxLengthDigits = 18;
// A longer head is not remembered.
constexpr size_t kMaxRememberedBytes = 1024;

// A part of what a token may hold (RFC 9110 section 5.6.2): what field names are made of.
constexpr ByteSet name_bytes() {
  ByteSet table{};
  for (size_t c = 0; c < table.size(); ++c) {
    table[c] = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_';
  }
  return table;
}
constexpr ByteSet kNameBytes = name_bytes();

// Behind the bytes that are printable ASCII or spaces. Eight at a time: the lowest bit set in
// `others` is that of the first byte that is not.
const char* skip_printable(const char* at, const char* end) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  constexpr uint64_t kHighs = kOnes * 0x80;
  for (; end - at >= 8; at += 8) {
    const auto bytes = get_le<uint64_t>(at);
    const uint64_t below = (bytes - kOnes * 0x20) & ~bytes;  // under 0x20
    const uint64_t above = (bytes + kOnes) | bytes;          // over 0x7E
    const uint64_t others = (below | above) & kHighs;
    if (others != 0) return at + std::countr_zero(others) / 8;
  }
  while (at < end && *at >= 0x20 && *at < 0x7F)
    ++at;
  return at;
}

// Behind the digits at `at`; nullptr when there are none, or too many.
const char* read_digits(const char* at, const char* end, uint64_t& number) {
  const char* const begin = at;
  number = 0;
  for (; at < end && *at >= '0' && *at <= '9'; ++at) {
    if (static_cast<size_t>(at - begin) == kMaxLengthDigits) return nullptr;
    number = 10 * number + static_cast<uint64_t>(*at - '0');
  }
  return at == begin ? nullptr : at;
}

bool read_length(std::string_view value, uint64_t& length) {
  const char* const end = value.data() + value.size();
  return read_digits(value.data(), end, length) == end;
}

bool is_name(std::string_view name, std::string_view usual, std::string_view lower_case) {
  return name == usual || equals_ignoring_case(name, lower_case);
}

// What has been seen of the fields that may stand in a head once.
struct Seen {
  bool length = false;
  bool type = false;
};

// Takes one field in. By the length of its name first: most fields mean nothing here.
bool take_field(std::string_view name, std::string_view value, PlainHead& head, Seen& seen) {
  switch (name.size()) {
    case 7:
      return !equals_ignoring_case(name, "upgrade");
    case 8:
      return !equals_ignoring_case(name, "location");
    case 10:
      return !is_name(name, "Connection", "connection") || value == "keep-alive";
    case 11:
      return !equals_ignoring_case(name, "retry-after");
    case 12:
      if (!is_name(name, "Content-Type", "content-type")) return true;
      head.content_type = trim(value);
      return !std::exchange(seen.type, true);
    case 14:
      if (!is_name(name, "Content-Length", "content-length")) return true;
      head.digits = value.data();
      return !std::exchange(seen.length, true) && read_length(value, head.length);
    case 16:
      return !equals_ignoring_case(name, "content-encoding") &&
             !equals_ignoring_case(name, "proxy-connection");
    case 17:
      return !equals_ignoring_case(name, "transfer-encoding");
    default:
      return true;
  }
}

}  // namespace

bool read_plain_head(std::string_view bytes, PlainHead& head) {
  bytes = bytes.substr(0, kMaxHeadBytes);
  if (!bytes.starts_with(kStatusLine)) return false;
  const char* const end = bytes.data() + bytes.size();
  const char* at = bytes.data() + kStatusLine.size();
  head.content_type = {};
  Seen seen;
  for (uint32_t fields = 0; end - at >= 2; ++fields) {
    if (at[0] == '\r') {
      head.size = static_cast<size_t>(at + 2 - bytes.data());
      return at[1] == '\n' && seen.length;
    }
    // A line that starts with a space goes on with the one before it: not here.
    const char* const name = at;
    at += leading_run(std::string_view(at, static_cast<size_t>(end - at)), kNameBytes);
    if (at == name || at == end || *at != ':' || fields == kMaxHeadFields) return false;
    const std::string_view name_text(name, static_cast<size_t>(at - name));
    if (++at < end && *at == ' ') ++at;
    const char* const value = at;
    at = skip_printable(at, end);
    if (at == value || end - at < 2 || at[0] != '\r' || at[1] != '\n') return false;
    if (!take_field(name_text, std::string_view(value, static_cast<size_t>(at - value)), head,
                    seen)) {
      return false;
    }
    at += 2;
  }
  return false;
}

bool PlainHeadReader::read(std::string_view bytes, PlainHead& head) {
  if (read_alike(bytes, head)) return true;
  if (!read_plain_head(bytes, head)) return false;
  remember(bytes, head);
  return true;
}

// What makes a head a plain one does not depend on which digits its length has.
bool PlainHeadReader::read_alike(std::string_view bytes, PlainHead& head) const {
  if (before_.empty() || !bytes.starts_with(before_)) return false;
  const char* const end = bytes.data() + bytes.size();
  const char* const behind = read_digits(bytes.data() + before_.size(), end, head.length);
  if (behind == nullptr) return false;
  const size_t size = static_cast<size_t>(behind - bytes.data());
  if (!bytes.substr(size).starts_with(behind_)) return false;
  head.size = size + behind_.size();
  head.digits = bytes.data() + before_.size();
  head.content_type = content_type_;
  return true;
}

void PlainHeadReader::remember(std::string_view bytes, const PlainHead& head) {
  before_.clear();
  if (head.size > kMaxRememberedBytes) return;
  const size_t begin = static_cast<size_t>(head.digits - bytes.data());
  const size_t end = bytes.find('\r', begin);
  behind_.assign(bytes.substr(end, head.size - end));
  content_type_.assign(head.content_type);
  before_.assign(bytes.substr(0, begin));
}

}  // namespace gigafetch::http
