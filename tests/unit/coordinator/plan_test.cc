#include "coordinator/plan.h"

#include <doctest/doctest.h>
#include <malloc.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/random.h"

using namespace gigafetch;
using namespace gigafetch::coordinator;
using wire::Outcome;

namespace {

using Names = std::vector<std::string>;

NameList packed(const Names& names) {
  NameList list;
  for (const std::string& name : names) {
    list.append(name);
  }
  return list;
}

Names numbered(size_t count, size_t from = 0) {
  Names names;
  for (size_t i = 0; i < count; ++i) {
    names.push_back("n" + std::to_string(from + i));
  }
  return names;
}

Names names_of(const wire::BatchView& batch) {
  Names names;
  for (NameCursor cursor(batch.names); !cursor.done(); cursor.next()) {
    names.emplace_back(cursor.name());
  }
  return names;
}

// A batch as it is remembered once the plan's view of it is gone.
struct Batch {
  uint64_t lease = 0;
  Names names;
};
std::optional<Batch> take(Plan& plan, HolderId holder) {
  const std::optional<wire::BatchView> view = plan.next(holder);
  if (!view) return std::nullopt;
  CHECK(well_formed(view->names, view->count));
  return Batch{view->lease, names_of(*view)};
}

Outcome all_stored(const Batch& batch) {
  Outcome outcome;
  outcome.lease = batch.lease;
  outcome.count = outcome.stored = static_cast<uint32_t>(batch.names.size());
  return outcome;
}

bool settle(Plan& plan, HolderId holder, const Outcome& outcome, Names* failed = nullptr) {
  return plan.settle(holder, outcome, [&](std::string_view name, const FileFailure&) {
    if (failed != nullptr) failed->emplace_back(name);
  });
}

Plan::Limits limits(uint32_t workers, uint32_t batch_names, uint32_t credit = 4) {
  Plan::Limits limits;
  limits.workers = workers;
  limits.batch_names = batch_names;
  limits.credit = credit;
  return limits;
}

}  // namespace

TEST_CASE("an empty plan has nothing, and is finished once the listing ends") {
  Plan plan(limits(1, 10));
  CHECK(plan.wants_page());
  CHECK_FALSE(plan.next(1).has_value());
  CHECK(plan.leases_of(1) == 0);
  CHECK_FALSE(plan.finished());
  plan.end_listing();
  CHECK(plan.listing_ended());
  CHECK(plan.finished());
}

TEST_CASE("an empty page changes nothing") {
  Plan plan(limits(1, 10));
  plan.add_page(NameList());
  CHECK_FALSE(plan.has_queued());
  CHECK_FALSE(plan.next(1).has_value());
  plan.end_listing();
  CHECK(plan.finished());
}

TEST_CASE("names are handed out in the order of the listing, and a plan is finished when settled") {
  Plan plan(limits(1, 20, 100));
  plan.add_page(packed(numbered(50)));
  plan.end_listing();
  Names got;
  std::vector<Batch> batches;
  while (const std::optional<Batch> batch = take(plan, 1)) {
    got.insert(got.end(), batch->names.begin(), batch->names.end());
    batches.push_back(*batch);
  }
  CHECK(got == numbered(50));
  CHECK_FALSE(plan.has_queued());
  for (const Batch& batch : batches) {
    CHECK_FALSE(plan.finished());
    CHECK(settle(plan, 1, all_stored(batch)));
  }
  CHECK(plan.finished());
  CHECK(plan.leases() == 0);
}

TEST_CASE("leases are numbered once and for all") {
  Plan plan(limits(2, 16, 100));
  std::set<uint64_t> leases;
  for (int page = 0; page < 10; ++page) {
    plan.add_page(packed(numbered(64)));
    while (const std::optional<Batch> batch = take(plan, 1)) {
      CHECK(leases.insert(batch->lease).second);
    }
    plan.holder_gone(1);
  }
  CHECK(leases.size() > 10);
}

TEST_CASE("a holder has no more leases than its credit, others have theirs") {
  Plan plan(limits(4, 10, 3));
  plan.add_page(packed(numbered(1000)));
  std::vector<Batch> held;
  for (int i = 0; i < 3; ++i) {
    const std::optional<Batch> batch = take(plan, 1);
    REQUIRE(batch.has_value());
    held.push_back(*batch);
  }
  CHECK_FALSE(plan.next(1).has_value());
  CHECK(plan.leases_of(1) == 3);
  CHECK(plan.next(2).has_value());
  CHECK(settle(plan, 1, all_stored(held[1])));
  CHECK(plan.leases_of(1) == 2);
  CHECK(plan.next(1).has_value());
  CHECK_FALSE(plan.next(1).has_value());
}

