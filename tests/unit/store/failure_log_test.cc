#include "store/failure_log.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

constexpr uint64_t kJob = 0x1122334455667788;

struct Entry {
  std::string name;
  FileFailure failure;
  uint64_t offset = 0;
  uint64_t end = 0;
};

bool same(const FileFailure& a, const FileFailure& b) {
  return a.cause == b.cause && a.status == b.status && a.attempts == b.attempts && a.text == b.text;
}

FileFailure failure(FailureClass cause, std::string text = "why") {
  return FileFailure{cause, 503, 2, std::move(text)};
}

FailureLog created(const TempFolder& state) {
  Result<FailureLog> log = FailureLog::create(state.fd(), kJob);
  REQUIRE(log.ok());
  return std::move(log).value();
}

Result<void> read_into(std::vector<Entry>& entries, const TempFolder& state, uint64_t begin,
                       uint64_t end, uint64_t job = kJob) {
  return read_failures(state.fd(), job, begin, end, [&](const FailureEntry& entry) {
    entries.push_back({std::string(entry.name), entry.failure, entry.offset, entry.end});
    return true;
  });
}

std::vector<Entry> entries_of(const TempFolder& state, uint64_t begin, uint64_t end) {
  std::vector<Entry> entries;
  REQUIRE(read_into(entries, state, begin, end).ok());
  return entries;
}

}  // namespace

TEST_CASE("failures come back as they were added, each with its place") {
  const TempFolder state;
  FailureLog log = created(state);
  const std::vector<Entry> added = {
      {"a/b", {FailureClass::http_status, 404, 1, "the origin answered 404"}},
      {"", {FailureClass::bad_name, 0, 0, ""}},
      {"\0\n\xFF"s, {FailureClass::stalled, 65'535, 65'535, "\0"s}},
      {std::string(4096, 'n'), {FailureClass::store_error, 0, 6, std::string(240, 't')}}};
  for (const Entry& entry : added)
    log.add(entry.name, entry.failure);
  CHECK(fs::file_size(state / "failures") == 0);
  REQUIRE(log.flush().ok());
  CHECK(fs::file_size(state / "failures") == log.size());
  const std::vector<Entry> read = entries_of(state, 0, log.size());
  REQUIRE(read.size() == added.size());
  uint64_t next = 0;
  for (size_t i = 0; i < read.size(); ++i) {
    CHECK(read[i].name == added[i].name);
    CHECK(same(read[i].failure, added[i].failure));
    CHECK(read[i].offset == next);
    next = read[i].end;
  }
  CHECK(next == log.size());
}

TEST_CASE("every class of failure comes back") {
  const TempFolder state;
  FailureLog log = created(state);
  std::vector<FailureClass> causes;
  for (int value = 0; value < 256; ++value) {
    const auto cause = failure_class_of(static_cast<uint8_t>(value));
    if (!cause) continue;
    causes.push_back(*cause);
    log.add("x", failure(*cause));
  }
  REQUIRE(log.flush().ok());
  const std::vector<Entry> read = entries_of(state, 0, log.size());
  REQUIRE(read.size() == causes.size());
  for (size_t i = 0; i < read.size(); ++i)
    CHECK(read[i].failure.cause == causes[i]);
}

TEST_CASE("a part of the log is read from its first entry to its last, or as far as is wanted") {
  const TempFolder state;
  FailureLog log = created(state);
  std::vector<uint64_t> offsets;
  for (int i = 0; i < 5'000; ++i) {
    offsets.push_back(log.size());
    log.add("name" + std::to_string(i), failure(FailureClass::reset, std::string(200, 'x')));
  }
  REQUIRE(log.flush().ok());
  REQUIRE_MESSAGE(log.size() > 1'000'000, "several times what is read at once");
  const std::vector<Entry> read = entries_of(state, offsets[1'234], offsets[4'000]);
  REQUIRE(read.size() == 4'000 - 1'234);
  CHECK(read.front().name == "name1234");
  CHECK(read.back().name == "name3999");
  CHECK(entries_of(state, offsets[7], offsets[7]).empty());
  CHECK(entries_of(state, offsets[7], offsets[3]).empty());
  int seen = 0;
  CHECK(read_failures(state.fd(), kJob, 0, log.size(), [&](const FailureEntry&) {
          return ++seen < 10;
        }).ok());
  CHECK(seen == 10);
}

TEST_CASE("a name may be as long as a page") {
  const TempFolder state;
  FailureLog log = created(state);
  std::vector<std::string> names;
  for (const size_t length : {32u << 10, 200u << 10, 16u << 20, 1u, 300u << 10, 40u << 10})
    names.push_back(std::string(length, 'n') + std::to_string(length));
  for (const std::string& name : names)
    log.add(name, failure(FailureClass::name_too_long));
  REQUIRE(log.flush().ok());
  const std::vector<Entry> read = entries_of(state, 0, log.size());
  REQUIRE(read.size() == names.size());
  for (size_t i = 0; i < names.size(); ++i)
    CHECK(read[i].name == names[i]);
}

