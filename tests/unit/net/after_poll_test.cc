#include "net/after_poll.h"

#include <doctest/doctest.h>

#include <string>

#include "net/drive.h"
#include "net/raw_socket.h"
#include "net/stream.h"
#include "net/timer.h"

using namespace gigafetch;
using namespace gigafetch::net;
using gigafetch::testing::run_what_is_there;
using gigafetch::testing::socket_pair;

namespace {

// Writes down what it reads, and asks for the call.
class Reader final : public Stream::Handler {
 public:
  Reader(std::string& log, AfterPoll& after_poll) : log_(log), after_poll_(after_poll) {}
  void on_bytes(std::string_view bytes) override {
    log_ += bytes;
    after_poll_.request();
  }
  void on_ended(int) override {}

 private:
  std::string& log_;
  AfterPoll& after_poll_;
};

}  // namespace

TEST_CASE("the call comes once, behind all streams that the poll found ready") {
  Loop loop;
  std::string log;
  AfterPoll after_poll(loop, [&] { log += '.'; });
  Reader reader(log, after_poll);
  Stream first(loop, reader), second(loop, reader);
  auto [first_near, first_far] = socket_pair();
  auto [second_near, second_far] = socket_pair();
  REQUIRE(first.adopt_unix(std::move(first_near)));
  REQUIRE(second.adopt_unix(std::move(second_near)));
  REQUIRE(::write(first_far.get(), "a", 1) == 1);
  REQUIRE(::write(second_far.get(), "a", 1) == 1);
  run_what_is_there(loop);
  CHECK(log == "aa.");
  REQUIRE(::write(first_far.get(), "b", 1) == 1);
  run_what_is_there(loop);
  CHECK(log == "aa.b.");
}

TEST_CASE("a call asked for by a timer does not wait for a stream") {
  Loop loop;
  int calls = 0;
  AfterPoll after_poll(loop, [&] {
    ++calls;
    loop.stop();
  });
  Timer timer(loop, [&] { after_poll.request(); });
  Timer late(loop, [&] { FAIL("the poll waited"); });
  timer.start(Millis(0));
  late.start(Millis(60'000));
  loop.run();
  CHECK(calls == 1);
}

TEST_CASE("a call may ask for the next one") {
  Loop loop;
  int calls = 0;
  AfterPoll* self = nullptr;
  AfterPoll after_poll(loop, [&] {
    if (++calls < 3) self->request();
  });
  self = &after_poll;
  after_poll.request();
  loop.run();
  CHECK(calls == 3);
}

TEST_CASE("what is gone is not called") {
  Loop loop;
  int calls = 0;
  {
    AfterPoll after_poll(loop, [&] { ++calls; });
    after_poll.request();
  }
  loop.run();
  CHECK(calls == 0);
}
