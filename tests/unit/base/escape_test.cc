#include "base/escape.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"

namespace gigafetch {
namespace {

using namespace std::string_literals;

std::string utf8(uint32_t point) {
  const auto byte = [](uint32_t value) { return static_cast<char>(static_cast<uint8_t>(value)); };
  if (point < 0x80) return {byte(point)};
  if (point < 0x800) return {byte(0xC0 | point >> 6), byte(0x80 | (point & 0x3F))};
  if (point < 0x10000) {
    return {byte(0xE0 | point >> 12), byte(0x80 | (point >> 6 & 0x3F)),
            byte(0x80 | (point & 0x3F))};
  }
  return {byte(0xF0 | point >> 18), byte(0x80 | (point >> 12 & 0x3F)),
          byte(0x80 | (point >> 6 & 0x3F)), byte(0x80 | (point & 0x3F))};
}

bool is_surrogate(uint32_t point) {
  return point >= 0xD800 && point <= 0xDFFF;
}

// What printable() wrote, read back; stops at what it cannot have written.
std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const std::string_view rest = text.substr(i);
    if (rest.starts_with("\\\\")) {
      out += '\\';
      i += 2;
    } else if (rest.starts_with("\\x")) {
      out += static_cast<char>(std::stoul(std::string(rest.substr(2, 2)), nullptr, 16));
      i += 4;
    } else if (rest.starts_with("\\u{")) {
      const size_t end = rest.find('}');
      out += utf8(
          static_cast<uint32_t>(std::stoul(std::string(rest.substr(3, end - 3)), nullptr, 16)));
      i += end + 1;
    } else if (rest[0] == '\\') {
      return out + "(not an escape)";
    } else {
      out += rest[0];
      ++i;
    }
  }
  return out;
}

// A JSON string read back as Python does with surrogateescape; "(not JSON)" behind what is not one.
std::string json_decoded(std::string_view json) {
  std::string out;
  if (json.size() < 2 || json.front() != '"' || json.back() != '"') return "(not JSON)";
  json = json.substr(1, json.size() - 2);
  for (size_t i = 0; i < json.size(); ++i) {
    if (static_cast<uint8_t>(json[i]) < 0x20 || json[i] == '"') return out + "(not JSON)";
    if (json[i] != '\\') {
      out += json[i];
      continue;
    }
    if (++i == json.size()) return out + "(not JSON)";
    if (json[i] == '"' || json[i] == '\\') {
      out += json[i];
    } else if (json[i] == 'n') {
      out += '\n';
    } else if (json[i] == 'u' && i + 4 < json.size()) {
      const auto point =
          static_cast<uint32_t>(std::stoul(std::string(json.substr(i + 1, 4)), nullptr, 16));
      if (point >= 0xDC80 && point <= 0xDCFF) {
        out += static_cast<char>(point - 0xDC00);
      } else {
        out += utf8(point);
      }
      i += 4;
    } else {
      return out + "(not JSON)";
    }
  }
  return out;
}

std::string json_encoded(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_sequence_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool has_control_byte(std::string_view text) {
  for (const char c : text) {
    if (static_cast<uint8_t>(c) < 0x20 || c == 0x7F) return true;
  }
  return false;
}

// Bytes in which escapes, quotes, UTF-8 and its broken forms are common.
std::string nasty_bytes(Random& random) {
  static const std::vector<std::string> kPieces = {"\\",
                                                   "\"",
                                                   "\n",
                                                   "\0"s,
                                                   "\x7F",
                                                   "x",
                                                   "u",
                                                   "{",
                                                   "}",
                                                   "0",
                                                   "a",
                                                   "\xC3\xA9",
                                                   "\xC3",
                                                   "\xA9",
                                                   "\xE2\x80\xAE",
                                                   "\xE2\x80",
                                                   "\xED\xB2\x80",
                                                   "\xF0\x9F\x98\x80",
                                                   "\xF0\x9F",
                                                   "\xFF",
                                                   "\xC0\x80",
                                                   "\xEF\xBB\xBF"};
  std::string out;
  for (uint64_t pieces = random.below(12); pieces > 0; --pieces) {
    if (random.below(4) == 0) {
      out += static_cast<char>(random.below(256));
    } else {
      out += kPieces[random.below(kPieces.size())];
    }
  }
  return out;
}

}  // namespace

