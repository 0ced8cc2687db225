#include "store/ledger.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

const JobIdentity kJob = {"http://example.org/api", "marker", "files", "tree",
                          {"*.jpg", "a b"},         {"tmp/*"}};

JobIdentity written_and_read(const JobIdentity& job) {
  const TempFolder state;
  REQUIRE(write_ledger(state.fd(), job).ok());
  const Result<std::optional<JobIdentity>> read = read_ledger(state.fd());
  REQUIRE(read.ok());
  REQUIRE(read.value().has_value());
  return *read.value();
}

// Whether the ledger with these bytes is refused as damaged.
bool is_refused(const TempFolder& state, const std::string& bytes) {
  fs::remove(state / "ledger");  // a file cut and written again may be synced at its close
  write_file(state / "ledger", bytes);
  const Result<std::optional<JobIdentity>> read = read_ledger(state.fd());
  return !read.ok() && read.failure().code == ErrorCode::malformed;
}

}  // namespace

TEST_CASE("an identity comes back as it was written") {
  CHECK(written_and_read(kJob) == kJob);
  CHECK(written_and_read(JobIdentity{}) == JobIdentity{});
  JobIdentity odd;
  odd.url = "\0\n\xFF"s;
  odd.include = {"", "0", "a\0b"s, std::string(70'000, 'x')};
  CHECK(written_and_read(odd) == odd);
  odd.exclude = odd.include;
  odd.include.clear();
  CHECK(written_and_read(odd) == odd);
}

TEST_CASE("the ledger's first bytes are those that are documented") {
  const TempFolder state;
  REQUIRE(write_ledger(state.fd(), JobIdentity{"u", "a", "s", "l", {"i"}, {}, "/o"}).ok());
  const std::string payload =
      "\1\0\0\0u\1\0\0\0a\1\0\0\0s\1\0\0\0l\2\0\0\0/o\1\0\0\0"
      "1\1\0\0\0i"s;
  const std::string start =
      "GFLEDGER\1\0\0\0"s + static_cast<char>(payload.size()) + "\0\0\0\1\0\0\0"s + payload;
  const std::string bytes = read_file(state / "ledger");
  REQUIRE(bytes.size() == start.size() + 8);
  CHECK(bytes.substr(0, start.size()) == start);
}

TEST_CASE("a state folder without a ledger has none") {
  const TempFolder state;
  const Result<std::optional<JobIdentity>> read = read_ledger(state.fd());
  REQUIRE(read.ok());
  CHECK_FALSE(read.value().has_value());
}

TEST_CASE("a new ledger replaces the old one, and leaves nothing beside it") {
  const TempFolder state;
  write_file(state / "ledger.new", std::string(10'000, 'x'));
  REQUIRE(write_ledger(state.fd(), JobIdentity{}).ok());
  REQUIRE(write_ledger(state.fd(), kJob).ok());
  CHECK(*read_ledger(state.fd()).value() == kJob);
  CHECK(std::distance(fs::directory_iterator(state.path()), {}) == 1);
}

TEST_CASE("a ledger with any one bit changed is refused") {
  const TempFolder state;
  REQUIRE(write_ledger(state.fd(), kJob).ok());
  const std::string whole = read_file(state / "ledger");
  size_t accepted = 0;
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    accepted += !is_refused(state, bytes);
  }
  CHECK(accepted == 0);
  CHECK_FALSE(is_refused(state, whole));
}

TEST_CASE("a ledger cut off anywhere, or with bytes behind it, is refused") {
  const TempFolder state;
  REQUIRE(write_ledger(state.fd(), kJob).ok());
  const std::string whole = read_file(state / "ledger");
  size_t accepted = 0;
  for (size_t size = 0; size < whole.size(); ++size)
    accepted += !is_refused(state, whole.substr(0, size));
  CHECK(accepted == 0);
  CHECK(is_refused(state, whole + '\0'));
  CHECK(is_refused(state, whole + whole));
}

TEST_CASE("a damaged ledger names the place, one of another format the format") {
  const TempFolder state;
  REQUIRE(write_ledger(state.fd(), kJob).ok());
  std::string bytes = read_file(state / "ledger");
  write_file(state / "ledger", bytes.substr(0, bytes.size() - 1));
  CHECK(read_ledger(state.fd()).failure().text.find("byte 12") != std::string::npos);
  write_file(state / "ledger", "x" + bytes);
  CHECK(read_ledger(state.fd()).failure().text.find("byte 0") != std::string::npos);
  bytes[8] = 7;
  write_file(state / "ledger", bytes);
  CHECK(read_ledger(state.fd()).failure().text.find("format 7") != std::string::npos);
}

TEST_CASE("a ledger that is a link or a folder is refused") {
  const TempFolder state, outside;
  REQUIRE(write_ledger(outside.fd(), kJob).ok());
  fs::create_symlink(outside / "ledger", state / "ledger");
  CHECK_FALSE(read_ledger(state.fd()).ok());
  fs::remove(state / "ledger");
  fs::create_directory(state / "ledger");
  CHECK_FALSE(read_ledger(state.fd()).ok());
  CHECK_FALSE(write_ledger(state.fd(), kJob).ok());
}

TEST_CASE("a link at the new ledger's place is not followed") {
  const TempFolder state, outside;
  write_file(outside / "victim", "precious");
  fs::create_symlink(outside / "victim", state / "ledger.new");
  CHECK_FALSE(write_ledger(state.fd(), kJob).ok());
  CHECK(read_file(outside / "victim") == "precious");
}

TEST_CASE("the difference between two jobs names the field, its old and its new value") {
  const auto changed = [](auto change) {
    JobIdentity job = kJob;
    change(job);
    return difference(kJob, job);
  };
  CHECK(difference(kJob, kJob) == "");
  CHECK(changed([](JobIdentity& job) { job.url = "http://other"; }) ==
        "the URL was 'http://example.org/api', now it is 'http://other'");
  CHECK(changed([](JobIdentity& job) { job.api = "s3"; }) == "--api was 'marker', now it is 's3'");
  CHECK(changed([](JobIdentity& job) { job.sink = "tar"; }) ==
        "--sink was 'files', now it is 'tar'");
  CHECK(changed([](JobIdentity& job) { job.layout = "flat"; }) ==
        "--layout was 'tree', now it is 'flat'");
  CHECK(changed([](JobIdentity& job) { job.include = {"*.png"}; }).starts_with("--include was "));
  const std::string exclude = changed([](JobIdentity& job) { job.exclude.clear(); });
  CHECK(exclude.starts_with("--exclude was "));
  CHECK(exclude.find("tmp/*") != std::string::npos);
  CHECK(changed([](JobIdentity& job) { job.url = "\x1B"; }).find('\x1B') == std::string::npos);
}

TEST_CASE("two jobs that differ in any way have a difference") {
  using Globs = std::vector<std::string>;
  const std::vector<Globs> lists = {{},         {""},           {"none"}, {"a b"},    {"a", "b"},
                                    {"b", "a"}, {"a", "b", ""}, {"a"},    {"a", "a"}, {"", ""}};
  for (const Globs& recorded : lists) {
    for (const Globs& wanted : lists) {
      CAPTURE(&recorded - lists.data());
      CAPTURE(&wanted - lists.data());
      JobIdentity one = kJob, other = kJob;
      one.include = recorded;
      other.include = wanted;
      CHECK(difference(one, other).empty() == (one == other));
      one = other = kJob;
      one.exclude = recorded;
      other.exclude = wanted;
      CHECK(difference(one, other).empty() == (one == other));
    }
  }
}

}  // namespace gigafetch::store