TEST_CASE("a batch is bounded in names") {
  Plan plan(limits(1, 17, 1000));
  plan.add_page(packed(numbered(5000)));
  while (const std::optional<wire::BatchView> batch = plan.next(1))
    CHECK(batch->count <= 17);
}

TEST_CASE("a batch is bounded in bytes, but for a single name that is longer") {
  Plan::Limits tight = limits(1, 1000, 1000);
  tight.batch_bytes = 100;
  Plan plan(tight);
  Names names;
  for (size_t length = 0; length < 300; length += 7)
    names.push_back(std::string(length, 'x'));
  names.push_back(std::string(kMaxNameBytes, 'y'));
  names.push_back("z");
  plan.add_page(packed(names));
  plan.add_page(packed(names));
  Names got;
  while (const std::optional<wire::BatchView> batch = plan.next(1)) {
    CHECK((batch->names.size() <= 100 || batch->count == 1));
    for (const std::string& name : names_of(*batch))
      got.push_back(name);
  }
  Names twice = names;
  twice.insert(twice.end(), names.begin(), names.end());
  CHECK(got == twice);
}

TEST_CASE("a batch may run over the end of a page into the next ones") {
  Plan plan(limits(1, 100));
  for (size_t page = 0; page < 40; ++page)
    plan.add_page(packed(numbered(5, 5 * page)));
  const std::optional<Batch> batch = take(plan, 1);
  REQUIRE(batch.has_value());
  CHECK(batch->names == numbered(100));
}

TEST_CASE("pages are asked for until enough names are queued") {
  Plan plan(limits(2, 100));
  CHECK(plan.wants_page());
  plan.add_page(packed(numbered(399)));
  CHECK(plan.wants_page());
  plan.add_page(packed(numbered(1, 399)));
  CHECK_FALSE(plan.wants_page());
  REQUIRE(plan.next(1).has_value());
  CHECK(plan.wants_page());
}

TEST_CASE("pages are asked for until enough bytes are queued") {
  Plan::Limits bounded = limits(16, 1000);
  bounded.look_ahead_bytes = 10'000;
  Plan plan(bounded);
  plan.add_page(packed({std::string(4000, 'a'), std::string(4000, 'b')}));
  CHECK(plan.wants_page());
  plan.add_page(packed({std::string(4000, 'c')}));
  CHECK_FALSE(plan.wants_page());
  REQUIRE(plan.next(1).has_value());
  CHECK(plan.wants_page());
}

