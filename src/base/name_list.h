// NameList: the names of a page or a batch, packed one after the other as they travel on the wire.
//
// Each name is a 16-bit little-endian length and its bytes. A run of names cut from a page is
// therefore a slice of bytes, and handing out a batch costs one copy whatever its number of names.
// Names are arbitrary bytes; nothing here interprets them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/byte_order.h"

namespace gigafetch {

// Longer names are refused where they are listed: no layout has a path for them, no common server
// takes such a request line, and a frame stays small.
inline constexpr size_t kMaxNameBytes = 4096;

// Walks packed names. The bytes must be well formed (NameList made them, or well_formed said so)
// and outlive the cursor.
class NameCursor {
 public:
  explicit NameCursor(std::string_view packed) : rest_(packed) {}

  bool done() const { return rest_.empty(); }
  std::string_view name() const { return rest_.substr(kLengthBytes, length()); }
  void next() { rest_.remove_prefix(kLengthBytes + length()); }

  // What is left, starting with the current name.
  std::string_view rest() const { return rest_; }

  static constexpr size_t kLengthBytes = sizeof(uint16_t);

 private:
  size_t length() const { return get_le<uint16_t>(rest_.data()); }
  std::string_view rest_;
};

// Whether `packed` is exactly `count` names, none longer than kMaxNameBytes.
inline bool well_formed(std::string_view packed, uint64_t count) {
  uint64_t names = 0;
  while (!packed.empty()) {
    if (packed.size() < NameCursor::kLengthBytes) return false;
    const size_t length = get_le<uint16_t>(packed.data());
    if (length > kMaxNameBytes || packed.size() < NameCursor::kLengthBytes + length) return false;
    packed.remove_prefix(NameCursor::kLengthBytes + length);
    ++names;
  }
  return names == count;
}

class NameList {
 public:
  // `name` must be at most kMaxNameBytes long.
  void append(std::string_view name) {
    put_le<uint16_t>(bytes_, static_cast<uint16_t>(name.size()));
    bytes_.append(name);
    ++count_;
  }

  // Makes room for names of so many bytes, packed.
  void reserve(size_t packed_bytes) { bytes_.reserve(packed_bytes); }
  // Gives room back when more than half of it is empty.
  void trim() {
    if (bytes_.capacity() / 2 > bytes_.size()) bytes_.shrink_to_fit();
  }

  void clear() {
    bytes_.clear();
    count_ = 0;
  }

  uint32_t count() const { return count_; }
  bool empty() const { return count_ == 0; }
  const std::string& bytes() const { return bytes_; }
  // The same, and leaves an empty list.
  std::string take_bytes() {
    count_ = 0;
    return std::exchange(bytes_, {});
  }

 private:
  std::string bytes_;
  uint32_t count_ = 0;
};

}  // namespace gigafetch
