#include "coordinator/group_commit.h"

#include <doctest/doctest.h>

#include <optional>

#include "base/temp_folder.h"
#include "net/drive.h"
#include "store/ledger_recovery.h"

using namespace gigafetch;
using namespace gigafetch::coordinator;
using namespace gigafetch::testing;

namespace {

constexpr int kNoDescriptor = 1'000'000;

struct Scene {
  explicit Scene(Durability durability = Durability::batch, int output_fd = -2)
      : ledger(made(state)),
        commit(std::in_place, loop, ledger, durability, output_fd == -2 ? state.fd() : output_fd,
               [this](const Error& why) {
                 ++failures;
                 failure = why.text;
               }) {}
  ~Scene() {
    // What runs off the loop uses the commit.
    run_until(loop, [&] { return !commit->busy(); });
  }

  static store::Ledger made(const TempFolder& state) {
    Result<store::Ledger> ledger = store::Ledger::create(state.fd(), {});
    REQUIRE(ledger.ok());
    return std::move(ledger).value();
  }
  void add_pages(uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      store::PageFacts facts;
      facts.next = store::PageFacts::Next::marker;
      facts.marker = "some marker";
      facts.listed = facts.names = 1;
      ledger.add_stored(ledger.add_page(facts), {0, 1});
    }
  }
  void fill() {
    while (!ledger.wants_checkpoint()) {
      add_pages(1'000);
      REQUIRE(ledger.flush().ok());
    }
  }
  bool finish() {
    commit->finish([this] { ++done; });
    return run_until(loop, [&] { return done > 0 || failures > 0; });
  }
  // What would count after a power loss.
  store::LedgerState durable() const {
    Result<store::LedgerImage> image = store::recover_ledger(
        read_file(state / "ledger"), store::Surroundings::of_boot("another boot"), false);
    REQUIRE(image.ok());
    return image->state;
  }

  TempFolder state;
  store::Ledger ledger;
  net::Loop loop;
  int failures = 0;
  std::string failure;
  int done = 0;
  std::optional<GroupCommit> commit;
};

}  // namespace

TEST_CASE("what is recorded is made durable again and again") {
  Scene scene;
  REQUIRE(scene.commit->start().ok());
  for (int round = 0; round < 3; ++round) {
    scene.add_pages(3);
    const auto stored = static_cast<uint64_t>(3 * round + 3);
    REQUIRE(run_until(scene.loop, [&] { return scene.durable().totals().stored == stored; }));
  }
  CHECK(scene.failures == 0);
}

TEST_CASE("the last commit is done when all that is recorded is durable") {
  Scene scene;
  scene.add_pages(5);
  REQUIRE(scene.finish());
  CHECK(scene.done == 1);
  CHECK(scene.durable() == scene.ledger.state());
  CHECK_FALSE(scene.ledger.has_unsynced());
  CHECK_FALSE(scene.commit->busy());
  run_what_is_there(scene.loop);
  CHECK(scene.done == 1);
}

TEST_CASE("with nothing to make durable the last commit is done at once") {
  Scene scene;
  REQUIRE(scene.finish());
  scene.done = 0;
  scene.commit->finish([&] { ++scene.done; });
  CHECK(scene.done == 1);
}

TEST_CASE("a last commit that is asked for while one is under way covers what came meanwhile") {
  Scene scene;
  scene.add_pages(5);
  REQUIRE(scene.commit->start().ok());
  REQUIRE(run_until(scene.loop, [&] { return scene.commit->busy(); }));
  scene.add_pages(5);
  REQUIRE(scene.finish());
  CHECK(scene.durable().totals().stored == 10);
  CHECK(scene.done == 1);
}

TEST_CASE("a job that need not survive a power loss is synced only to write its ledger anew") {
  Scene scene(Durability::process);
  scene.add_pages(5);
  REQUIRE(scene.ledger.flush().ok());
  scene.commit->finish([&] { ++scene.done; });
  CHECK(scene.done == 1);
  CHECK(scene.durable().totals().stored == 0);
  scene.fill();
  scene.done = 0;
  REQUIRE(scene.finish());
  CHECK(scene.done == 1);
  CHECK(std::filesystem::file_size(scene.state / "ledger") < 1'000);
  CHECK(scene.durable() == scene.ledger.state());
}

TEST_CASE("a ledger that has grown is written anew by a commit") {
  Scene scene;
  scene.fill();
  REQUIRE(scene.finish());
  CHECK(scene.failures == 0);
  CHECK(std::filesystem::file_size(scene.state / "ledger") < 1'000);
  CHECK(scene.durable().totals() == scene.ledger.state().totals());
  CHECK_FALSE(scene.ledger.has_unsynced());
}

TEST_CASE("a device that fails is told once; what it may have lost is taken back") {
  Scene scene(Durability::batch, kNoDescriptor);
  scene.add_pages(5);
  REQUIRE(scene.finish());
  CHECK(scene.failures == 1);
  CHECK(scene.failure.find("cannot sync the file system") != std::string::npos);
  CHECK(scene.failure.find("next run") != std::string::npos);
  CHECK(scene.done == 0);
  Result<std::optional<store::LedgerImage>> image = store::Ledger::read(scene.state.fd());
  REQUIRE(image.ok());
  CHECK((*image)->state == store::LedgerState());
  scene.commit->finish([&] { ++scene.done; });
  run_what_is_there(scene.loop);
  CHECK(scene.failures == 1);
  CHECK(scene.done == 0);
}

TEST_CASE("a record that cannot be written is told as well") {
  Scene scene;
  scene.add_pages(1);
  scene.ledger.add_stored(77, {0, 1});
  REQUIRE(scene.finish());
  CHECK(scene.failures == 1);
  CHECK(scene.done == 0);
}
