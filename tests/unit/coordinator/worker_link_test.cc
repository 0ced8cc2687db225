#include "coordinator/worker_link.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <functional>

#include "net/drive.h"
#include "net/raw_socket.h"

using namespace gigafetch;
using namespace gigafetch::coordinator;
using namespace gigafetch::testing;
using wire::MessageType;

namespace {

struct Client final : WorkerLink::Client {
  bool on_hello(WorkerLink& link, const wire::Hello& message) override {
    events.push_back("hello");
    hello = message;
    CHECK(link.greeted());
    return welcome;
  }
  void on_outcome(WorkerLink& link, wire::Outcome outcome) override {
    events.push_back("outcome " + std::to_string(outcome.lease));
    if (then_outcome) then_outcome(link);
  }
  void on_pulse(WorkerLink&, wire::Pulse pulse) override {
    events.push_back("pulse " + pulse.trouble);
  }
  void on_pipelining(WorkerLink&, const wire::Pipelining& found) override {
    events.push_back("pipelining " + std::to_string(found.borne));
  }
  void on_fatal(WorkerLink&, const wire::Fatal& fatal) override {
    events.push_back("fatal " + fatal.text);
  }
  void on_warning(WorkerLink&, const wire::Warning& warning) override {
    events.push_back("warning " + warning.text);
  }
  void on_read_end() override { ++reads; }
  void on_link_ended(WorkerLink& link, const std::string& reason) override {
    CHECK(link.ended());
    events.push_back("ended");
    why = reason;
    ++ended;
  }

  std::vector<std::string> events;
  wire::Hello hello;
  bool welcome = true;
  std::function<void(WorkerLink&)> then_outcome;
  int reads = 0;
  int ended = 0;
  std::string why;
};

template <typename Message>
std::string frame_of(const Message& message) {
  std::string out;
  wire::append(out, message);
  return out;
}
std::string empty_frame_of(MessageType type) {
  std::string out;
  wire::append_empty(out, type);
  return out;
}
// A frame of a known type whose payload does not parse.
std::string bad_frame_of(MessageType type) {
  std::string out;
  wire::FrameWriter frame(out, type);
  out += "?";
  return out;
}

std::string hello() {
  return frame_of(wire::Hello{77, 5, 1234});
}
std::string outcome(uint64_t lease) {
  wire::Outcome message;
  message.lease = lease;
  message.count = 1;
  message.stored = {{0, 1}};
  message.last = true;
  return frame_of(message);
}

struct Scene {
  Scene() : link(loop, client, 9, spare) {
    auto [ours, theirs] = socket_pair();
    CHECK(link.stream().adopt_unix(std::move(ours)));
    worker = std::make_unique<RawSocket>(loop, std::move(theirs));
  }
  bool until_events(size_t count) {
    return run_until(loop, [&] { return client.events.size() >= count; });
  }
  bool until_ended() {
    return run_until(loop, [&] { return client.ended > 0; });
  }

  net::Loop loop;
  Client client;
  std::string spare;
  WorkerLink link;
  std::unique_ptr<RawSocket> worker;
};

}  // namespace

TEST_CASE("a worker that says hello first is heard from then on") {
  Scene scene;
  CHECK(scene.link.holder() == 9);
  CHECK_FALSE(scene.link.greeted());
  scene.worker->send(hello() + outcome(1) + frame_of(wire::Pulse{{}, 0, "slow"}) + outcome(2) +
                     frame_of(wire::Pipelining{4, 0, 0}) + frame_of(wire::Fatal{"disk full"}));
  REQUIRE(scene.until_events(6));
  CHECK(scene.client.events == std::vector<std::string>{"hello", "outcome 1", "pulse slow",
                                                        "outcome 2", "pipelining 4",
                                                        "fatal disk full"});
  CHECK(scene.client.hello.run_id == 77);
  CHECK(scene.link.worker() == 5);
  CHECK(scene.link.pid() == 1234);
  CHECK_FALSE(scene.link.ended());
}

TEST_CASE("messages that come byte by byte are the same") {
  Scene scene;
  for (const char byte : hello() + outcome(1)) {
    scene.worker->send(std::string(1, byte));
    run_what_is_there(scene.loop);
  }
  REQUIRE(scene.until_events(2));
  CHECK(scene.client.events == std::vector<std::string>{"hello", "outcome 1"});
}

TEST_CASE("anything before the hello ends the link, unheard") {
  for (const std::string& first :
       {outcome(1), frame_of(wire::Pulse{}), frame_of(wire::Fatal{"x"}),
        empty_frame_of(MessageType::drain), frame_of(wire::KillWorker{1, 2})}) {
    Scene scene;
    scene.worker->send(first + hello());
    REQUIRE(scene.until_ended());
    CHECK(scene.client.events == std::vector<std::string>{"ended"});
    CHECK_FALSE(scene.client.why.empty());
    CHECK_FALSE(scene.link.greeted());
    REQUIRE(run_until(scene.loop, [&] { return scene.worker->gone(); }));
  }
}