TEST_CASE("a page is taken whatever its size") {
  Plan plan(limits(1, 10));
  plan.add_page(packed(numbered(100'000)));
  CHECK_FALSE(plan.wants_page());
  plan.add_page(packed(numbered(10, 100'000)));
  CHECK(plan.has_queued());
}

TEST_CASE("batches shrink towards the end, so that all workers end together") {
  constexpr uint32_t kWorkers = 4;
  Plan plan(limits(kWorkers, 1000, 10'000));
  plan.add_page(packed(numbered(50'000)));
  plan.end_listing();
  std::vector<size_t> sizes;
  HolderId holder = 0;
  while (const std::optional<wire::BatchView> batch = plan.next(holder++ % kWorkers)) {
    sizes.push_back(batch->count);
  }
  CHECK(sizes.front() == 1000);
  CHECK(std::is_sorted(sizes.rbegin(), sizes.rend()));
  CHECK(sizes.back() <= 16);
  // With the last thousand names no worker may get more than its share.
  size_t left = 50'000;
  for (const size_t size : sizes) {
    CHECK((size <= 16 || size <= left / kWorkers + 1));
    left -= size;
  }
  CHECK(left == 0);
}

TEST_CASE("few names are spread over the workers, not given to the first") {
  Plan plan(limits(4, 1000));
  plan.add_page(packed(numbered(400)));
  for (HolderId holder = 1; holder <= 4; ++holder) {
    const std::optional<wire::BatchView> batch = plan.next(holder);
    REQUIRE(batch.has_value());
    CHECK(batch->count >= 16);
    CHECK(batch->count <= 100);
  }
}

TEST_CASE("failures are told by name, with what is known of them") {
  Plan plan(limits(1, 100));
  plan.add_page(packed(numbered(3)));
  plan.add_page(packed(numbered(3, 3)));
  const std::optional<Batch> batch = take(plan, 1);
  REQUIRE(batch.has_value());
  REQUIRE(batch->names.size() == 6);
  Outcome outcome = all_stored(*batch);
  outcome.stored = 3;
  outcome.failures = {{0, {FailureClass::http_status, 404, 1, "gone"}},
                      {3, {FailureClass::reset, 0, 6, "again and again"}},
                      {5, {FailureClass::bad_name, 0, 0, ""}}};
  std::map<std::string, FileFailure> failed;
  CHECK(plan.settle(1, outcome, [&](std::string_view name, const FileFailure& failure) {
    failed[std::string(name)] = failure;
  }));
  REQUIRE(failed.size() == 3);
  CHECK(failed.at("n0").status == 404);
  CHECK(failed.at("n3").cause == FailureClass::reset);
  CHECK(failed.at("n3").attempts == 6);
  CHECK(failed.at("n3").text == "again and again");
  CHECK(failed.at("n5").cause == FailureClass::bad_name);
  plan.end_listing();
  CHECK(plan.finished());
}

TEST_CASE("released names are queued again, first in line and in their order") {
  Plan plan(limits(1, 16));
  plan.add_page(packed(numbered(10)));
  plan.add_page(packed(numbered(10, 10)));
  plan.add_page(packed(numbered(200, 100)));
  const std::optional<Batch> batch = take(plan, 1);
  REQUIRE(batch.has_value());
  REQUIRE(batch->names == numbered(16));
  Outcome outcome = all_stored(*batch);
  outcome.released = {{1, 2}, {8, 4}, {15, 1}};  // the middle run crosses two pages
  outcome.stored = 9;
  CHECK(settle(plan, 1, outcome));
  const std::optional<Batch> again = take(plan, 1);
  REQUIRE(again.has_value());
  const Names expected = {"n1", "n2", "n8", "n9", "n10", "n11", "n15", "n16", "n17"};
  REQUIRE(again->names.size() >= expected.size());
  CHECK(Names(again->names.begin(), again->names.begin() + 9) == expected);
}

TEST_CASE("failures and released names may lie side by side") {
  Plan plan(limits(1, 16));
  plan.add_page(packed(numbered(16)));
  plan.end_listing();
  const std::optional<Batch> batch = take(plan, 1);
  REQUIRE(batch.has_value());
  Outcome outcome = all_stored(*batch);
  outcome.stored = 11;
  outcome.failures = {{2, {}}, {5, {}}};
  outcome.released = {{1, 1}, {3, 2}};
  Names failed;
  CHECK(settle(plan, 1, outcome, &failed));
  CHECK(failed == Names{"n2", "n5"});
  const std::optional<Batch> again = take(plan, 1);
  REQUIRE(again.has_value());
  CHECK(again->names == Names{"n1", "n3", "n4"});
  CHECK(settle(plan, 1, all_stored(*again)));
  CHECK(plan.finished());
}

TEST_CASE("the leases of a holder that is gone are queued again, the oldest first") {
  Plan plan(limits(1, 16, 10));
  plan.add_page(packed(numbered(64)));
  plan.end_listing();
  REQUIRE(take(plan, 1)->names == numbered(16));
  REQUIRE(take(plan, 2)->names == numbered(16, 16));
  REQUIRE(take(plan, 1)->names == numbered(16, 32));
  plan.holder_gone(1);
  CHECK(plan.leases_of(1) == 0);
  CHECK(plan.leases_of(2) == 1);
  CHECK(take(plan, 3)->names == numbered(16));
  CHECK(take(plan, 3)->names == numbered(16, 32));
  CHECK(take(plan, 3)->names == numbered(16, 48));
  CHECK_FALSE(plan.has_queued());
}

TEST_CASE("a stale outcome is refused and changes nothing") {
  Plan plan(limits(1, 16, 10));
  plan.add_page(packed(numbered(32)));
  plan.end_listing();
  const Batch first = *take(plan, 1);
  const Batch second = *take(plan, 2);

  Outcome of_other = all_stored(second);
  Outcome unknown = all_stored(first);
  unknown.lease = 999;
  Outcome shorter = all_stored(first);
  shorter.count = shorter.stored = 15;
  Outcome with_failure = of_other;
  with_failure.stored = 15;
  with_failure.failures = {{0, {}}};
  for (const Outcome& outcome : {of_other, unknown, shorter, with_failure}) {
    Names failed;
    CHECK_FALSE(settle(plan, 1, outcome, &failed));
    CHECK(failed.empty());
    CHECK(plan.leases_of(1) == 1);
    CHECK(plan.leases_of(2) == 1);
    CHECK(plan.leases() == 2);
    CHECK_FALSE(plan.has_queued());
  }

  CHECK(settle(plan, 1, all_stored(first)));
  CHECK_FALSE(settle(plan, 1, all_stored(first)));
  plan.holder_gone(2);
  CHECK_FALSE(settle(plan, 2, all_stored(second)));
  CHECK(plan.leases() == 0);
  CHECK(take(plan, 3)->names == second.names);
}

TEST_CASE("memory is given back as pages are settled") {
  Plan plan(limits(1, 1000));
  const auto run_pages = [&](int pages) {
    for (int page = 0; page < pages; ++page) {
      plan.add_page(packed(Names(100, std::string(1000, 'x'))));
      while (const std::optional<Batch> batch = take(plan, 1)) {
        CHECK(settle(plan, 1, all_stored(*batch)));
      }
    }
  };
  run_pages(10);
  const size_t before = mallinfo2().uordblks;
  run_pages(1000);  // 100 MB of names
  // A sanitizer's allocator reports nothing here; then the check says nothing either.
  CHECK(mallinfo2().uordblks < before + 1'000'000);
  plan.end_listing();
  CHECK(plan.finished());
}

namespace {

// What a plan must do, written down the slow way: where each name is.
struct Model {
  enum class Where { queued, leased, settled };
  struct Held {
    HolderId holder;
    Names names;
  };
  std::map<std::string, Where> where;
  std::map<uint64_t, Held> leases;
  std::vector<std::pair<HolderId, Outcome>> stale;  // outcomes of leases that are over

  size_t count(Where place) const {
    return static_cast<size_t>(std::count_if(
        where.begin(), where.end(), [&](const auto& entry) { return entry.second == place; }));
  }
  size_t leases_of(HolderId holder) const {
    return static_cast<size_t>(std::count_if(leases.begin(), leases.end(), [&](const auto& lease) {
      return lease.second.holder == holder;
    }));
  }
};

// An outcome that settles each name of the batch in a random way.
Outcome random_outcome(Random& random, uint64_t lease, const Names& names) {
  Outcome outcome;
  outcome.lease = lease;
  outcome.count = static_cast<uint32_t>(names.size());
  const bool plain = random.chance(0.5);
  for (uint32_t i = 0; i < outcome.count; ++i) {
    const uint64_t fate = plain ? 0 : random.below(4);
    if (fate == 1) {
      outcome.failures.push_back({i, FileFailure{FailureClass::stalled, 0, 1, names[i]}});
    } else if (fate == 2) {
      auto& runs = outcome.released;
      if (runs.empty() || runs.back().first + runs.back().count != i) runs.push_back({i, 0});
      ++runs.back().count;
    } else {
      ++outcome.stored;
    }
  }
  return outcome;
}

void drive(uint64_t seed) {
  Random random(seed);
  Plan::Limits bounds;
  bounds.workers = static_cast<uint32_t>(1 + random.below(5));
  bounds.batch_names = static_cast<uint32_t>(1 + random.below(60));
  bounds.batch_bytes = 20 + random.below(1000);
  bounds.credit = static_cast<uint32_t>(1 + random.below(5));
  bounds.look_ahead_bytes = 100 + random.below(5000);
  Plan plan(bounds);
  Model model;
  size_t listed = 0;
  HolderId next_holder = bounds.workers + 1;
  std::vector<HolderId> holders;
  for (HolderId holder = 1; holder <= bounds.workers; ++holder)
    holders.push_back(holder);

  const auto hand_out = [&](HolderId holder) {
    const bool may =
        model.leases_of(holder) < bounds.credit && model.count(Model::Where::queued) > 0;
    const std::optional<wire::BatchView> view = plan.next(holder);
    CHECK(view.has_value() == may);
    if (!view) return;
    CHECK(view->count >= 1);
    CHECK(view->count <= bounds.batch_names);
    CHECK((view->names.size() <= bounds.batch_bytes || view->count == 1));
    CHECK(well_formed(view->names, view->count));
    const Names names = names_of(*view);
    for (const std::string& name : names) {
      CHECK(model.where.at(name) == Model::Where::queued);
      model.where[name] = Model::Where::leased;
    }
    CHECK(model.leases.emplace(view->lease, Model::Held{holder, names}).second);
  };

  const auto settle_one = [&](uint64_t lease) {
    const Model::Held held = model.leases.at(lease);
    const Outcome outcome = random_outcome(random, lease, held.names);
    Names failed;
    CHECK(settle(plan, held.holder, outcome, &failed));
    Names expected_failed;
    for (const std::string& name : held.names)
      model.where[name] = Model::Where::settled;
    for (const Outcome::Failure& failure : outcome.failures) {
      expected_failed.push_back(held.names[failure.index]);
    }
    for (const Outcome::Range& run : outcome.released) {
      for (uint32_t i = run.first; i < run.first + run.count; ++i) {
        model.where[held.names[i]] = Model::Where::queued;
      }
    }
    CHECK(failed == expected_failed);
    model.leases.erase(lease);
    model.stale.emplace_back(held.holder, outcome);
  };

  const auto random_lease = [&] {
    auto lease = model.leases.begin();
    std::advance(lease, static_cast<long>(random.below(model.leases.size())));
    return lease->first;
  };

  const uint64_t steps = 50 + random.below(400);
  for (uint64_t step = 0; step < steps; ++step) {
    const HolderId holder = holders[random.below(holders.size())];
    switch (random.below(10)) {
      case 0:
      case 1: {
        if (!plan.wants_page()) break;
        Names page;
        for (uint64_t n = random.below(200); n > 0; --n) {
          page.push_back(std::to_string(listed++) + std::string(random.below(30), '.'));
          model.where[page.back()] = Model::Where::queued;
        }
        plan.add_page(packed(page));
        break;
      }
      case 2:
      case 3:
      case 4:
        hand_out(holder);
        break;
      case 5:
      case 6:
      case 7:
        if (!model.leases.empty()) settle_one(random_lease());
        break;
      case 8: {
        // A worker dies, and another takes its place.
        if (!random.chance(0.3)) break;
        for (auto lease = model.leases.begin(); lease != model.leases.end();) {
          if (lease->second.holder != holder) {
            ++lease;
            continue;
          }
          for (const std::string& name : lease->second.names) {
            model.where[name] = Model::Where::queued;
          }
          model.stale.emplace_back(holder,
                                   random_outcome(random, lease->first, lease->second.names));
          lease = model.leases.erase(lease);
        }
        plan.holder_gone(holder);
        std::replace(holders.begin(), holders.end(), holder, next_holder++);
        break;
      }
      default: {
        // Outcomes that are not the holder's to give, in any of the ways in which they may not be.
        if (!model.stale.empty()) {
          const auto& [old_holder, old] = model.stale[random.below(model.stale.size())];
          CHECK_FALSE(settle(plan, old_holder, old));
        }
        if (!model.leases.empty()) {
          const uint64_t lease = random_lease();
          const Model::Held& held = model.leases.at(lease);
          Outcome outcome = random_outcome(random, lease, held.names);
          CHECK_FALSE(settle(plan, held.holder + 1000, outcome));
          ++outcome.count;
          ++outcome.stored;
          CHECK_FALSE(settle(plan, held.holder, outcome));
        }
      }
    }
    CHECK(plan.has_queued() == (model.count(Model::Where::queued) > 0));
    CHECK(plan.leases() == model.leases.size());
    for (const HolderId each : holders)
      CHECK(plan.leases_of(each) == model.leases_of(each));
    CHECK_FALSE(plan.finished());
  }

  plan.end_listing();
  while (model.count(Model::Where::settled) < model.where.size()) {
    CHECK_FALSE(plan.finished());
    for (const HolderId holder : holders)
      hand_out(holder);
    REQUIRE_FALSE(model.leases.empty());
    settle_one(random_lease());
  }
  while (!model.leases.empty())
    settle_one(model.leases.begin()->first);
  CHECK(plan.finished());
  CHECK(model.where.size() == listed);
}

}  // namespace

TEST_CASE("in any order of events every name is settled once and is never held twice") {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    CAPTURE(seed);
    drive(seed);
  }
}