TEST_CASE("a UTF-8 sequence is exactly what RFC 3629 allows") {
  SUBCASE("every code point is one, and only whole") {
    size_t wrong = 0;
    for (uint32_t point = 0; point <= 0x10FFFF; ++point) {
      const std::string sequence = utf8(point);
      const size_t expected = is_surrogate(point) ? 0 : sequence.size();
      wrong += utf8_sequence_length(sequence) != expected;
      wrong += utf8_sequence_length(sequence + "\x80") != expected;
      for (size_t cut = 1; cut < sequence.size(); ++cut) {
        wrong += utf8_sequence_length(sequence.substr(0, cut)) != 0;
        wrong += utf8_sequence_length(sequence.substr(0, cut) + "a") != 0;
      }
    }
    CHECK(wrong == 0);
  }
  SUBCASE("no other bytes of the same lengths are one") {
    const auto at_edge = [](int i) { return static_cast<char>(static_cast<uint8_t>(i)); };
    size_t two = 0, three = 0, four = 0;
    for (int a = 0x80; a < 0x100; ++a) {
      for (int b = 0; b < 0x100; ++b) {
        two += utf8_sequence_length(std::string{at_edge(a), at_edge(b)}) == 2;
        for (int c = 0; c < 0x100; ++c) {
          const char bytes[4] = {at_edge(a), at_edge(b), at_edge(c), '\x80'};
          three += utf8_sequence_length(std::string_view(bytes, 3)) == 3;
          four += utf8_sequence_length(std::string_view(bytes, 4)) == 4;
        }
      }
    }
    CHECK(two == 0x800 - 0x80);
    CHECK(three == 0x10000 - 0x800 - 0x800);
    CHECK(four == (0x110000 - 0x10000) / 64);
  }
  CHECK(utf8_sequence_length("") == 0);
}

TEST_CASE("printable text shows as it is") {
  for (const std::string text :
       {"a/b c.txt", "", "100% ~^'\"", "gr\xC3\xBC\xC3\x9F", "\xE6\xBC\xA2\xE5\xAD\x97",
        "\xF0\x9F\x98\x80", "\xC2\xA0", "\xE2\x80\x90", "\xE2\x80\xAF"}) {
    CHECK(printable(text) == text);
  }
}

TEST_CASE("what could drive or deceive a terminal is escaped") {
  CHECK(printable("\x1B[2J") == "\\x1b[2J");
  CHECK(printable("a\nb\rc\td") == "a\\x0ab\\x0dc\\x09d");
  CHECK(printable("\0\x7F"s) == "\\x00\\x7f");
  CHECK(printable("back\\slash") == "back\\\\slash");
  CHECK(printable("\xC2\x9B"
                  "2J") == "\\u{9b}2J");
  CHECK(printable("gpj\xE2\x80\xAE"
                  "exe") == "gpj\\u{202e}exe");
  CHECK(printable("a\xE2\x80\x8B"
                  "b") == "a\\u{200b}b");
  CHECK(printable("\xEF\xBB\xBF") == "\\u{feff}");
  CHECK(printable("\xFF\xC3(\xED\xA0\x80") == "\\xff\\xc3(\\xed\\xa0\\x80");
}

TEST_CASE("every bidirectional and zero-width control is escaped") {
  std::vector<uint32_t> points = {0x061C, 0x2028, 0x2029, 0xFEFF};
  for (uint32_t point = 0x80; point < 0xA0; ++point)
    points.push_back(point);
  for (uint32_t point = 0x200B; point <= 0x200F; ++point)
    points.push_back(point);
  for (uint32_t point = 0x202A; point <= 0x202E; ++point)
    points.push_back(point);
  for (uint32_t point = 0x2060; point <= 0x2069; ++point)
    points.push_back(point);
  for (const uint32_t point : points) {
    CAPTURE(point);
    CHECK(printable(utf8(point)).starts_with("\\u{"));
  }
}