TEST_CASE("a second hello ends the link, and nothing behind it is heard") {
  Scene scene;
  scene.worker->send(hello() + hello() + outcome(1));
  REQUIRE(scene.until_ended());
  run_what_is_there(scene.loop);
  CHECK(scene.client.events == std::vector<std::string>{"hello", "ended"});
  CHECK_FALSE(scene.client.why.empty());
}

TEST_CASE("a worker that is turned away is cut off") {
  Scene scene;
  scene.client.welcome = false;
  scene.worker->send(hello() + outcome(1));
  REQUIRE(scene.until_ended());
  run_what_is_there(scene.loop);
  CHECK(scene.client.events == std::vector<std::string>{"hello", "ended"});
  CHECK_FALSE(scene.client.why.empty());
  REQUIRE(run_until(scene.loop, [&] { return scene.worker->gone(); }));
}

TEST_CASE("messages that workers do not send end the link") {
  for (const std::string& message :
       {empty_frame_of(MessageType::drain), empty_frame_of(MessageType::stop), frame_of(Figures{}),
        frame_of(wire::Done{}), frame_of(wire::KillWorker{}), frame_of(wire::WorkerReaped{}),
        empty_frame_of(MessageType::batch), frame_of(wire::Pace{1, 0, 0})}) {
    Scene scene;
    scene.worker->send(hello() + message + outcome(1));
    REQUIRE(scene.until_ended());
    CHECK(scene.client.events == std::vector<std::string>{"hello", "ended"});
    CHECK_FALSE(scene.client.why.empty());
  }
}

TEST_CASE("messages that do not parse end the link") {
  for (const MessageType type : {MessageType::outcome, MessageType::pulse, MessageType::fatal}) {
    Scene scene;
    scene.worker->send(hello() + bad_frame_of(type) + outcome(1));
    REQUIRE(scene.until_ended());
    CHECK(scene.client.events == std::vector<std::string>{"hello", "ended"});
    CHECK_FALSE(scene.client.why.empty());
  }
  Scene scene;
  scene.worker->send(bad_frame_of(MessageType::hello));
  REQUIRE(scene.until_ended());
  CHECK(scene.client.events == std::vector<std::string>{"ended"});
  CHECK_FALSE(scene.link.greeted());
}

TEST_CASE("a broken frame ends the link, behind the messages before it") {
  Scene scene;
  scene.worker->send(hello() + outcome(1) + std::string(16, '\xFF') + outcome(2));
  REQUIRE(scene.until_ended());
  CHECK(scene.client.events == std::vector<std::string>{"hello", "outcome 1", "ended"});
  CHECK_FALSE(scene.client.why.empty());
}

TEST_CASE("an end between messages has no reason, one inside a message has") {
  const std::string last = outcome(2);
  for (size_t length = 0; length <= last.size(); ++length) {
    CAPTURE(length);
    Scene scene;
    scene.worker->send(hello() + outcome(1) + last.substr(0, length));
    scene.worker->end();
    REQUIRE(scene.until_ended());
    CHECK(scene.client.why.empty() == (length == 0 || length == last.size()));
    CHECK(scene.client.events.back() == "ended");
    CHECK(scene.client.ended == 1);
  }
}

TEST_CASE("a link that is refused inside a message says no more, and drops what is sent on it") {
  Scene scene;
  scene.client.then_outcome = [](WorkerLink& link) { link.refuse("it lied"); };
  scene.worker->send(hello() + outcome(1) + outcome(2));
  REQUIRE(scene.until_ended());
  run_what_is_there(scene.loop);
  CHECK(scene.client.events == std::vector<std::string>{"hello", "outcome 1", "ended"});
  CHECK(scene.client.why == "it lied");
  CHECK(scene.link.ended());
  scene.link.send_empty(MessageType::stop);
  scene.link.send(wire::BatchView{1, 1, false, {1}, std::string_view("\1\0a", 3)});
  CHECK(scene.client.ended == 1);
}

TEST_CASE("messages to the worker arrive whole and in order") {
  Scene scene;
  NameList names;
  for (int i = 0; i < 10'000; ++i) {
    names.append("some/file/name/" + std::to_string(i));
  }
  const wire::BatchView batch{3, names.count(), true, {4'000, 6'000}, names.bytes()};
  const wire::Pace pace{10, 1.5, 200};
  scene.link.send(batch);
  scene.link.send(pace);
  scene.link.send_empty(MessageType::drain);
  scene.link.send_empty(MessageType::stop);
  const std::string expected = frame_of(batch) + frame_of(pace) +
                               empty_frame_of(MessageType::drain) +
                               empty_frame_of(MessageType::stop);
  REQUIRE(run_until(scene.loop, [&] { return scene.worker->received.size() >= expected.size(); }));
  CHECK(scene.worker->received == expected);
}

