#include "base/varint.h"

#include <doctest/doctest.h>

#include <vector>

#include "base/random.h"

namespace gigafetch {
namespace {

std::string encoded(uint64_t value) {
  std::string out;
  put_varint(out, value);
  return out;
}

// Reads one number that must be all there is.
bool refused(std::string_view bytes) {
  VarintReader in(bytes);
  const uint64_t value = in.take();
  CHECK((in.ok() || value == 0));
  return !in.ok_at_end();
}

using namespace std::string_literals;

}  // namespace

TEST_CASE("the bytes of a number are those of LEB128") {
  CHECK(encoded(0) == "\0"s);
  CHECK(encoded(1) == "\x01");
  CHECK(encoded(127) == "\x7F");
  CHECK(encoded(128) == "\x80\x01");
  CHECK(encoded(300) == "\xAC\x02");
  CHECK(encoded(624'485) == "\xE5\x8E\x26");
  CHECK(encoded(UINT64_MAX) == "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01");
}

TEST_CASE("every number comes back, and its end is found") {
  std::vector<uint64_t> values = {0, UINT64_MAX, UINT64_MAX - 1};
  for (int bit = 0; bit < 64; ++bit) {
    for (const uint64_t near : {-1, 0, 1})
      values.push_back((uint64_t{1} << bit) + near);
  }
  Random random(1);
  for (int i = 0; i < 20'000; ++i)
    values.push_back(random.next() >> random.below(64));
  std::string all;
  for (const uint64_t value : values) {
    CHECK_FALSE(refused(encoded(value)));
    put_varint(all, value);
  }
  VarintReader in(all);
  for (const uint64_t value : values) {
    const uint64_t taken = in.take();
    CHECK(taken == value);
  }
  CHECK(in.ok_at_end());
}

TEST_CASE("a number that is cut is none") {
  CHECK(refused(""));
  for (const uint64_t value : {uint64_t{128}, uint64_t{1} << 40, UINT64_MAX}) {
    const std::string bytes = encoded(value);
    for (size_t length = 0; length < bytes.size(); ++length)
      CHECK(refused(bytes.substr(0, length)));
  }
}

TEST_CASE("a number of more than 64 bits is none") {
  CHECK(refused("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02"));
  CHECK(refused("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F"));
  CHECK(refused("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x81\x01"));
  CHECK(refused(std::string(100, '\xFF')));
}

TEST_CASE("a number written longer than it must be is refused") {
  CHECK(refused("\x80\x00"s));
  CHECK(refused("\x81\x00"s));
  CHECK(refused("\xFF\x80\x00"s));
  CHECK(refused("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"s));
}

TEST_CASE("a number above the most that is allowed is refused") {
  const std::string bytes = encoded(1000);
  VarintReader fits(bytes), too_much(bytes);
  CHECK(fits.take_up_to(1000) == 1000);
  CHECK(fits.ok_at_end());
  CHECK(too_much.take_up_to(999) == 0);
  CHECK_FALSE(too_much.ok());
}

TEST_CASE("texts come back with their bytes, and what is behind them stays") {
  std::string out;
  put_sized(out, "");
  put_sized(out, "a\0\xFF"s);
  put_sized(out, std::string(1000, 't'));
  put_le<uint64_t>(out, 0x0123456789ABCDEF);
  out += "rest";
  VarintReader in(out);
  CHECK(in.take_text().empty());
  CHECK(in.take_text() == "a\0\xFF"s);
  CHECK(in.take_text() == std::string(1000, 't'));
  CHECK(in.take_u64() == 0x0123456789ABCDEF);
  CHECK(in.left() == 4);
  CHECK(in.take_bytes(4) == "rest");
  CHECK(in.take_bytes(0).empty());
  CHECK(in.ok_at_end());
}

TEST_CASE("bytes left over are no end") {
  VarintReader in("\x01\x02");
  CHECK(in.take() == 1);
  CHECK(in.ok());
  CHECK_FALSE(in.ok_at_end());
}

TEST_CASE("a text longer than what is there is refused, whatever length it claims") {
  for (const uint64_t length : {uint64_t{4}, uint64_t{1} << 32, UINT64_MAX}) {
    std::string out;
    put_varint(out, length);
    out += "abc";
    VarintReader in(out);
    CHECK(in.take_text().empty());
    CHECK_FALSE(in.ok());
  }
  VarintReader short_of_eight("1234567");
  CHECK(short_of_eight.take_u64() == 0);
  CHECK_FALSE(short_of_eight.ok());
}

TEST_CASE("after one field that is not there every other is empty, too") {
  std::string out = "\x80\x00"s;  // refused
  put_varint(out, 7);
  put_sized(out, "text");
  VarintReader in(out);
  CHECK(in.take() == 0);
  CHECK(in.take() == 0);
  CHECK(in.take_text().empty());
  CHECK(in.take_u64() == 0);
  CHECK(in.take_bytes(0).empty());
  CHECK(in.left() == 0);
  CHECK_FALSE(in.ok());
  CHECK_FALSE(in.ok_at_end());
}

TEST_CASE("whatever bytes come, a number that is taken is written in the same way") {
  Random random(7);
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes(1 + random.below(11), '\0');
    for (char& byte : bytes)
      byte = static_cast<char>(random.chance(0.7) ? random.next() | 0x80 : random.next());
    VarintReader in(bytes);
    const uint64_t value = in.take();
    if (in.ok()) CHECK(encoded(value) == bytes.substr(0, bytes.size() - in.left()));
  }
}

}  // namespace gigafetch