TEST_CASE("invisible tag characters are escaped") {
  for (const uint32_t point : {0xE0001u, 0xE0020u, 0xE0041u, 0xE007Fu}) {
    CAPTURE(point);
    CHECK(printable(utf8(point)).starts_with("\\u{"));
  }
}

TEST_CASE("two texts never print alike") {
  Random random(2);
  for (int i = 0; i < 200'000; ++i) {
    const std::string text = nasty_bytes(random);
    const std::string shown = printable(text, SIZE_MAX);
    if (unescaped(shown) != text || !is_utf8(shown) || has_control_byte(shown)) {
      FAIL("printed as ", shown);
    }
  }
}

TEST_CASE("a long text is cut behind a whole character") {
  CHECK(printable(std::string(200, 'a')) == std::string(200, 'a'));
  CHECK(printable(std::string(201, 'a')) == std::string(200, 'a') + "...");
  CHECK(printable("ab", 0) == "...");
  CHECK(printable("", 0).empty());
  CHECK(printable("ab", 2) == "ab");
  CHECK(printable("\n\n\n", 2) == "\\x0a\\x0a...");
  const std::string text = "a\xC3\xA9\xE6\xBC\xA2\xF0\x9F\x98\x80z";
  for (size_t limit = 0; limit < text.size(); ++limit) {
    const std::string shown = printable(text, limit);
    CAPTURE(shown);
    REQUIRE(shown.ends_with("..."));
    const std::string kept = shown.substr(0, shown.size() - 3);
    CHECK(is_utf8(kept));
    CHECK(text.starts_with(kept));
    CHECK(kept.size() < limit + 4);
    CHECK(kept.size() >= limit);
  }
}

TEST_CASE("a line-safe name keeps its line and all its other bytes") {
  std::string out = "kept ";
  append_line_safe(out, "a\nb\r\t\0\x1B\x7F"s);
  CHECK(out == "kept a\\x0ab\\x0d\\x09\\x00\\x1b\\x7f");
  out.clear();
  append_line_safe(out, "\\ \" % \xFF\xC3\xA9\xE2\x80\xAE");
  CHECK(out == "\\ \" % \xFF\xC3\xA9\xE2\x80\xAE");
}

TEST_CASE("a JSON string has its quotes and RFC 8259's escapes") {
  CHECK(json_encoded("") == "\"\"");
  CHECK(json_encoded("a/b c") == "\"a/b c\"");
  CHECK(json_encoded("\"\\\n") == "\"\\\"\\\\\\n\"");
  CHECK(json_encoded("\0\x01\x1F\x7F\t\r"s) == "\"\\u0000\\u0001\\u001f\\u007f\\u0009\\u000d\"");
  CHECK(json_encoded("\xC3\xA9\xF0\x9F\x98\x80") == "\"\xC3\xA9\xF0\x9F\x98\x80\"");
  std::string out = "kept ";
  append_json_string(out, "x");
  CHECK(out == "kept \"x\"");
}

TEST_CASE("a byte that is not UTF-8 becomes Python's escaped surrogate in JSON") {
  CHECK(json_encoded("\x80\xFF") == "\"\\udc80\\udcff\"");
  CHECK(json_encoded("a\xC3(") == "\"a\\udcc3(\"");
  // An encoded surrogate is not UTF-8 either: or two names would have one spelling.
  CHECK(json_encoded("\xED\xB2\x80") == "\"\\udced\\udcb2\\udc80\"");
}

TEST_CASE(
    "any bytes come back from their JSON string, which is valid UTF-8 without control bytes") {
  Random random(3);
  for (int i = 0; i < 200'000; ++i) {
    const std::string text = nasty_bytes(random);
    const std::string json = json_encoded(text);
    if (json_decoded(json) != text || !is_utf8(json) || has_control_byte(json)) {
      FAIL("encoded as ", json);
    }
  }
}

}  // namespace gigafetch
