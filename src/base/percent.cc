#include "base/percent.h"

#include <cstdint>

#include "base/byte_set.h"

namespace gigafetch {
namespace {

// Bytes that stand for themselves: unreserved, and '/' where it separates.
constexpr ByteSet literal_bytes(SlashMode slashes) {
  ByteSet table{};
  for (size_t c = 0; c < table.size(); ++c) {
    table[c] = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '.' || c == '_' || c == '~' ||
               (c == '/' && slashes == SlashMode::keep);
  }
  return table;
}
constexpr ByteSet kUnreserved = literal_bytes(SlashMode::encode);
constexpr ByteSet kUnreservedAndSlash = literal_bytes(SlashMode::keep);
constexpr std::string_view kHexDigits = "0123456789ABCDEF";

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

void append_percent_byte(std::string& out, char byte) {
  const auto value = static_cast<uint8_t>(byte);
  const char escape[3] = {'%', kHexDigits[value >> 4], kHexDigits[value & 15]};
  out.append(escape, sizeof escape);
}

void append_percent_encoded(std::string& out, std::string_view text, SlashMode slashes) {
  const ByteSet& literal = slashes == SlashMode::keep ? kUnreservedAndSlash : kUnreserved;
  for (;;) {
    const size_t run = leading_run(text, literal);
    out.append(text.data(), run);
    if (run == text.size()) return;
    append_percent_byte(out, text[run]);
    text.remove_prefix(run + 1);
  }
}

bool starts_with_escape(std::string_view text) {
  return text.size() >= 3 && text[0] == '%' && hex_value(text[1]) >= 0 && hex_value(text[2]) >= 0;
}

void append_percent_decoded(std::string& out, std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (starts_with_escape(text.substr(i))) {
      out += static_cast<char>(hex_value(text[i + 1]) << 4 | hex_value(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
}

}  // namespace gigafetch