TEST_CASE("queued batches go out with the flush or the message behind them, in order") {
  Scene scene;
  const std::string_view name("\1\0a", 3);
  const wire::BatchView first{1, 1, false, {1}, name}, second{2, 1, false, {1}, name};
  const wire::Pace pace{10, 1.5, 200};
  const auto arrives = [&](const std::string& expected) {
    const bool whole =
        run_until(scene.loop, [&] { return scene.worker->received.size() >= expected.size(); });
    return whole && scene.worker->received == expected;
  };
  scene.link.queue(first);
  scene.link.queue(second);
  run_what_is_there(scene.loop);
  CHECK(scene.worker->received.empty());
  scene.link.flush();
  CHECK(arrives(frame_of(first) + frame_of(second)));
  scene.link.flush();
  scene.link.queue(first);
  scene.link.send(pace);
  scene.link.queue(second);
  scene.link.send_empty(MessageType::drain);
  CHECK(arrives(frame_of(first) + frame_of(second) + frame_of(first) + frame_of(pace) +
                frame_of(second) + empty_frame_of(MessageType::drain)));
}

TEST_CASE("links gather in memory of their own, and leave the larger one for the next") {
  Scene scene;
  WorkerLink other(scene.loop, scene.client, 10, scene.spare);
  auto [ours, theirs] = socket_pair();
  REQUIRE(other.stream().adopt_unix(std::move(ours)));
  RawSocket other_worker(scene.loop, std::move(theirs));
  NameList names;
  for (int i = 0; i < 1'000; ++i)
    names.append("some/file/name/" + std::to_string(i));
  const wire::BatchView large{1, names.count(), false, {names.count()}, names.bytes()};
  const wire::BatchView small{2, 1, false, {1}, std::string_view("\1\0a", 3)};
  for (int round = 0; round < 2; ++round) {
    scene.link.queue(large);
    CHECK(scene.spare.capacity() < names.bytes().size());
    other.queue(small);
    scene.link.queue(small);
    other.flush();
    scene.link.flush();
    CHECK(scene.spare.empty());
    CHECK(scene.spare.capacity() > names.bytes().size());
  }
  const std::string to_one = frame_of(large) + frame_of(small), to_other = frame_of(small);
  REQUIRE(run_until(scene.loop, [&] {
    return scene.worker->received.size() >= 2 * to_one.size() &&
           other_worker.received.size() >= 2 * to_other.size();
  }));
  CHECK((scene.worker->received == to_one + to_one));
  CHECK((other_worker.received == to_other + to_other));
}

TEST_CASE("what is queued does not gather without end") {
  Scene scene;
  NameList names;
  for (int i = 0; i < 1'000; ++i)
    names.append("some/file/name/" + std::to_string(i));
  std::string expected;
  for (uint64_t lease = 0; lease < 100; ++lease) {
    const wire::BatchView batch{lease, names.count(), false, {names.count()}, names.bytes()};
    expected += frame_of(batch);
    scene.link.queue(batch);
  }
  constexpr size_t kKept = 256 * 1024;
  REQUIRE(expected.size() > 4 * kKept);
  CHECK(run_until(scene.loop,
                  [&] { return scene.worker->received.size() > expected.size() - kKept; }));
  scene.link.flush();
  CHECK(run_until(scene.loop, [&] { return scene.worker->received.size() >= expected.size(); }));
  CHECK((scene.worker->received == expected));
}

TEST_CASE("the end of a read is told once, behind all of its messages, and behind a refusal too") {
  Scene scene;
  scene.worker->send(hello() + outcome(1) + outcome(2) + outcome(3).substr(0, 5));
  REQUIRE(run_until(scene.loop, [&] { return scene.client.reads > 0; }));
  CHECK(scene.client.events == std::vector<std::string>{"hello", "outcome 1", "outcome 2"});
  CHECK(scene.client.reads == 1);
  scene.client.then_outcome = [](WorkerLink& link) { link.refuse("it lied"); };
  scene.worker->send(outcome(3).substr(5) + outcome(4));
  REQUIRE(scene.until_ended());
  CHECK(scene.client.events.back() == "ended");
  CHECK(scene.client.reads == 2);
}

TEST_CASE("the process at the other end is told by the kernel, not by what it says") {
  Scene scene;  // this process holds both ends
  CHECK(scene.link.is_peer(::getpid()));
  CHECK_FALSE(scene.link.is_peer(::getppid()));
  CHECK_FALSE(scene.link.is_peer(0));
  scene.link.refuse("test");
  CHECK_FALSE(scene.link.is_peer(::getpid()));
}
