// What the fuzz targets share: their input taken apart, and the end when something is not as it
// must be.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

namespace gigafetch::fuzz {

// An assertion that no build leaves out.
inline void require(bool condition, const char* rule) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", rule);
  std::abort();
}

// A few bytes off the front of an input choose how the rest of it is used.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  // 0 when there is none left.
  uint8_t take_byte() {
    if (rest_.empty()) return 0;
    const char byte = rest_.front();
    rest_.remove_prefix(1);
    return static_cast<uint8_t>(byte);
  }
  // As many as there are, when there are fewer.
  std::string_view take_bytes(size_t count) {
    const std::string_view bytes = rest_.substr(0, count);
    rest_.remove_prefix(bytes.size());
    return bytes;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

// The sizes of the pieces in which bytes arrive: two sizes in turn, one of which may be 0.
struct Split {
  static Split of(Input& input) {
    const size_t first = input.take_byte();
    return {first, size_t{1} + input.take_byte()};
  }
  static Split whole() { return {SIZE_MAX, 1}; }
  static Split bytewise() { return {1, 1}; }
  size_t first;
  size_t second;
};

// Calls `take` with each piece. A piece is a copy of its own size, so that a read behind its end
// shows under a sanitizer.
template <typename Take>
void feed_in_pieces(std::string_view bytes, Split split, Take take) {
  for (bool odd = false; !bytes.empty(); odd = !odd) {
    const size_t size = std::min(bytes.size(), odd ? split.second : split.first);
    const std::unique_ptr<char[]> piece(new char[size]);
    bytes.copy(piece.get(), size);
    take(std::string_view(piece.get(), size));
    bytes.remove_prefix(size);
  }
}

}  // namespace gigafetch::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
