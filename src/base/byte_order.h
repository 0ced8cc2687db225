// Little-endian integers in byte strings: the one place that knows the byte order of the wire and
// of the ledger.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

namespace gigafetch {

static_assert(std::endian::native == std::endian::little,
              "put_le and get_le copy native integers: add a byte swap for this machine");

template <typename Int>
void put_le(std::string& out, std::type_identity_t<Int> value) {
  static_assert(std::is_unsigned_v<Int>);
  char bytes[sizeof(Int)];
  std::memcpy(bytes, &value, sizeof(Int));
  out.append(bytes, sizeof(Int));
}

// Reads sizeof(Int) bytes at `from`, which need not be aligned.
template <typename Int>
Int get_le(const char* from) {
  static_assert(std::is_unsigned_v<Int>);
  Int value;
  std::memcpy(&value, from, sizeof(Int));
  return value;
}

}  // namespace gigafetch
