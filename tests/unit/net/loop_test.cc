#include "net/loop.h"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include "base/temp_folder.h"
#include "net/drive.h"
#include "net/raw_socket.h"
#include "net/stream.h"

using namespace gigafetch;
using namespace gigafetch::net;
using namespace gigafetch::testing;

TEST_CASE("a loop's time is that of the monotonic clock") {
  Loop loop;
  const TimePoint before = monotonic_now();
  uv_update_time(loop.uv());
  const TimePoint after = monotonic_now();
  // libuv may read the coarse clock, which lags by a tick.
  CHECK(loop.now() >= before - Millis(50));
  CHECK(loop.now() <= after);
}

TEST_CASE("run returns when nothing is left to wait for") {
  Loop loop;
  int fired = 0;
  Timer timer(loop, [&] { ++fired; });
  timer.start(Millis(1));
  loop.run();
  CHECK(fired == 1);
  loop.run();
  CHECK(fired == 1);
}

TEST_CASE("stop makes run return with timers still set, and run can go on behind it") {
  Loop loop;
  int first = 0, second = 0;
  Timer stopping(loop, [&] {
    ++first;
    loop.stop();
  });
  Timer later(loop, [&] { ++second; });
  stopping.start(Millis(0));
  later.start(Millis(1));
  loop.run();
  CHECK(first == 1);
  loop.run();
  CHECK(second == 1);
}

TEST_CASE("a loop makes its process survive writes to peers that are gone") {
  Loop loop;
  auto [ours, theirs] = socket_pair();
  theirs.reset();
  CHECK(::send(ours.get(), "x", 1, 0) == -1);
  CHECK(errno == EPIPE);
}

TEST_CASE("a loop that is gone leaves no descriptor behind") {
  struct Owner : Stream::Handler {
    void on_bytes(std::string_view) override {}
    void on_ended(int) override {}
  } owner;
  { Loop first; }  // libuv keeps a few of its own for the process
  const size_t before = open_descriptors();
  SUBCASE("unused") {
    Loop loop;
  }
  SUBCASE("with streams and timers that went before it") {
    Loop loop;
    Stream stream(loop, owner);
    auto [ours, theirs] = socket_pair();
    REQUIRE(stream.adopt_unix(std::move(ours)));
    Timer timer(loop, [] {});
    timer.start(Millis(1000));
    run_what_is_there(loop);
  }
  SUBCASE("told to stop when it did not run") {
    Loop loop;
    Timer timer(loop, [] {});
    loop.stop();
  }
  SUBCASE("told to stop in its last callback") {
    Loop loop;
    Timer timer(loop, [&] { loop.stop(); });
    timer.start(Millis(0));
    loop.run();
  }
  CHECK(open_descriptors() == before);
}
