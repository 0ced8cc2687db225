#include "wire/payload.h"

#include <doctest/doctest.h>

using namespace gigafetch::wire;
using gigafetch::put_le;

TEST_CASE("fields come back in the order and width in which they were put") {
  std::string bytes;
  put_le<uint8_t>(bytes, 0xA1);
  put_le<uint16_t>(bytes, 0xB1B2);
  put_le<uint32_t>(bytes, 0xC1C2C3C4);
  put_le<uint64_t>(bytes, 0xD1D2D3D4D5D6D7D8);
  put_text(bytes, "text", 100);
  CHECK(bytes ==
        std::string("\xA1\xB2\xB1\xC4\xC3\xC2\xC1\xD8\xD7\xD6\xD5\xD4\xD3\xD2\xD1\x04\0text", 21));

  PayloadReader in(bytes);
  CHECK(in.take<uint8_t>() == 0xA1);
  CHECK(in.take<uint16_t>() == 0xB1B2);
  CHECK(in.take<uint32_t>() == 0xC1C2C3C4);
  CHECK(in.take<uint64_t>() == 0xD1D2D3D4D5D6D7D8);
  CHECK(in.left() == 6);
  CHECK_FALSE(in.ok_at_end());
  CHECK(in.take_text(100) == "text");
  CHECK(in.ok_at_end());
}

TEST_CASE("after a field that is not there, every further one is zero or empty") {
  PayloadReader in(std::string_view("\x01\x02\x03", 3));
  CHECK(in.take<uint32_t>() == 0);
  CHECK_FALSE(in.ok());
  CHECK(in.left() == 0);
  CHECK(in.take<uint8_t>() == 0);
  CHECK(in.take_bytes(1).empty());
  CHECK(in.take_text(100).empty());
  CHECK_FALSE(in.ok());
  CHECK_FALSE(in.ok_at_end());
}

TEST_CASE("a text longer than what is left is not there") {
  PayloadReader in(std::string_view("\x05\0abcd", 6));
  CHECK(in.take_text(100).empty());
  CHECK_FALSE(in.ok());
}

TEST_CASE("a text over the limit is not there") {
  const std::string_view bytes("\x03\0abc", 5);
  CHECK(PayloadReader(bytes).take_text(3) == "abc");
  PayloadReader in(bytes);
  CHECK(in.take_text(2).empty());
  CHECK_FALSE(in.ok());
}

TEST_CASE("bytes left over are not the end") {
  PayloadReader in("ab");
  CHECK(in.take_bytes(1) == "a");
  CHECK(in.ok());
  CHECK_FALSE(in.ok_at_end());
}

TEST_CASE("a text is cut to the length allowed") {
  std::string bytes;
  put_text(bytes, "abcdef", 3);
  CHECK(bytes == std::string("\x03\0abc", 5));
  bytes.clear();
  put_text(bytes, "abcdef", 0);
  CHECK(bytes == std::string("\0\0", 2));
}
