// Variable-length integers: seven bits a byte, lowest first, the top bit set on all but the last
// (LEB128, unsigned). For files in which most numbers are small.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/byte_order.h"

namespace gigafetch {

inline void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7)
    out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

// Takes fields off the front of bytes. After a field that is not there, every further one is zero
// or empty and ok() is false: a parser checks once, at its end.
class VarintReader {
 public:
  explicit VarintReader(std::string_view bytes) : rest_(bytes) {}

  // Refuses more bytes than a number needs, so that there is one way to write it.
  uint64_t take() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte >= 0x80) continue;
      const bool overflows = shift == 63 && byte > 1;
      const bool padded = shift > 0 && byte == 0;
      return overflows || padded ? fail() : value;
    }
    return fail();
  }
  // The same, where more than `most` is wrong.
  uint64_t take_up_to(uint64_t most) {
    const uint64_t value = take();
    return value <= most ? value : fail();
  }
  std::string_view take_bytes(uint64_t count) {
    if (rest_.size() < count) return fail(), std::string_view();
    const std::string_view bytes = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return bytes;
  }
  // A length and that many bytes.
  std::string_view take_text() { return take_bytes(take()); }
  uint64_t take_u64() {
    const std::string_view bytes = take_bytes(sizeof(uint64_t));
    return bytes.empty() ? 0 : get_le<uint64_t>(bytes.data());
  }

  size_t left() const { return rest_.size(); }
  bool ok() const { return ok_; }
  // Every field was there, and nothing is left over.
  bool ok_at_end() const { return ok_ && rest_.empty(); }

 private:
  uint64_t fail() {
    ok_ = false;
    rest_ = {};
    return 0;
  }
  std::string_view rest_;
  bool ok_ = true;
};

inline void put_sized(std::string& out, std::string_view text) {
  put_varint(out, text.size());
  out.append(text);
}

}  // namespace gigafetch
