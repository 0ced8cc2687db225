#include "store/dead_letters.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

FileFailure failure(FailureClass cause, uint16_t status, uint16_t attempts, std::string text) {
  return FileFailure{cause, status, attempts, std::move(text)};
}

DeadLetters created(const TempFolder& state, std::string_view file = "failed.jsonl") {
  Result<DeadLetters> letters = DeadLetters::create(state.fd(), file);
  REQUIRE(letters.ok());
  return std::move(letters).value();
}

}  // namespace

TEST_CASE("a failure is one line of JSON") {
  const TempFolder state;
  DeadLetters letters = created(state);
  CHECK(letters.add("a/b", failure(FailureClass::http_status, 404, 1, "the origin answered 404"))
            .ok());
  CHECK(letters.add("", failure(FailureClass::bad_name, 0, 0, "")).ok());
  CHECK(letters.add("c", failure(FailureClass::stalled, 65'535, 65'535, "x")).ok());
  CHECK(letters.flush().ok());
  CHECK(read_file(state / "failed.jsonl") ==
        "{\"name\":\"a/b\",\"class\":\"http-status\",\"status\":404,\"attempts\":1,\"error\":\"the "
        "origin answered 404\"}\n"
        "{\"name\":\"\",\"class\":\"bad-name\",\"status\":0,\"attempts\":0,\"error\":\"\"}\n"
        "{\"name\":\"c\",\"class\":\"stalled\",\"status\":65535,\"attempts\":65535,\"error\":\"x\"}"
        "\n");
}

TEST_CASE("nasty names and texts stay inside their strings") {
  const TempFolder state;
  DeadLetters letters = created(state);
  CHECK(letters
            .add("\",\"x\":\"\n\\\0\x1B\x7F\xFF\xC3\xA9{}%"s,
                 failure(FailureClass::reset, 0, 2, "\"}\n{\"name\":\"forged\"}\r"))
            .ok());
  CHECK(letters.flush().ok());
  CHECK(read_file(state / "failed.jsonl") ==
        "{\"name\":\"\\\",\\\"x\\\":\\\"\\n\\\\\\u0000\\u001b\\u007f\\udcff\xC3\xA9{}%\",\"class\":"
        "\"reset\",\"status\":0,"
        "\"attempts\":2,\"error\":\"\\\"}\\n{\\\"name\\\":\\\"forged\\\"}\\u000d\"}\n");
}

TEST_CASE("lines are on disk after a flush, and soon without one when they are many") {
  const TempFolder state;
  DeadLetters letters = created(state);
  CHECK(letters.flush().ok());
  CHECK(read_file(state / "failed.jsonl") == "");
  size_t lines = 0;
  while (fs::file_size(state / "failed.jsonl") == 0 && lines < 10'000) {
    REQUIRE(letters.add("name", failure(FailureClass::reset, 0, 1, "text")).ok());
    ++lines;
  }
  CHECK(lines < 2'000);
  CHECK(letters.add("last", failure(FailureClass::reset, 0, 1, "text")).ok());
  CHECK(letters.flush().ok());
  CHECK(letters.flush().ok());
  const std::string all = read_file(state / "failed.jsonl");
  CHECK(static_cast<size_t>(std::count(all.begin(), all.end(), '\n')) == lines + 1);
  CHECK(all.find("\"last\"") != std::string::npos);
}

TEST_CASE("a file of an earlier run starts anew, for its owner alone") {
  const TempFolder state;
  write_file(state / "failed.jsonl", "old\n");
  const mode_t before = ::umask(0);
  created(state);
  created(state, "verify.jsonl");
  ::umask(before);
  CHECK(read_file(state / "failed.jsonl") == "");
  struct stat there;
  REQUIRE(::stat((state / "verify.jsonl").c_str(), &there) == 0);
  CHECK((there.st_mode & 07777) == 0600);
}

TEST_CASE("a link at the file's place is refused and not followed") {
  const TempFolder state, outside;
  write_file(outside / "victim", "precious");
  fs::create_symlink(outside / "victim", state / "failed.jsonl");
  CHECK_FALSE(DeadLetters::create(state.fd(), "failed.jsonl").ok());
  CHECK(read_file(outside / "victim") == "precious");
}

TEST_CASE("a failure that cannot be recorded is an error") {
  const TempFolder folder;
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  Result<DeadLetters> letters = DeadLetters::create(folder.fd(), "failed.jsonl");
  REQUIRE(letters.ok());
  struct stat wanted, there;
  REQUIRE(::stat((folder / "failed.jsonl").c_str(), &wanted) == 0);
  for (int fd = 3; fd < 256; ++fd) {
    if (::fstat(fd, &there) == 0 && there.st_ino == wanted.st_ino && there.st_dev == wanted.st_dev)
      REQUIRE(::dup2(full.get(), fd) == fd);
  }
  CHECK(letters->add("a", failure(FailureClass::reset, 0, 1, "text")).ok());
  const Result<void> flushed = letters->flush();
  REQUIRE_FALSE(flushed.ok());
  CHECK(flushed.failure().code == ErrorCode::no_space);
  const Result<void> added =
      letters->add(std::string(70'000, 'x'), failure(FailureClass::reset, 0, 1, "text"));
  CHECK_FALSE(added.ok());
}

}  // namespace gigafetch::store
