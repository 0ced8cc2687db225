#include "store/partitions.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>

#include "base/byte_order.h"
#include "base/random.h"
#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

// A key, a length in four bytes, and as many letters.
constexpr size_t kHeadBytes = 12;

std::string record(uint64_t key, size_t letters) {
  std::string bytes;
  put_le<uint64_t>(bytes, key);
  put_le<uint32_t>(bytes, static_cast<uint32_t>(letters));
  return bytes.append(letters, static_cast<char>('a' + key % 26));
}

size_t record_size(std::string_view bytes) {
  if (bytes.size() < kHeadBytes) return 0;
  const size_t size = kHeadBytes + get_le<uint32_t>(bytes.data() + 8);
  return bytes.size() < size ? 0 : size;
}

Partitions created(const TempFolder& folder, Partitions::RecordSize size = record_size) {
  Result<Partitions> made = Partitions::create(folder.fd(), size);
  REQUIRE(made.ok());
  return std::move(made).value();
}

struct Given {
  std::map<uint64_t, size_t> records;  // by key
  size_t largest = 0;                  // part, in bytes
  size_t parts = 0;                    // that are not empty
};

// All that is given away, seen to be whole and in order.
Given given(Partitions& partitions) {
  Given all;
  uint64_t next = 0;  // no key of a part is below those of the one before
  Result<void> done = partitions.finish([&](const std::string& part) {
    all.largest = std::max(all.largest, part.size());
    all.parts += !part.empty();
    uint64_t highest = next;
    for (std::string_view rest = part; !rest.empty();) {
      const size_t size = record_size(rest);
      REQUIRE(size > 0);
      const uint64_t key = get_le<uint64_t>(rest.data());
      REQUIRE(rest.substr(0, size) == record(key, size - kHeadBytes));
      REQUIRE(key >= next);
      highest = std::max(highest, key);
      ++all.records[key];
      rest.remove_prefix(size);
    }
    if (!part.empty()) next = highest + 1;
    return Result<void>();
  });
  REQUIRE(done.ok());
  return all;
}

}  // namespace

TEST_CASE("nothing is given away of nothing") {
  const TempFolder folder;
  Partitions partitions = created(folder);
  CHECK(given(partitions).records.empty());
}

TEST_CASE("every record is given away once, whole, in parts by ascending keys") {
  const TempFolder folder;
  Partitions partitions = created(folder);
  Random random(3);
  std::map<uint64_t, size_t> added;
  for (int i = 0; i < 20'000; ++i) {
    const uint64_t key = i % 3 == 0 && !added.empty() ? added.begin()->first : random.next();
    ++added[key];
    REQUIRE(partitions.add(record(key, random.below(50))).ok());
  }
  const Given all = given(partitions);
  CHECK((all.records == added));
  CHECK(all.parts == 64);
}

TEST_CASE("what does not fit into memory is divided until it does, but for one key") {
  const TempFolder folder;
  constexpr size_t kLetters = 100'000;  // 150 records of them are more than a part may have
  Partitions partitions = created(folder);
  std::map<uint64_t, size_t> added;
  const auto add = [&](uint64_t key, size_t times) {
    added[key] += times;
    for (size_t i = 0; i < times; ++i)
      REQUIRE(partitions.add(record(key, kLetters)).ok());
  };
  // Alike in the first 6, 30 and 54 bits.
  for (const unsigned alike : {6u, 30u, 54u})
    for (uint64_t i = 0; i < 64; ++i)
      add(uint64_t{1} << (64 - alike) | i << (58 - alike), 3);
  Given all = given(partitions);
  CHECK((all.records == added));
  CHECK(all.largest <= Partitions::kMaxPartBytes);

  partitions = created(folder);
  added.clear();
  add(7, 150);
  add(uint64_t{7} << 32, 2);
  all = given(partitions);
  CHECK((all.records == added));
  CHECK(all.largest == 150 * (kHeadBytes + kLetters));
}

TEST_CASE("what other processes have added is given away too") {
  const TempFolder folder;
  Partitions partitions = created(folder);
  for (uint64_t child = 0; child < 3; ++child) {
    CHECK(in_child([&] {
            Random random(child);
            for (int i = 0; i < 30'000; ++i)
              if (!partitions.add(record(random.next(), 20)).ok()) return 1;
            return partitions.flush().ok() ? 0 : 1;
          }) == 0);
  }
  REQUIRE(partitions.add(record(5, 0)).ok());
  CHECK(given(partitions).records.size() == 90'001);
}

TEST_CASE("its files have no names, and go as they are given away") {
  const TempFolder folder;
  const size_t before = open_descriptors();
  Partitions partitions = created(folder);
  REQUIRE(partitions.add(record(1, 1)).ok());
  REQUIRE(partitions.flush().ok());
  CHECK(std::filesystem::is_empty(folder.path()));
  CHECK(open_descriptors() == before + 64);
  given(partitions);
  CHECK(open_descriptors() == before);
}

TEST_CASE("an error of who takes them ends it, and so do bytes that are no record") {
  const TempFolder folder;
  Partitions partitions = created(folder);
  REQUIRE(partitions.add(record(1, 1)).ok());
  int calls = 0;
  const Result<void> refused = partitions.finish([&](const std::string&) -> Result<void> {
    ++calls;
    return error(ErrorCode::refused, "no");
  });
  CHECK(calls == 1);
  CHECK(refused.failure().text == "no");

  // Only what is divided again is looked at.
  partitions = created(
      folder, [](std::string_view bytes) { return bytes[8] == 'x' ? size_t{0} : bytes.size(); });
  REQUIRE(partitions.add(std::string(8, '\0') + 'x' + std::string(7 << 20, 'y')).ok());
  const Result<void> spoilt = partitions.finish([](const std::string&) { return Result<void>(); });
  CHECK(spoilt.failure().code == ErrorCode::malformed);
  CHECK_FALSE(Partitions::create(-1, record_size).ok());
}

}  // namespace gigafetch::store