TEST_CASE("a log that is opened again is cut to what counts, and goes on there") {
  const TempFolder state;
  uint64_t counts = 0;
  {
    FailureLog log = created(state);
    log.add("a", failure(FailureClass::reset));
    counts = log.size();
    log.add("of a run that died", failure(FailureClass::reset));
    REQUIRE(log.flush().ok());
  }
  Result<FailureLog> again = FailureLog::open(state.fd(), kJob, counts);
  REQUIRE(again.ok());
  CHECK(again->size() == counts);
  CHECK(fs::file_size(state / "failures") == counts);
  again->add("b", failure(FailureClass::reset));
  REQUIRE(again->flush().ok());
  const std::vector<Entry> read = entries_of(state, 0, again->size());
  REQUIRE(read.size() == 2);
  CHECK(read[1].name == "b");
  CHECK(read[1].offset == counts);

  Result<FailureLog> anew = FailureLog::create(state.fd(), kJob + 1);
  REQUIRE(anew.ok());
  CHECK(anew->size() == 0);
  CHECK(fs::file_size(state / "failures") == 0);
}

TEST_CASE("a log that is shorter than what counts is refused, with the place") {
  const TempFolder state;
  FailureLog log = created(state);
  log.add("a", failure(FailureClass::reset));
  REQUIRE(log.flush().ok());
  const Result<FailureLog> opened = FailureLog::open(state.fd(), kJob, log.size() + 1);
  REQUIRE_FALSE(opened.ok());
  CHECK(opened.failure().code == ErrorCode::malformed);
  CHECK(opened.failure().text.find("byte " + std::to_string(log.size())) != std::string::npos);
  std::vector<Entry> read;
  CHECK(read_into(read, state, 0, log.size() + 1).failure().code == ErrorCode::malformed);
}

TEST_CASE("any one bit that is changed is found, and the entry's place told") {
  const TempFolder state;
  FailureLog log = created(state);
  std::vector<uint64_t> ends;
  for (const char* name : {"first", "second", "third"}) {
    log.add(name, failure(FailureClass::http_status));
    ends.push_back(log.size());
  }
  REQUIRE(log.flush().ok());
  const std::string whole = read_file(state / "failures");
  size_t missed = 0;
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    write_file(state / "failures", bytes);
    std::vector<Entry> read;
    const Result<void> result = read_into(read, state, 0, whole.size());
    const size_t hit = bit / 8 < ends[0] ? 0 : bit / 8 < ends[1] ? 1 : 2;
    const uint64_t place = hit == 0 ? 0 : ends[hit - 1];
    const bool found =
        !result && result.failure().code == ErrorCode::malformed && read.size() == hit &&
        result.failure().text.find("byte " + std::to_string(place) + ";") != std::string::npos;
    missed += !found;
  }
  CHECK(missed == 0);
}

TEST_CASE("a log of another job, or one read from between two entries, is refused") {
  const TempFolder state;
  FailureLog log = created(state);
  log.add("a", failure(FailureClass::reset));
  log.add("b", failure(FailureClass::reset));
  REQUIRE(log.flush().ok());
  std::vector<Entry> read;
  CHECK_FALSE(read_into(read, state, 0, log.size(), kJob + 1).ok());
  CHECK_FALSE(read_into(read, state, 1, log.size()).ok());
  CHECK(read.empty());
  CHECK_FALSE(read_into(read, state, 0, log.size() - 1).ok());
  fs::remove(state / "failures");
  CHECK_FALSE(read_into(read, state, 0, log.size()).ok());
  CHECK(read_into(read, state, 0, 0).ok());
}

TEST_CASE("a link at the log's place is refused and not followed") {
  const TempFolder state, outside;
  write_file(outside / "victim", "precious");
  fs::create_symlink(outside / "victim", state / "failures");
  CHECK_FALSE(FailureLog::create(state.fd(), kJob).ok());
  CHECK_FALSE(FailureLog::open(state.fd(), kJob, 0).ok());
  CHECK(read_file(outside / "victim") == "precious");
}

TEST_CASE("an entry that cannot be written is an error") {
  const TempFolder state;
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  FailureLog log = created(state);
  log.add("a", failure(FailureClass::reset));
  CHECK(log.flush().ok());
  REQUIRE(::dup2(full.get(), log.fd()) == log.fd());
  CHECK(log.flush().ok());
  log.add("b", failure(FailureClass::reset));
  const Result<void> written = log.flush();
  REQUIRE_FALSE(written.ok());
  CHECK(written.failure().code == ErrorCode::no_space);
}

}  // namespace gigafetch::store
