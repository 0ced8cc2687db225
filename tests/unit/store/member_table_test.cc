#include "store/member_table.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "base/random.h"
#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

MemberTableBuilder created(const TempFolder& folder) {
  Result<MemberTableBuilder> made = MemberTableBuilder::create(folder.fd());
  REQUIRE(made.ok());
  return std::move(made).value();
}

std::unique_ptr<const MemberTable> finished(MemberTableBuilder& builder) {
  auto table = builder.finish({}, std::nullopt);
  REQUIRE(table.ok());
  return std::move(table).value();
}

// Offsets of what is found.
std::vector<uint64_t> found(const MemberTable& table, const Hash128& name) {
  const auto spots = table.find(name);
  REQUIRE(spots.ok());
  std::vector<uint64_t> offsets;
  for (const MemberSpot& spot : spots.value())
    offsets.push_back(spot.place.offset);
  return offsets;
}

using Offsets = std::vector<uint64_t>;

}  // namespace

TEST_CASE("each name is found where it stands, and no other name is") {
  for (const uint64_t names : {0u, 1u, 300u, 40'000u}) {
    const TempFolder folder;
    MemberTableBuilder builder = created(folder);
    for (uint64_t i = 0; i < names; ++i) {
      const MemberSpot spot{static_cast<uint32_t>(i % 7), {i, 512 * (i % 3)}};
      REQUIRE(builder.add(hash_of_name(std::to_string(i)), spot).ok());
    }
    const auto table = finished(builder);
    CHECK(std::filesystem::is_empty(folder.path()));
    for (uint64_t i = 0; i < names; ++i) {
      const auto spots = table->find(hash_of_name(std::to_string(i)));
      REQUIRE(spots.ok());
      REQUIRE(spots.value().size() == 1);
      CHECK(spots.value()[0].shard == i % 7);
      CHECK(spots.value()[0].place == MemberPlace{i, 512 * (i % 3)});
    }
    for (int i = 0; i < 500; ++i)
      CHECK(found(*table, hash_of_name("other" + std::to_string(i))).empty());
  }
}

TEST_CASE("many names with the same first bits are searched, however they are spread") {
  const TempFolder folder;
  MemberTableBuilder builder = created(folder);
  Random random(5);
  const uint64_t prefix = uint64_t{0xABCD} << 48;
  std::vector<uint64_t> hashes;
  for (int i = 0; i < 30'000; ++i) {
    // Half of them evenly, half of them close together.
    const uint64_t low = i % 2 == 0 ? random.next() >> 16 : 1'000'000 + random.below(1'000'000'000);
    hashes.push_back(prefix | low);
    REQUIRE(builder.add({hashes.back(), 0}, {0, {hashes.back() & 0xFFFFFF, 0}}).ok());
  }
  const auto table = finished(builder);
  for (const uint64_t hash : hashes) {
    const Offsets offsets = found(*table, {hash, 0});
    REQUIRE_FALSE(offsets.empty());
    CHECK(offsets[0] == (hash & 0xFFFFFF));
  }
  CHECK(found(*table, {prefix, 0}).empty());
  CHECK(found(*table, {prefix | 0xFFFFFFFFFFFF, 0}).empty());
  CHECK(found(*table, {0, 0}).empty());
  CHECK(found(*table, {UINT64_MAX, 0}).empty());
}

TEST_CASE("all members of a name are found, in the order of the shards") {
  const TempFolder folder;
  MemberTableBuilder builder = created(folder);
  const Hash128 name = hash_of_name("a");
  for (uint64_t i = 1'000; i-- > 0;)
    REQUIRE(builder.add(name, {static_cast<uint32_t>(i / 100), {i, 0}}).ok());
  const Offsets offsets = found(*finished(builder), name);
  REQUIRE(offsets.size() == 1'000);
  for (uint64_t i = 0; i < 1'000; ++i)
    CHECK(offsets[i] == i);
}

TEST_CASE("what does not fit into memory is sorted all the same") {
  const TempFolder folder;
  MemberTableBuilder builder = created(folder);
  // All of one 64th of the hashes: 600,000 are 14 MB.
  for (uint64_t i = 0; i < 600'000; ++i) {
    const uint64_t hash = hash_of_name(std::to_string(i)).low >> 6;
    REQUIRE(builder.add({hash, 0}, {0, {i, 0}}).ok());
  }
  const auto table = finished(builder);
  for (uint64_t i = 0; i < 600'000; i += 1'001)
    CHECK(found(*table, {hash_of_name(std::to_string(i)).low >> 6, 0}) == Offsets{i});
}

TEST_CASE("a folder that takes no files is an error") {
  CHECK_FALSE(MemberTableBuilder::create(-1).ok());
}

}  // namespace gigafetch::store
