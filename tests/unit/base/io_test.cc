#include "base/io.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <thread>

#include "base/random.h"
#include "base/temp_folder.h"
#include "base/unique_fd.h"

namespace gigafetch {
namespace {

struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
  }
  UniqueFd read_end, write_end;
};

std::string random_bytes(size_t size) {
  Random random(4);
  std::string bytes(size, '\0');
  for (char& c : bytes)
    c = static_cast<char>(random.next());
  return bytes;
}

void on_signal(int) {}

}  // namespace

TEST_CASE("more than a pipe holds is written whole, signals or not") {
  struct sigaction interrupt {};
  interrupt.sa_handler = on_signal;  // without SA_RESTART: write(2) returns early
  struct sigaction before {};
  REQUIRE(::sigaction(SIGUSR1, &interrupt, &before) == 0);
  const std::string bytes = random_bytes(3'000'000);
  std::string received;
  Pipe pipe;
  std::thread reader([&, writer = ::pthread_self()] {
    char chunk[7'001];
    for (;;) {
      const ssize_t got = ::read(pipe.read_end.get(), chunk, sizeof chunk);
      if (got <= 0) break;
      received.append(chunk, static_cast<size_t>(got));
      ::pthread_kill(writer, SIGUSR1);
    }
  });
  const int failed = write_all(pipe.write_end.get(), bytes);
  pipe.write_end.reset();
  reader.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  CHECK(failed == 0);
  CHECK((received == bytes));
}

TEST_CASE("a write that fails gives its errno") {
  CHECK(write_all(-1, "x") == EBADF);
  CHECK(write_all(-1, "") == 0);
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  REQUIRE(full);
  CHECK(write_all(full.get(), "x") == ENOSPC);
}

TEST_CASE("a pipe is read to its end") {
  const std::string bytes = random_bytes(40'000);
  Pipe pipe;
  REQUIRE(write_all(pipe.write_end.get(), bytes) == 0);
  pipe.write_end.reset();
  const Result<std::string> read = read_to_end(pipe.read_end.get(), bytes.size(), "the pipe");
  REQUIRE(read.ok());
  CHECK((read.value() == bytes));
}

TEST_CASE("a file is read from the descriptor's position") {
  const TempFolder folder;
  write_file(folder / "f", "0123456789");
  const UniqueFd fd(::open((folder / "f").c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(::lseek(fd.get(), 4, SEEK_SET) == 4);
  const Result<std::string> read = read_to_end(fd.get(), 100, "the file");
  REQUIRE(read.ok());
  CHECK(read.value() == "456789");
}

TEST_CASE("a file as long as the limit is read, one byte more is refused") {
  const TempFolder folder;
  for (const size_t limit : {size_t{0}, size_t{1}, size_t{16 * 1024}, size_t{50'000}}) {
    CAPTURE(limit);
    write_file(folder / "fits", std::string(limit, 'a'));
    write_file(folder / "over", std::string(limit + 1, 'a'));
    const UniqueFd fits(::open((folder / "fits").c_str(), O_RDONLY | O_CLOEXEC));
    const UniqueFd over(::open((folder / "over").c_str(), O_RDONLY | O_CLOEXEC));
    const Result<std::string> read = read_to_end(fits.get(), limit, "the file");
    REQUIRE(read.ok());
    CHECK(read.value().size() == limit);
    const Result<std::string> refused = read_to_end(over.get(), limit, "the ledger");
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.failure().code == ErrorCode::too_large);
    CHECK(refused.failure().text.find("the ledger") != std::string::npos);
  }
}

TEST_CASE("a read that fails says what could not be read") {
  const TempFolder folder;
  const Result<std::string> read = read_to_end(folder.fd(), 100, "the folder");
  REQUIRE_FALSE(read.ok());
  CHECK(read.failure().code == ErrorCode::io);
  CHECK(read.failure().text.find("cannot read the folder") != std::string::npos);
}

}  // namespace gigafetch
