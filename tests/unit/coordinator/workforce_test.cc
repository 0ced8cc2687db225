#include "coordinator/workforce.h"

#include <doctest/doctest.h>

#include <memory>

#include "coordinator/fake_worker.h"

using namespace gigafetch;
using namespace gigafetch::coordinator;
using namespace gigafetch::testing;
using wire::MessageType;

namespace {

constexpr uint64_t kRunId = 99;

struct Client final : Workforce::Client {
  void on_worker(WorkerLink& link) override {
    events.push_back("worker " + std::to_string(link.worker()));
    last = &link;
  }
  void on_outcome(WorkerLink& link, const wire::Outcome& outcome) override {
    events.push_back("outcome " + std::to_string(outcome.lease));
    if (refuse) link.refuse("it lied");
  }
  void on_pulse(const wire::Pulse& pulse) override { events.push_back("pulse " + pulse.trouble); }
  void on_counters(const wire::WorkerCounters& before, const wire::WorkerCounters& now) override {
    grown.emplace_back(before.requests, now.requests);
  }
  void on_fatal(const WorkerLink& link, const std::string& text) override {
    events.push_back("fatal " + std::to_string(link.worker()) + " " + text);
  }
  void kill(const WorkerLink& link) override {
    events.push_back("kill " + std::to_string(link.worker()));
  }
  void on_gone(HolderId holder) override { events.push_back("gone " + std::to_string(holder)); }
  void on_read_end() override { heard_at_read_end = events.size(); }

  std::vector<std::string> events;
  size_t heard_at_read_end = 0;
  std::vector<std::pair<uint64_t, uint64_t>> grown;
  WorkerLink* last = nullptr;
  bool refuse = false;
};

using Events = std::vector<std::string>;

struct Scene {
  Scene() : workforce(loop, kRunId, client) {
    Result<UniqueFd> listening = listen_in_folder(state.fd(), "socket");
    REQUIRE(listening.ok());
    REQUIRE(workforce.open(std::move(listening).value()).ok());
  }
  std::unique_ptr<FakeWorker> worker(uint32_t index = 0) {
    auto fake = std::make_unique<FakeWorker>(loop, state, kRunId, index);
    const size_t before = client.events.size();
    REQUIRE(run_until(loop, [&] { return client.events.size() > before; }));
    return fake;
  }
  bool until_events(size_t count) {
    return run_until(loop, [&] { return client.events.size() >= count; });
  }

  TempFolder state;
  net::Loop loop;
  Client client;
  Workforce workforce;
};

wire::Outcome outcome(uint64_t lease, uint64_t requests = 0, uint64_t retries = 0) {
  wire::Outcome message;
  message.lease = lease;
  message.counters.requests = requests;
  message.counters.retries = retries;
  return message;
}

const pid_t kSelf = ::getpid();

}  // namespace

TEST_CASE("workers of the run are at work once they have said hello, each with a holder") {
  Scene scene;
  CHECK(scene.workforce.links().empty());
  const auto first = scene.worker(3), second = scene.worker(4);
  CHECK(scene.client.events == Events{"worker 3", "worker 4"});
  const std::vector<WorkerLink*> links = scene.workforce.links();
  REQUIRE(links.size() == 2);
  CHECK(links[0]->holder() != links[1]->holder());
  first->send(outcome(1));
  second->send(wire::Pulse{{}, 0, "slow"});
  REQUIRE(scene.until_events(4));
  second->send(wire::Fatal{"full"});
  REQUIRE(scene.until_events(5));
  Events told(scene.client.events.begin() + 2, scene.client.events.end());
  std::sort(told.begin(), told.end());
  CHECK(told == Events{"fatal 4 full", "outcome 1", "pulse slow"});
}

TEST_CASE("who is not of the run is turned away, and its end is nobody's") {
  Scene scene;
  FakeWorker other_run(scene.loop, scene.state, kRunId + 1);
  FakeWorker other_process(scene.loop, scene.state, kRunId, 0, ::getppid());
  for (FakeWorker* stranger : {&other_run, &other_process})
    CHECK(run_until(scene.loop, [&] { return stranger->gone(); }));
  scene.workforce.on_reaped(::getppid());
  run_what_is_there(scene.loop);
  CHECK(scene.client.events.empty());
  CHECK(scene.workforce.links().empty());
}

TEST_CASE("a worker is gone when its link has ended and its process is reaped, in either order") {
  for (const bool reaped_first : {false, true}) {
    CAPTURE(reaped_first);
    Scene scene;
    const auto worker = scene.worker();
    const HolderId holder = scene.client.last->holder();
    if (reaped_first) {
      scene.workforce.on_reaped(kSelf);
    } else {
      worker->hang_up();
      REQUIRE(run_until(scene.loop, [&] { return scene.workforce.links().empty(); }));
    }
    run_what_is_there(scene.loop);
    CHECK(scene.client.events.size() == 1);
    if (reaped_first) {
      worker->hang_up();
      REQUIRE(scene.until_events(2));
    } else {
      scene.workforce.on_reaped(kSelf);
    }
    CHECK(scene.client.events == Events{"worker 0", "gone " + std::to_string(holder)});
    // The next one is another, though the process is the same here.
    const auto next = scene.worker();
    CHECK(scene.client.last->holder() != holder);
  }
}

TEST_CASE("what a worker had said before it died is heard before it is gone") {
  Scene scene;
  const auto worker = scene.worker();
  scene.workforce.on_reaped(kSelf);
  worker->send(outcome(1));
  worker->send(outcome(2));
  worker->hang_up();
  REQUIRE(scene.until_events(4));
  CHECK(scene.client.events == Events{"worker 0", "outcome 1", "outcome 2", "gone 1"});
}

