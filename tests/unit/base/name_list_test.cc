#include "base/name_list.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "base/random.h"

namespace gigafetch {
namespace {

using namespace std::string_literals;

const std::vector<std::string> kNames = {
    "a",  "", "b/c", "\0\xFF\n"s, "", std::string(kMaxNameBytes, 'x'), std::string(300, '\0'),
    "end"};

NameList packed(const std::vector<std::string>& names) {
  NameList list;
  for (const std::string& name : names)
    list.append(name);
  return list;
}

std::vector<std::string> walked(std::string_view bytes) {
  std::vector<std::string> names;
  for (NameCursor cursor(bytes); !cursor.done(); cursor.next())
    names.emplace_back(cursor.name());
  return names;
}

}  // namespace

TEST_CASE("a name is packed behind its length, low byte first") {
  NameList list;
  CHECK(list.empty());
  list.append("ab");
  list.append("");
  list.append(std::string(258, 'x'));
  CHECK(list.bytes() == "\x02\0ab\0\0\x02\x01"s + std::string(258, 'x'));
  CHECK(list.count() == 3);
  CHECK_FALSE(list.empty());
}

TEST_CASE("walking gives the packed names in their order") {
  CHECK(walked(packed(kNames).bytes()) == kNames);
  CHECK(walked("").empty());
}

TEST_CASE("a cursor's rest starts with its current name") {
  const NameList list = packed(kNames);
  NameCursor cursor(list.bytes());
  cursor.next();
  cursor.next();
  CHECK(walked(cursor.rest()) == std::vector<std::string>(kNames.begin() + 2, kNames.end()));
}

TEST_CASE("a cleared list begins again") {
  NameList list = packed({"a"});
  list.clear();
  CHECK(list.count() == 0);
  CHECK(list.bytes().empty());
  list.append("b");
  CHECK(walked(list.bytes()) == std::vector<std::string>{"b"});
}

TEST_CASE("room is made and given back without a change to the names") {
  NameList list = packed({"a", "b"});
  const std::string bytes = list.bytes();
  list.reserve(100'000);
  CHECK(list.bytes() == bytes);
  CHECK(list.bytes().capacity() >= 100'000);
  list.trim();
  CHECK(list.bytes() == bytes);
  CHECK(list.bytes().capacity() < 100);
  CHECK(list.count() == 2);
}

TEST_CASE("a list whose bytes are taken begins again") {
  NameList list = packed({"a", std::string(300, 'x')});
  const std::string bytes = list.bytes();
  CHECK(list.take_bytes() == bytes);
  CHECK(list.empty());
  CHECK(list.bytes().empty());
  list.append("b");
  CHECK(walked(list.bytes()) == std::vector<std::string>{"b"});
}

TEST_CASE("packed names are well formed with their own count only") {
  const NameList list = packed(kNames);
  CHECK(well_formed(list.bytes(), kNames.size()));
  CHECK_FALSE(well_formed(list.bytes(), kNames.size() - 1));
  CHECK_FALSE(well_formed(list.bytes(), kNames.size() + 1));
  CHECK_FALSE(well_formed(list.bytes(), kNames.size() + (uint64_t{1} << 32)));
  CHECK(well_formed("", 0));
  CHECK_FALSE(well_formed("", 1));
}

TEST_CASE("names cut off anywhere are not well formed, but for whole names with their count") {
  const std::string whole = packed(kNames).bytes();
  std::vector<size_t> ends = {0};
  for (const std::string& name : kNames)
    ends.push_back(ends.back() + 2 + name.size());
  size_t boundaries = 0;
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    // A copy of its own size, so that a read behind its end shows under a sanitizer.
    const std::vector<char> bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(cut));
    const std::string_view packed_names(bytes.data(), bytes.size());
    REQUIRE_FALSE(well_formed(packed_names, kNames.size()));
    size_t accepted = 0;
    for (uint64_t count = 0; count < kNames.size(); ++count) {
      if (!well_formed(packed_names, count)) continue;
      ++accepted;
      REQUIRE(ends[count] == cut);
    }
    boundaries += accepted;
  }
  CHECK(boundaries == kNames.size());
}

TEST_CASE("a length over the limit is not well formed") {
  std::string bytes;
  put_le<uint16_t>(bytes, kMaxNameBytes);
  bytes += std::string(kMaxNameBytes, 'x');
  CHECK(well_formed(bytes, 1));
  bytes.clear();
  put_le<uint16_t>(bytes, kMaxNameBytes + 1);
  bytes += std::string(kMaxNameBytes + 1, 'x');
  CHECK_FALSE(well_formed(bytes, 1));
}

TEST_CASE("random bytes that are well formed can be walked to their end") {
  Random random(5);
  size_t accepted = 0;
  for (int i = 0; i < 100'000; ++i) {
    std::vector<char> bytes(random.below(12));
    for (char& c : bytes)
      c = static_cast<char>(random.below(3));
    const std::string_view packed_names(bytes.data(), bytes.size());
    for (uint64_t count = 0; count < 6; ++count) {
      if (!well_formed(packed_names, count)) continue;
      ++accepted;
      REQUIRE(walked(packed_names).size() == count);
    }
  }
  CHECK(accepted > 1'000);
}

}  // namespace gigafetch
