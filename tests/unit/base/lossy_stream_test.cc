#include "base/lossy_stream.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>

#include "base/stuck_reader.h"
#include "base/temp_folder.h"

namespace gigafetch {
namespace {

constexpr char kOneLost[] =
    "gigafetch: a line of log was lost here (worker 3): standard error did not take more\n";

}  // namespace

TEST_CASE("what is written to a reader that reads is there") {
  const Pipe pipe;
  LossyStream stream(pipe.in.get(), "worker 3");
  stream.write("one\n");
  stream.show("\rtwo");
  CHECK(pipe.read() == "one\n\rtwo");
  CHECK_FALSE(stream.waits());
}

TEST_CASE("what is not taken at once waits for the next write or flush") {
  const Pipe pipe;
  LossyStream stream(pipe.in.get(), "worker 3");
  pipe.fill();
  stream.write("one\n");
  stream.write("two\n");
  CHECK(stream.waits());
  pipe.read();
  stream.write("three\n");
  CHECK(pipe.read() == "one\ntwo\nthree\n");
  pipe.fill();
  stream.write("four\n");
  pipe.read();
  stream.flush();
  CHECK(pipe.read() == "four\n");
  CHECK_FALSE(stream.waits());
}

TEST_CASE("when too much waits the oldest lines are lost, and counted where they stood") {
  const Pipe pipe;
  LossyStream stream(pipe.in.get(), "worker 3");
  pipe.fill();
  const size_t fit = LossyStream::kMostWaiting / 1000;
  for (size_t i = 0; i < fit + 12; ++i)
    stream.write(std::string(999, static_cast<char>('a' + i % 26)) + "\n");
  pipe.read();
  stream.drain(Millis(0));
  std::string told = pipe.read();
  while (stream.waits()) {
    stream.flush();
    told += pipe.read();
  }
  CHECK(told.starts_with("gigafetch: 12 lines of log were lost here (worker 3)"));
  CHECK(told.find(std::string(999, 'm')) != std::string::npos);
  CHECK(static_cast<size_t>(std::count(told.begin(), told.end(), '\n')) == 1 + fit);
}

TEST_CASE("a line that is longer than all that may wait is kept while it is the last") {
  const Pipe pipe;
  LossyStream stream(pipe.in.get(), "worker 3");
  pipe.fill();
  stream.write("lost\n");
  const std::string line = std::string(2 * LossyStream::kMostWaiting, 'x') + "\n";
  stream.write(line);
  std::string told;
  pipe.read();
  while (stream.waits()) {
    stream.flush();
    told += pipe.read();
  }
  CHECK((told == kOneLost + line));
}

TEST_CASE("a line that is begun is ended before any other, and never lost") {
  const Terminal terminal;
  LossyStream stream(terminal.slave.get(), "worker 3");
  const std::string line = std::string(LossyStream::kMostWaiting - 100, 'x') + "\n";
  stream.write(line);  // more than a terminal takes
  REQUIRE(stream.waits());
  for (int i = 0; i < 200; ++i)
    stream.write(std::string(999, 'y') + "\n");
  std::string told;
  for (int i = 0; i < 10'000 && stream.waits(); ++i) {
    told += terminal.read();
    stream.flush();
  }
  told += terminal.read();
  CHECK(told.starts_with(std::string(line.size() - 1, 'x') + "\r\ngigafetch: "));
  CHECK(told.ends_with(std::string(999, 'y') + "\r\n"));
}

TEST_CASE("what the next one replaces is dropped, and not counted, when it cannot be shown") {
  const Pipe pipe;
  LossyStream stream(pipe.in.get(), "worker 3");
  pipe.fill();
  stream.show("\r1 stored");
  CHECK_FALSE(stream.waits());
  stream.write("a line\n");
  stream.show("\r2 stored");
  pipe.read();
  stream.show("\r3 stored");
  CHECK(pipe.read() == "a line\n\r3 stored");
}

TEST_CASE("a stream without a reader is given up") {
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  Pipe pipe;
  LossyStream stream(pipe.in.get(), "worker 3");
  pipe.fill();
  stream.write("one\n");
  CHECK(stream.waits());
  pipe.out.reset();
  stream.write("two\n");
  CHECK_FALSE(stream.waits());
  stream.show("three");
  stream.drain(Millis(60'000));
  CHECK_FALSE(stream.waits());
  ::signal(SIGPIPE, before);
}

TEST_CASE("a closed descriptor is given up") {
  LossyStream stream(-1, "worker 3");
  stream.write("one\n");
  stream.show("two");
  stream.write_now("three");
  CHECK_FALSE(stream.waits());
}

TEST_CASE("lines that a full disk does not take are lost, and told when it takes more") {
  const TempFolder folder;
  const UniqueFd file(::open((folder.path() / "log").c_str(), O_RDWR | O_CREAT, 0600));
  LossyStream stream(file.get(), "worker 3");
  const auto before = ::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
  const rlimit narrow{8, limit.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &narrow) == 0);
  stream.write("one\n");
  stream.write("two, cut\n");
  CHECK_FALSE(stream.waits());
  stream.show("three");
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  ::signal(SIGXFSZ, before);
  stream.write("four\n");
  REQUIRE(::lseek(file.get(), 0, SEEK_SET) == 0);
  CHECK(read_all(file.get()) == std::string("one\ntwo,\n") + kOneLost + "four\n");
}

TEST_CASE("draining waits for a slow reader, and not for long for one that does not read") {
  const Pipe pipe;
  LossyStream stream(pipe.in.get(), "worker 3");
  pipe.fill();
  stream.write("one\n");
  const TimePoint begin = monotonic_now();
  stream.drain(Millis(30));
  CHECK(monotonic_now() - begin >= Millis(30));
  CHECK(stream.waits());
  pipe.read();
  stream.drain(Millis(60'000));
  CHECK(pipe.read() == "one\n");
}

TEST_CASE("a signal handler's text goes past what waits") {
  const Pipe pipe;
  LossyStream stream(pipe.in.get(), "worker 3");
  pipe.fill();
  stream.write("one\n");
  stream.write_now("lost");
  pipe.read();
  stream.write_now("now\n");
  CHECK(pipe.read() == "now\n");
}

}  // namespace gigafetch
