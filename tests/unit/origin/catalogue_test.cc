#include "origin/catalogue.h"

#include <doctest/doctest.h>

#include <cstdio>
#include <set>

#include "origin/catalogue_text.h"

using namespace gigafetch;
using namespace gigafetch::testing;
using gigafetch::origin::Catalogue;

namespace {

// The rule of catalogue.h once more, written from its text alone: what a verifier would compute.
constexpr uint64_t kGamma = 0x9E3779B97F4A7C15;
uint64_t mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9;
  x ^= x >> 27;
  x *= 0x94D049BB133111EB;
  return x ^ (x >> 31);
}
std::string expected_name(uint64_t seed, uint64_t index) {
  char name[64];
  std::snprintf(name, sizeof name, "file%010llu-%08llx", static_cast<unsigned long long>(index),
                static_cast<unsigned long long>(mix(seed + (index + 1) * kGamma) >> 32));
  return name;
}
std::string expected_body(uint64_t seed, const std::string& name, size_t size) {
  uint64_t state = 0xCBF29CE484222325;
  for (const char c : name)
    state = (state ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  state ^= mix(seed + kGamma);
  std::string body;
  while (body.size() < size) {
    state += kGamma;
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(mix(state)));
    body += digits;
  }
  return body.substr(0, size);
}

}  // namespace

TEST_CASE("mix is SplitMix64, as published") {
  // The first outputs for the seed 1234567 (Vigna's splitmix64.c).
  CHECK(mix(1234567 + kGamma) == 6457827717110365317u);
  CHECK(mix(1234567 + 2 * kGamma) == 3203168211198807973u);
}

TEST_CASE("names are the index and the tag of the rule, at both ends too") {
  for (const uint64_t seed : {0ul, 1ul, 42ul, UINT64_MAX}) {
    const Catalogue catalogue(Catalogue::kMaxFiles, 100, seed);
    for (const uint64_t index :
         {0ul, 1ul, 9ul, 10ul, 999'999'999ul, 1'000'000'000ul, Catalogue::kMaxFiles - 1}) {
      CHECK(name_of(catalogue, index) == expected_name(seed, index));
      CHECK(catalogue.contains(expected_name(seed, index)));
    }
  }
}

TEST_CASE("a name is appended behind what is there") {
  const Catalogue catalogue(10, 100, 1);
  std::string out = "/get/";
  catalogue.append_name(out, 3);
  CHECK(out == "/get/" + expected_name(1, 3));
  out = "head";
  catalogue.append_body(out, "n", 5);
  CHECK(out == "head" + expected_body(1, "n", 5));
}

TEST_CASE("names are unique") {
  const Catalogue catalogue(100'000, 100, 7);
  std::set<std::string> names;
  for (uint64_t index = 0; index < catalogue.files(); ++index) {
    names.insert(name_of(catalogue, index));
  }
  CHECK(names.size() == 100'000);
}

TEST_CASE("the catalogue holds its files and no others") {
  const Catalogue catalogue(1000, 100, 5);
  for (uint64_t index = 0; index < 1000; ++index)
    CHECK(catalogue.contains(name_of(catalogue, index)));
  CHECK_FALSE(catalogue.contains(expected_name(5, 1000)));
  CHECK_FALSE(catalogue.contains(expected_name(5, 9'999'999'999)));
  for (const char* name :
       {"", "file", "file0000000000", "file0000000000-", "file0000000000-0000000",
        "file0000000000-000000000", "FILE0000000000-00000000"}) {
    CHECK_FALSE(catalogue.contains(name));
  }
  const Catalogue empty(0, 100, 5);
  CHECK_FALSE(empty.contains(expected_name(5, 0)));
}

TEST_CASE("a name with any one character changed, added or missing is no name") {
  const Catalogue catalogue(10'000, 100, 3);
  for (const uint64_t index : {0ul, 77ul, 9'999ul}) {
    const std::string name = name_of(catalogue, index);
    for (size_t at = 0; at < name.size(); ++at) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string changed = name;
        changed[at] = static_cast<char>(byte);
        if (changed != name) CHECK_FALSE(catalogue.contains(changed));
        std::string longer = name;
        longer.insert(at, 1, static_cast<char>(byte));
        CHECK_FALSE(catalogue.contains(longer));
      }
      std::string shorter = name;
      shorter.erase(at, 1);
      CHECK_FALSE(catalogue.contains(shorter));
    }
    CHECK_FALSE(catalogue.contains(name + '0'));
  }
}

TEST_CASE("bodies are those of the rule, whatever the size") {
  for (const uint64_t seed : {0ul, 1ul, 0xDEADBEEFul}) {
    for (const uint64_t size : {0ul, 1ul, 15ul, 16ul, 17ul, 100ul, 1000ul, 65'537ul}) {
      const Catalogue catalogue(100, size, seed);
      for (const uint64_t index : {0ul, 50ul, 99ul}) {
        const std::string name = expected_name(seed, index);
        const std::string body = body_of(catalogue, name);
        CHECK(body.size() == size);
        CHECK(body == expected_body(seed, name, size));
        CHECK(body.find_first_not_of("0123456789abcdef") == std::string::npos);
      }
    }
  }
}

TEST_CASE("the beginning of a body is that of the whole") {
  const Catalogue catalogue(10, 100, 1);
  const std::string whole = body_of(catalogue, "name");
  for (uint64_t bytes = 0; bytes <= 100; ++bytes) {
    std::string part;
    catalogue.append_body(part, "name", bytes);
    CHECK(part == whole.substr(0, bytes));
  }
}

TEST_CASE("different names have different bodies, and different seeds different names and bodies") {
  const Catalogue one(1000, 32, 1), two(1000, 32, 2);
  std::set<std::string> bodies;
  for (uint64_t index = 0; index < 1000; ++index) {
    const std::string name = name_of(one, index);
    bodies.insert(body_of(one, name));
    CHECK(name != name_of(two, index));
    CHECK_FALSE(two.contains(name));
    CHECK(body_of(one, name) != body_of(two, name));
  }
  CHECK(bodies.size() == 1000);
}
