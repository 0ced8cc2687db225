#include "base/percent.h"

#include <doctest/doctest.h>

#include <string>

#include "base/random.h"

namespace gigafetch {
namespace {

using namespace std::string_literals;

std::string encoded(std::string_view text, SlashMode slashes = SlashMode::encode) {
  std::string out;
  append_percent_encoded(out, text, slashes);
  return out;
}

std::string decoded(std::string_view text) {
  std::string out;
  append_percent_decoded(out, text);
  return out;
}

}  // namespace

TEST_CASE("exactly the unreserved bytes of RFC 3986 stand for themselves") {
  const std::string unreserved =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  CHECK(encoded(unreserved) == unreserved);
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (size_t value = 0; value < 256; ++value) {
    const char byte = static_cast<char>(value);
    if (unreserved.find(byte) != std::string::npos) continue;
    CAPTURE(value);
    CHECK(encoded({&byte, 1}) == std::string{'%', kDigits[value / 16], kDigits[value % 16]});
  }
}

TEST_CASE("a slash is kept or encoded as the caller says") {
  CHECK(encoded("/a//b%2F/", SlashMode::keep) == "/a//b%252F/");
  CHECK(encoded("/a//b%2F/", SlashMode::encode) == "%2Fa%2F%2Fb%252F%2F");
}

TEST_CASE("encoding and decoding append") {
  std::string out = "x?";
  append_percent_encoded(out, " ", SlashMode::keep);
  append_percent_decoded(out, "%20");
  append_percent_byte(out, '\xFF');
  CHECK(out == "x?%20 %FF");
}

TEST_CASE("an escape is a percent sign and two digits of either case") {
  CHECK(starts_with_escape("%41"));
  CHECK(starts_with_escape("%aF..."));
  for (const std::string text :
       {"", "%", "%4", "%4g", "%g4", "%%41", "41", "a%41", "% 4", "%-1", "%+1"}) {
    CAPTURE(text);
    CHECK_FALSE(starts_with_escape(text));
  }
}

TEST_CASE("decoding replaces escapes only, and once") {
  CHECK(decoded("%41%6a%6A%00") == "Ajj\0"s);
  CHECK(decoded("%") == "%");
  CHECK(decoded("%4") == "%4");
  CHECK(decoded("%%41") == "%A");
  CHECK(decoded("%4%41") == "%4A");
  CHECK(decoded("%zz%2") == "%zz%2");
  CHECK(decoded("%2541") == "%41");
  CHECK(decoded("a+b") == "a+b");
}

TEST_CASE("any bytes come back from their encoding") {
  Random random(6);
  for (int i = 0; i < 100'000; ++i) {
    std::string text(random.below(20), '\0');
    for (char& c : text) {
      c = random.below(2) == 0 ? "%2F/aAf"[random.below(7)] : static_cast<char>(random.below(256));
    }
    for (const SlashMode slashes : {SlashMode::keep, SlashMode::encode}) {
      REQUIRE(decoded(encoded(text, slashes)) == text);
    }
  }
}

}  // namespace gigafetch