TEST_CASE("the end of a read is told behind its outcomes, and not after stop") {
  Scene scene;
  const auto worker = scene.worker();
  worker->send(outcome(1));
  worker->send(outcome(2));
  REQUIRE(scene.until_events(3));
  CHECK(scene.client.heard_at_read_end == 3);
  scene.workforce.stop();
  scene.client.heard_at_read_end = 0;
  worker->send(outcome(3));
  worker->hang_up();
  REQUIRE(run_until(scene.loop, [&] { return scene.workforce.links().empty(); }));
  CHECK(scene.client.heard_at_read_end == 0);
}

TEST_CASE("a worker that was reaped before it was greeted is none any more") {
  Scene scene;
  scene.workforce.on_reaped(kSelf);
  FakeWorker late(scene.loop, scene.state, kRunId);
  REQUIRE(run_until(scene.loop, [&] { return late.gone(); }));
  CHECK(scene.client.events.empty());
}

TEST_CASE("a worker that breaks a rule is killed, and gone once it is reaped") {
  for (const bool bad_frame : {false, true}) {
    CAPTURE(bad_frame);
    Scene scene;
    const auto worker = scene.worker(7);
    if (bad_frame) {
      worker->send(wire::Done{});
    } else {
      scene.client.refuse = true;
      worker->send(outcome(1));
    }
    REQUIRE(run_until(scene.loop, [&] { return worker->gone(); }));
    CHECK(scene.client.events.back() == "kill 7");
    CHECK(scene.workforce.links().empty());
    scene.workforce.on_reaped(kSelf);
    CHECK(scene.client.events.back() == "gone 1");
  }
}

TEST_CASE("counters are told as they grow, and summed over workers that are gone, too") {
  Scene scene;
  {
    const auto first = scene.worker();
    first->send(outcome(1, 10, 1));
    first->send(wire::Pulse{outcome(0, 25, 2).counters, 0, ""});
    REQUIRE(scene.until_events(3));
    CHECK(scene.client.grown == std::vector<std::pair<uint64_t, uint64_t>>{{0, 10}, {10, 25}});
    CHECK(scene.workforce.requests() == 25);
    CHECK(scene.workforce.retries() == 2);
    first->hang_up();
    scene.workforce.on_reaped(kSelf);
    REQUIRE(scene.until_events(4));
  }
  CHECK(scene.workforce.requests() == 25);
  const auto second = scene.worker();
  second->send(outcome(2, 5, 5));
  REQUIRE(scene.until_events(6));
  CHECK(scene.client.grown.back() == std::pair<uint64_t, uint64_t>{0, 5});
  CHECK(scene.workforce.requests() == 30);
  CHECK(scene.workforce.retries() == 7);
}

TEST_CASE("who comes later is told first what the others have found of pipelining") {
  Scene scene;
  const auto first = scene.worker(), second = scene.worker();
  const auto found = [&](FakeWorker& worker, const wire::Pipelining& pipelining) {
    worker.send(pipelining);
    worker.send(wire::Pulse{});
    REQUIRE(scene.until_events(scene.client.events.size() + 1));
  };
  const auto told_to_next = [&] {
    const auto next = scene.worker();
    run_what_is_there(scene.loop);
    const auto message = next->next();
    if (!message || message->type != MessageType::pipelining) return wire::Pipelining();
    return wire::parse_pipelining(message->payload).value();
  };
  CHECK_MESSAGE(told_to_next() == wire::Pipelining(), "nothing");
  found(*first, {4, 1, 0});
  CHECK(told_to_next() == wire::Pipelining{4, 1, 0});
  found(*second, {2, 2, 100});
  CHECK(told_to_next() == wire::Pipelining{4, 1, 100});  // four were borne
  found(*first, {4, 2, 0});
  found(*second, {4, 1, 0});
  CHECK(told_to_next() == wire::Pipelining{4, 2, 100});
  // Also by those that are gone.
  first->hang_up();
  scene.workforce.on_reaped(kSelf);
  run_what_is_there(scene.loop);
  found(*second, {8, 0, 50});
  CHECK(told_to_next() == wire::Pipelining{8, 0, 50});
}

TEST_CASE("a drain is told to all, and to those that come later instead of work") {
  Scene scene;
  const auto worker = scene.worker();
  scene.workforce.drain();
  CHECK(worker->await()->type == MessageType::drain);
  FakeWorker late(scene.loop, scene.state, kRunId, 1);
  const auto told = late.await();
  REQUIRE(told.has_value());
  CHECK(told->type == MessageType::drain);
  CHECK(scene.client.events == Events{"worker 0"});
  worker->send(outcome(1));
  REQUIRE(scene.until_events(2));
}

TEST_CASE("after stop all are told to leave, and nothing is reported") {
  Scene scene;
  const auto worker = scene.worker();
  scene.workforce.stop();
  CHECK(worker->await()->type == MessageType::stop);
  FakeWorker late(scene.loop, scene.state, kRunId, 1);
  const auto told = late.await();
  REQUIRE(told.has_value());
  CHECK(told->type == MessageType::stop);
  worker->send(outcome(1));
  worker->send(wire::Pulse{});
  worker->send(wire::Fatal{"x"});
  worker->send(wire::Done{});  // breaks a rule
  REQUIRE(run_until(scene.loop, [&] { return worker->gone(); }));
  scene.workforce.on_reaped(kSelf);
  CHECK(scene.client.events == Events{"worker 0"});
}
