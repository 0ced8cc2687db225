#include "net/timer.h"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <thread>
#include <vector>

#include "net/drive.h"
#include "net/raw_socket.h"
#include "net/stream.h"

using namespace gigafetch;
using namespace gigafetch::net;
using gigafetch::testing::run_until;
using gigafetch::testing::run_what_is_there;
using gigafetch::testing::socket_pair;

TEST_CASE("a timer fires once, and is inactive from then on") {
  Loop loop;
  int fired = 0;
  Timer timer(loop, [&] { ++fired; });
  CHECK_FALSE(timer.active());
  timer.start(Millis(1));
  CHECK(timer.active());
  loop.run();
  CHECK(fired == 1);
  CHECK_FALSE(timer.active());
}

TEST_CASE("a timer is inactive while its function runs, so that the function can start it again") {
  Loop loop;
  int fired = 0;
  Timer* self = nullptr;
  Timer timer(loop, [&] {
    CHECK_FALSE(self->active());
    if (++fired < 3) self->start(Millis(0));
  });
  self = &timer;
  timer.start(Millis(0));
  loop.run();
  CHECK(fired == 3);
}

TEST_CASE("a repeating timer fires until it is stopped") {
  Loop loop;
  int fired = 0;
  Timer* self = nullptr;
  Timer timer(loop, [&] {
    if (++fired == 3) self->stop();
  });
  self = &timer;
  timer.start(Millis(1), Millis(1));
  loop.run();
  CHECK(fired == 3);
  CHECK_FALSE(timer.active());
}

TEST_CASE("starting a timer again moves it") {
  Loop loop;
  std::vector<char> order;
  Timer moved(loop, [&] { order.push_back('m'); });
  Timer fixed(loop, [&] { order.push_back('f'); });
  moved.start(Millis(0));
  fixed.start(Millis(5));
  moved.start(Millis(20));
  loop.run();
  CHECK(order == std::vector<char>{'f', 'm'});
}

TEST_CASE("timers fire in the order of their times, not of their starts") {
  Loop loop;
  std::vector<char> order;
  Timer late(loop, [&] { order.push_back('l'); });
  Timer early(loop, [&] { order.push_back('e'); });
  late.start(Millis(20));
  early.start(Millis(2));
  loop.run();
  CHECK(order == std::vector<char>{'e', 'l'});
}

TEST_CASE("a stopped or destroyed timer does not fire") {
  Loop loop;
  int fired = 0;
  {
    Timer destroyed(loop, [&] { ++fired; });
    destroyed.start(Millis(0));
  }
  Timer stopped(loop, [&] { ++fired; });
  stopped.start(Millis(0));
  stopped.stop();
  loop.run();
  CHECK(fired == 0);
}

namespace {

struct Recorder : Stream::Handler {
  explicit Recorder(std::vector<std::string>& events_) : events(events_) {}
  void on_bytes(std::string_view bytes) override { events.emplace_back(bytes); }
  void on_ended(int) override { events.emplace_back("ended"); }
  std::vector<std::string>& events;
};

}  // namespace

TEST_CASE("after a loop was blocked, the sweep comes behind the bytes that had arrived meanwhile") {
  Loop loop;
  std::vector<std::string> events;
  Recorder recorder(events);
  Stream stream(loop, recorder);
  auto [ours, peer] = socket_pair();
  REQUIRE(stream.adopt_unix(std::move(ours)));

  TimePoint since, delivered;
  StallSweep sweep(loop, Millis(5), [&](TimePoint due) {
    since = due;
    delivered = loop.now();
    events.emplace_back("sweep");
  });
  // The block: the sweep's time comes, and so do bytes, while nobody looks.
  REQUIRE(::send(peer.get(), "bytes", 5, 0) == 5);
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  REQUIRE(run_until(loop, [&] { return events.size() >= 2; }));
  CHECK(events[0] == "bytes");
  CHECK(events[1] == "sweep");
  CHECK_MESSAGE(since <= delivered, "the time given is that before the poll");
}

TEST_CASE(
    "after a loop was blocked in a read callback, the sweep comes behind what arrived there") {
  Loop loop;
  std::vector<std::string> events;
  Recorder recorder(events);
  Stream quiet(loop, recorder);
  auto [quiet_end, quiet_peer] = socket_pair();
  REQUIRE(quiet.adopt_unix(std::move(quiet_end)));

  // Its bytes are what the loop polls for first; the other's come while it is being served.
  struct Blocker : Stream::Handler {
    void on_bytes(std::string_view) override {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      CHECK(::send(peer_of_quiet, "bytes", 5, 0) == 5);
    }
    void on_ended(int) override {}
    int peer_of_quiet = -1;
  } blocker;
  blocker.peer_of_quiet = quiet_peer.get();
  Stream blocking(loop, blocker);
  auto [blocking_end, blocking_peer] = socket_pair();
  REQUIRE(blocking.adopt_unix(std::move(blocking_end)));
  REQUIRE(::send(blocking_peer.get(), "x", 1, 0) == 1);

  StallSweep sweep(loop, Millis(40), [&](TimePoint) { events.emplace_back("sweep"); });
  REQUIRE(run_until(loop, [&] { return events.size() >= 2; }));
  CHECK(events[0] == "bytes");
  CHECK(events[1] == "sweep");
}

TEST_CASE("a sweep comes again and again, also when nothing else happens") {
  Loop loop;
  std::vector<TimePoint> sweeps;
  StallSweep sweep(loop, Millis(2), [&](TimePoint due) { sweeps.push_back(due); });
  REQUIRE(run_until(loop, [&] { return sweeps.size() >= 3; }));
  CHECK(sweeps[0] <= sweeps[1]);
  CHECK(sweeps[1] <= sweeps[2]);
}

TEST_CASE("a sweep that is gone does not run, even when it was due") {
  Loop loop;
  int sweeps = 0;
  {
    StallSweep sweep(loop, Millis(1), [&](TimePoint) { ++sweeps; });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  run_what_is_there(loop);
  CHECK(sweeps == 0);
}
