#include "base/byte_order.h"

#include <doctest/doctest.h>

namespace gigafetch {

TEST_CASE("integers are appended with their lowest byte first") {
  std::string out = "x";
  put_le<uint8_t>(out, 0x01);
  put_le<uint16_t>(out, 0x0302);
  put_le<uint32_t>(out, 0x07060504);
  put_le<uint64_t>(out, 0x0F0E0D0C0B0A0908);
  CHECK(out == "x\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\x0C\x0D\x0E\x0F");
}

TEST_CASE("integers are read back from any alignment") {
  std::string out;
  for (size_t shift = 0; shift < 8; ++shift) {
    out.assign(shift, '\xFF');
    put_le<uint64_t>(out, 0x8123456789ABCDEF);
    CHECK(get_le<uint64_t>(out.data() + shift) == 0x8123456789ABCDEF);
    CHECK(get_le<uint32_t>(out.data() + shift) == 0x89ABCDEF);
    CHECK(get_le<uint16_t>(out.data() + shift) == 0xCDEF);
    CHECK(get_le<uint8_t>(out.data() + shift) == 0xEF);
  }
}

}  // namespace gigafetch
