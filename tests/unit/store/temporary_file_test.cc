#include "store/temporary_file.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <string>

#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

TemporaryFile created(const TempFolder& folder) {
  Result<TemporaryFile> made = TemporaryFile::create(folder.fd());
  REQUIRE(made.ok());
  return std::move(made).value();
}

// No file of this process may have more bytes; without the signal that would end it.
void limit_files(rlim_t bytes) {
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{bytes, RLIM_INFINITY};
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

}  // namespace

TEST_CASE("what was appended is read where it stands, and no further") {
  const TempFolder folder;
  TemporaryFile file = created(folder);
  REQUIRE(file.append("abc").ok());
  REQUIRE(file.append("").ok());
  REQUIRE(file.append("defg").ok());
  CHECK(file.size().value() == 7);
  std::array<char, 4> four{};
  REQUIRE(file.read(2, four).ok());
  CHECK(std::string(four.data(), four.size()) == "cdef");
  const Result<void> beyond = file.read(4, four);
  REQUIRE_FALSE(beyond.ok());
  CHECK(beyond.failure().code == ErrorCode::io);
  CHECK(file.read(7, {}).ok());
}

TEST_CASE("it has no name, and is gone when it is closed") {
  const TempFolder folder;
  const size_t before = open_descriptors();
  TemporaryFile file = created(folder);
  REQUIRE(file.append("x").ok());
  CHECK(std::filesystem::is_empty(folder.path()));
  CHECK(open_descriptors() == before + 1);
  file.close();
  CHECK(open_descriptors() == before);
  CHECK_FALSE(file.append("x").ok());
}

TEST_CASE("what other processes append is there, each call's bytes together") {
  const TempFolder folder;
  TemporaryFile file = created(folder);
  constexpr size_t kBytes = 40'000;
  constexpr int kCalls = 50;
  for (const char letter : {'a', 'b'}) {
    const auto append_all = [&] {
      for (int i = 0; i < kCalls; ++i)
        if (!file.append(std::string(kBytes, letter)).ok()) return 1;
      return 0;
    };
    REQUIRE(in_child(append_all) == 0);
  }
  REQUIRE(file.size().value() == 2 * kCalls * kBytes);
  std::string piece(kBytes, '\0');
  for (size_t i = 0; i < 2 * kCalls; ++i) {
    REQUIRE(file.read(i * kBytes, piece).ok());
    CHECK(piece == std::string(kBytes, piece[0]));
  }
}

TEST_CASE("a file that cannot be made or written is an error that says why") {
  const Result<TemporaryFile> nowhere = TemporaryFile::create(-1);
  REQUIRE_FALSE(nowhere.ok());
  CHECK(nowhere.failure().text.find("Bad file descriptor") != std::string::npos);
  const TempFolder folder;
  TemporaryFile file = created(folder);
  // Where a part fits, and where nothing does.
  CHECK(in_child([&] {
          limit_files(100);
          const Result<void> part = file.append(std::string(150, 'x'));
          const Result<void> none = file.append("y");
          const auto is_told = [](const Result<void>& appended) {
            return !appended.ok() && appended.failure().code != ErrorCode::no_space &&
                   appended.failure().text.find("File too large") != std::string::npos;
          };
          return !is_told(part) || !is_told(none);
        }) == 0);
}

}  // namespace gigafetch::store
