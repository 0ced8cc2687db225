// Reading and writing the fields of a payload.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/byte_order.h"

namespace gigafetch::wire {

// Takes fields off the front of a payload. After a field that is not there, every further one is
// zero or empty and ok() is false: a parser checks once, at its end.
class PayloadReader {
 public:
  explicit PayloadReader(std::string_view payload) : rest_(payload) {}

  template <typename Int>
  Int take() {
    if (rest_.size() < sizeof(Int)) return fail(), Int{0};
    const Int value = get_le<Int>(rest_.data());
    rest_.remove_prefix(sizeof(Int));
    return value;
  }
  std::string_view take_bytes(size_t count) {
    if (rest_.size() < count) return fail(), std::string_view();
    const std::string_view bytes = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return bytes;
  }
  // A 16-bit length and that many bytes. A text over `max_bytes` is not there: put_text never makes
  // one.
  std::string_view take_text(size_t max_bytes) {
    const size_t length = take<uint16_t>();
    if (length > max_bytes) return fail(), std::string_view();
    return take_bytes(length);
  }

  size_t left() const { return rest_.size(); }
  bool ok() const { return ok_; }
  // Every field was there, and nothing is left over.
  bool ok_at_end() const { return ok_ && rest_.empty(); }

 private:
  void fail() {
    ok_ = false;
    rest_ = {};
  }
  std::string_view rest_;
  bool ok_ = true;
};

// Appends a 16-bit length and `text`, cut to `max_bytes`.
inline void put_text(std::string& out, std::string_view text, size_t max_bytes) {
  text = text.substr(0, max_bytes);
  put_le<uint16_t>(out, static_cast<uint16_t>(text.size()));
  out.append(text);
}

}  // namespace gigafetch::wire
