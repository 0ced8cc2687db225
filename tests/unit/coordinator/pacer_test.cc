#include "coordinator/pacer.h"

#include <doctest/doctest.h>

#include <memory>
#include <set>

#include "coordinator/fake_worker.h"

using namespace gigafetch;
using namespace gigafetch::coordinator;
using namespace gigafetch::testing;

namespace {

constexpr uint64_t kRunId = 99;

struct Client final : Workforce::Client {
  void on_worker(WorkerLink& link) override { holders.push_back(link.holder()); }
  void on_outcome(WorkerLink&, const wire::Outcome&) override {}
  void on_pulse(const wire::Pulse&) override {}
  void on_counters(const wire::WorkerCounters&, const wire::WorkerCounters&) override {}
  void on_fatal(const WorkerLink&, const std::string&) override {}
  void kill(const WorkerLink&) override {}
  void on_gone(HolderId) override {}
  std::vector<HolderId> holders;
};

struct Scene {
  Scene(uint32_t workers, const Governor::Limits& limits)
      : workforce(loop, kRunId, client),
        pacer(loop, limits, workers, workforce,
              [this](HolderId holder) { return busy.contains(holder); }) {
    Result<UniqueFd> listening = listen_in_folder(state.fd(), "socket");
    REQUIRE(listening.ok());
    REQUIRE(workforce.open(std::move(listening).value()).ok());
    for (uint32_t index = 0; index < workers; ++index) {
      fakes.push_back(std::make_unique<FakeWorker>(loop, state, kRunId, index));
      REQUIRE(run_until(loop, [&] { return client.holders.size() == index + 1; }));
    }
  }
  // What a worker has been told since the last question, once all of it has come.
  std::vector<wire::Pace> told(size_t worker) {
    run_what_is_there(loop);
    std::vector<wire::Pace> paces;
    while (const auto message = fakes[worker]->next()) {
      REQUIRE(message->type == wire::MessageType::pace);
      paces.push_back(wire::parse_pace(message->payload).value());
    }
    return paces;
  }
  void answers(uint64_t responses, uint64_t pushbacks) {
    const wire::WorkerCounters before = counters;
    counters.responses += responses;
    counters.pushbacks += pushbacks;
    pacer.on_counters(before, counters);
  }

  TempFolder state;
  net::Loop loop;
  Client client;
  Workforce workforce;
  std::set<HolderId> busy;
  Pacer pacer;
  wire::WorkerCounters counters;
  std::vector<std::unique_ptr<FakeWorker>> fakes;
};

using Paces = std::vector<wire::Pace>;

}  // namespace

TEST_CASE("each worker is told its share of what may be in flight, once") {
  Scene scene(3, {100, 0});
  scene.pacer.update();
  for (size_t worker = 0; worker < 3; ++worker)
    CHECK(scene.told(worker) == Paces{{33, 0, 0}});
  scene.pacer.update();
  for (size_t worker = 0; worker < 3; ++worker)
    CHECK(scene.told(worker).empty());
}

TEST_CASE("no worker's share is nothing") {
  Scene scene(3, {2, 0});
  scene.pacer.update();
  CHECK(scene.told(1) == Paces{{1, 0, 0}});
}

TEST_CASE("the rate is divided among those that have names, so that none of it lies idle") {
  Scene scene(2, {10, 100});
  scene.pacer.update();
  CHECK(scene.told(0) == Paces{{5, 100, 0}});
  CHECK(scene.told(1) == Paces{{5, 100, 0}});
  scene.busy = {scene.client.holders[0]};
  scene.pacer.update();
  CHECK(scene.told(0).empty());
  scene.busy.insert(scene.client.holders[1]);
  scene.pacer.update();
  CHECK(scene.told(0) == Paces{{5, 50, 0}});
  CHECK(scene.told(1) == Paces{{5, 50, 0}});
  scene.busy.erase(scene.client.holders[0]);
  scene.pacer.update();
  CHECK(scene.told(1) == Paces{{5, 100, 0}});
}

TEST_CASE("a worker that comes later is told, the others are not again; so is one in its place") {
  Scene scene(2, {10, 100});
  scene.busy = {scene.client.holders[0]};
  scene.pacer.update();
  scene.told(0);
  scene.told(1);
  scene.pacer.on_gone(scene.client.holders[1]);
  scene.pacer.update();
  CHECK(scene.told(0).empty());
  CHECK(scene.told(1) == Paces{{5, 100, 0}});
}

TEST_CASE("an origin that asks for a pause has it from all workers, told once") {
  Scene scene(2, {10, 0});
  scene.pacer.update();
  scene.told(0);
  scene.told(1);
  scene.answers(100, 100);
  scene.pacer.on_retry_after(Millis(20'000));
  for (size_t worker = 0; worker < 2; ++worker) {
    const Paces paces = scene.told(worker);
    REQUIRE(paces.size() == 1);
    CHECK(paces[0].pause_ms > 15'000);
    CHECK(paces[0].pause_ms <= 20'000);
  }
  scene.pacer.update();
  CHECK(scene.told(0).empty());
}

TEST_CASE("a pause that few answers ask for is none") {
  Scene scene(1, {10, 0});
  scene.pacer.update();
  scene.told(0);
  scene.answers(100, 1);
  scene.pacer.on_retry_after(Millis(20'000));
  CHECK(scene.told(0).empty());
}
