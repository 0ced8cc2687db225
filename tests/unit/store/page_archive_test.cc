#include "store/page_archive.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "base/random.h"
#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kJob = 77;

DonePage random_page(Random& random, uint64_t number) {
  const auto some = [&] { return random.next() >> random.below(64); };
  DonePage page;
  page.number = number;
  page.listed = some();
  page.names = static_cast<uint32_t>(some());
  page.duplicates = some();
  page.rejected = some();
  page.filtered = some();
  page.failed = static_cast<uint32_t>(some());
  page.stored = static_cast<uint32_t>(some());
  page.bytes = some();
  page.names_hash = {random.next(), random.next()};
  page.content = {random.next(), random.next()};
  return page;
}

std::vector<DonePage> random_pages(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<DonePage> pages;
  for (size_t i = 0; i < count; ++i)
    pages.push_back(random_page(random, i));
  return pages;
}

Result<void> read_into(std::vector<DonePage>& pages, const TempFolder& state, uint64_t size,
                       uint64_t job = kJob) {
  return read_archive(state.fd(), job, size, [&](const DonePage& page) { pages.push_back(page); });
}

}  // namespace

TEST_CASE("pages come back in order, over several writings") {
  const TempFolder state;
  std::vector<DonePage> expected;
  uint64_t size = 0;
  for (uint64_t part = 0; part < 5; ++part) {
    const std::vector<DonePage> pages = random_pages(2'000, part);
    const std::string records = archive_records(pages, size, kJob);
    REQUIRE(append_to_archive(state.fd(), size, records).ok());
    size += records.size();
    CHECK(fs::file_size(state / "pages") == size);
    expected.insert(expected.end(), pages.begin(), pages.end());
  }
  std::vector<DonePage> read;
  REQUIRE(read_into(read, state, size).ok());
  CHECK(read == expected);
}

TEST_CASE("an archive of no size is empty, whatever is there") {
  const TempFolder state;
  std::vector<DonePage> read;
  CHECK(read_into(read, state, 0).ok());
  CHECK(archive_records({}, 0, kJob).empty());
  REQUIRE(append_to_archive(state.fd(), 0, "").ok());
  CHECK(fs::file_size(state / "pages") == 0);
  CHECK(read_into(read, state, 0).ok());
  CHECK(read.empty());
}

TEST_CASE("what a run that died has left behind the archive's end is written over") {
  const TempFolder state;
  const std::vector<DonePage> kept = random_pages(3, 1), lost = random_pages(50, 2),
                              added = random_pages(2, 3);
  const std::string first = archive_records(kept, 0, kJob);
  REQUIRE(append_to_archive(state.fd(), 0, first).ok());
  REQUIRE(
      append_to_archive(state.fd(), first.size(), archive_records(lost, first.size(), kJob)).ok());
  const std::string second = archive_records(added, first.size(), kJob);
  REQUIRE(append_to_archive(state.fd(), first.size(), second).ok());
  CHECK(read_file(state / "pages") == first + second);
  std::vector<DonePage> read;
  REQUIRE(read_into(read, state, first.size() + second.size()).ok());
  CHECK(read.size() == 5);
  CHECK(read.back() == added.back());
}

TEST_CASE("an archive that is damaged anywhere, too short, or of another job is refused") {
  const TempFolder state;
  const std::string whole = archive_records(random_pages(4, 9), 0, kJob);
  size_t missed = 0;
  std::vector<DonePage> read;
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    write_file(state / "pages", bytes);
    const Result<void> result = read_into(read, state, whole.size());
    missed += result.ok() || result.failure().code != ErrorCode::malformed ||
              result.failure().text.find("byte ") == std::string::npos;
  }
  CHECK(missed == 0);
  write_file(state / "pages", whole.substr(0, whole.size() - 1));
  CHECK_FALSE(read_into(read, state, whole.size()).ok());
  write_file(state / "pages", whole);
  CHECK_FALSE(read_into(read, state, whole.size() - 1).ok());
  CHECK_FALSE(read_into(read, state, whole.size(), kJob + 1).ok());
  CHECK(read_into(read, state, whole.size()).ok());
  fs::remove(state / "pages");
  CHECK_FALSE(read_into(read, state, whole.size()).ok());
}

TEST_CASE("a link at the archive's place is refused and not followed") {
  const TempFolder state, outside;
  write_file(outside / "victim", "precious");
  fs::create_symlink(outside / "victim", state / "pages");
  CHECK_FALSE(append_to_archive(state.fd(), 0, "x").ok());
  std::vector<DonePage> read;
  CHECK_FALSE(read_into(read, state, 8).ok());
  CHECK(read_file(outside / "victim") == "precious");
}

}  // namespace gigafetch::store
