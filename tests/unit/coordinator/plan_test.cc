#include "coordinator/plan.h"

#include <doctest/doctest.h>
#include <fmt/core.h>
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
  std::vector<uint32_t> segments;
  bool patient = false;
};
std::optional<Batch> take(Plan& plan, HolderId holder) {
  const std::optional<wire::BatchView> view = plan.next(holder);
  if (!view) return std::nullopt;
  CHECK(well_formed(view->names, view->count));
  uint32_t in_segments = 0;
  for (const uint32_t names : view->segments) {
    CHECK(names > 0);
    in_segments += names;
  }
  CHECK(in_segments == view->count);
  return Batch{view->lease, names_of(*view), view->segments, view->patient};
}

// A whole page, none of whose names is settled yet.
void add_page(Plan& plan, const Names& names, uint64_t number = 0) {
  std::vector<IndexRange> open;
  if (!names.empty()) open.push_back({0, static_cast<uint32_t>(names.size())});
  plan.add_page(number, packed(names), open);
}

// Makes it the lease's only outcome: what it does not say is stored.
Outcome& rest_stored(Outcome& outcome) {
  RangeSet said;
  for (const Outcome::Failure& failure : outcome.failures)
    said.add({failure.index, failure.index + 1});
  for (const Outcome::Range& range : outcome.released)
    said.add({range.first, range.first + range.count});
  outcome.stored.clear();
  for (const IndexRange& gap : said.gaps(outcome.count))
    outcome.stored.push_back({gap.first, gap.count()});
  outcome.last = true;
  return outcome;
}
Outcome outcome_of(const Batch& batch) {
  Outcome outcome;
  outcome.lease = batch.lease;
  outcome.count = static_cast<uint32_t>(batch.names.size());
  return outcome;
}
Outcome all_stored(const Batch& batch) {
  Outcome outcome = outcome_of(batch);
  return rest_stored(outcome);
}

struct Told final : Plan::Receiver {
  void on_stored(uint64_t page, IndexRange names) override { stored[page].push_back(names); }
  void on_content(uint64_t page, const Outcome::Content& content) override {
    bytes[page] += content.bytes;
  }
  void on_failure(uint64_t page, uint32_t index, std::string_view name,
                  const FileFailure& failure) override {
    failed.push_back({page, index, std::string(name), failure});
  }
  bool empty() const { return stored.empty() && bytes.empty() && failed.empty(); }

  struct Failed {
    uint64_t page;
    uint32_t index;
    std::string name;
    FileFailure failure;
  };
  std::map<uint64_t, std::vector<IndexRange>> stored;
  std::map<uint64_t, uint64_t> bytes;
  std::vector<Failed> failed;
};

bool settle(Plan& plan, HolderId holder, const Outcome& outcome, Names* failed = nullptr) {
  Told told;
  const bool taken = plan.settle(holder, outcome, told);
  if (!taken) CHECK(told.empty());
  for (const Told::Failed& each : told.failed) {
    if (failed != nullptr) failed->push_back(each.name);
  }
  return taken;
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
  add_page(plan, {});
  CHECK_FALSE(plan.has_queued());
  CHECK_FALSE(plan.next(1).has_value());
  plan.end_listing();
  CHECK(plan.finished());
}

TEST_CASE("what pages hold is bounded, leased or not, with their markers") {
  struct Case {
    size_t held_bytes;
    size_t marker_bytes;
  };
  for (const Case& c : {Case{16'000, SIZE_MAX}, Case{SIZE_MAX, 40'000}}) {
    Plan::Limits few = limits(16, 1000);
    few.held_bytes = c.held_bytes;
    few.marker_bytes = c.marker_bytes;
    Plan plan(few);
    uint64_t pages = 0;
    const auto add = [&] { plan.add_page(pages++, packed({"name"}), {{0, 1}}, 4'000); };
    while (plan.wants_page() && pages < 1000)
      add();
    CHECK(pages >= 10);
    CHECK(pages <= 16);
    // Leased, they are held all the same.
    const std::optional<wire::BatchView> view = plan.next(1);
    REQUIRE(view.has_value());
    CHECK_FALSE(plan.wants_page());
    Outcome outcome;
    outcome.lease = view->lease;
    outcome.count = view->count;
    outcome.last = true;
    outcome.stored.push_back({0, view->count});
    Told told;
    CHECK(plan.settle(1, outcome, told));
    CHECK(plan.wants_page());
    // Nothing of what was let go is counted twice, or never given back.
    const uint64_t before = pages;
    while (plan.wants_page() && pages < 1000)
      add();
    CHECK(pages - before == view->count);
    plan.clear();
  }
}

TEST_CASE("names are handed out in the order of the listing, and a plan is finished when settled") {
  Plan plan(limits(1, 20, 100));
  add_page(plan, numbered(50));
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
    add_page(plan, numbered(64));
    while (const std::optional<Batch> batch = take(plan, 1)) {
      CHECK(leases.insert(batch->lease).second);
    }
    plan.holder_gone(1);
  }
  CHECK(leases.size() > 10);
}

TEST_CASE("a holder has no more leases than its credit, others have theirs") {
  Plan plan(limits(4, 10, 3));
  add_page(plan, numbered(1000));
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
  add_page(plan, numbered(5000));
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
  add_page(plan, names);
  add_page(plan, names);
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
    add_page(plan, numbered(5, 5 * page));
  const std::optional<Batch> batch = take(plan, 1);
  REQUIRE(batch.has_value());
  CHECK(batch->names == numbered(100));
}

TEST_CASE("pages are asked for until enough names are queued") {
  Plan plan(limits(2, 100));
  CHECK(plan.wants_page());
  add_page(plan, numbered(799));
  CHECK(plan.wants_page());
  add_page(plan, numbered(1, 799));
  CHECK_FALSE(plan.wants_page());
  REQUIRE(plan.next(1).has_value());
  CHECK(plan.wants_page());
}

TEST_CASE("pages are asked for until enough bytes are queued") {
  Plan::Limits bounded = limits(16, 1000);
  bounded.look_ahead_bytes = 10'000;
  Plan plan(bounded);
  add_page(plan, {std::string(4000, 'a'), std::string(4000, 'b')});
  CHECK(plan.wants_page());
  add_page(plan, {std::string(4000, 'c')});
  CHECK_FALSE(plan.wants_page());
  REQUIRE(plan.next(1).has_value());
  CHECK(plan.wants_page());
}

TEST_CASE("a page is taken whatever its size") {
  Plan plan(limits(1, 10));
  add_page(plan, numbered(100'000));
  CHECK_FALSE(plan.wants_page());
  add_page(plan, numbered(10, 100'000));
  CHECK(plan.has_queued());
}

TEST_CASE("batches shrink towards the end, so that all workers end together") {
  constexpr uint32_t kWorkers = 4;
  Plan plan(limits(kWorkers, 1000, 10'000));
  add_page(plan, numbered(50'000));
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
  add_page(plan, numbered(400));
  for (HolderId holder = 1; holder <= 4; ++holder) {
    const std::optional<wire::BatchView> batch = plan.next(holder);
    REQUIRE(batch.has_value());
    CHECK(batch->count >= 16);
    CHECK(batch->count <= 100);
  }
}

TEST_CASE("what became of a batch is told page by page") {
  Plan plan(limits(1, 100));
  add_page(plan, numbered(3), 70);
  add_page(plan, numbered(3, 3), 71);
  const std::optional<Batch> batch = take(plan, 1);
  REQUIRE(batch.has_value());
  REQUIRE(batch->names.size() == 6);
  CHECK(batch->segments == std::vector<uint32_t>{3, 3});
  CHECK_FALSE(batch->patient);
  Outcome outcome = outcome_of(*batch);
  outcome.failures = {{0, {FailureClass::http_status, 404, 1, "gone"}},
                      {4, {FailureClass::reset, 0, 6, "again and again"}}};
  outcome.contents = {{0, 20, 1, 2}, {1, 21, 3, 4}};
  Told told;
  CHECK(plan.settle(1, rest_stored(outcome), told));
  CHECK(told.stored ==
        std::map<uint64_t, std::vector<IndexRange>>{{70, {{1, 3}}}, {71, {{0, 1}, {2, 3}}}});
  CHECK(told.bytes == std::map<uint64_t, uint64_t>{{70, 20}, {71, 21}});
  REQUIRE(told.failed.size() == 2);
  CHECK(told.failed[0].page == 70);
  CHECK(told.failed[0].index == 0);
  CHECK(told.failed[0].name == "n0");
  CHECK(told.failed[0].failure.status == 404);
  CHECK(told.failed[1].page == 71);
  CHECK(told.failed[1].index == 1);
  CHECK(told.failed[1].name == "n4");
  CHECK(told.failed[1].failure.attempts == 6);
  CHECK(told.failed[1].failure.text == "again and again");
  plan.end_listing();
  CHECK(plan.finished());
}

TEST_CASE("of a page that was begun only what is open is handed out, by its place in the page") {
  Plan plan(limits(1, 100));
  plan.add_page(5, packed(numbered(10)), {{1, 3}, {7, 8}, {9, 10}});
  const std::optional<Batch> batch = take(plan, 1);
  REQUIRE(batch.has_value());
  CHECK(batch->names == Names{"n1", "n2", "n7", "n9"});
  CHECK(batch->segments == std::vector<uint32_t>{2, 1, 1});
  Outcome outcome = outcome_of(*batch);
  outcome.failures = {{2, {}}};
  Told told;
  CHECK(plan.settle(1, rest_stored(outcome), told));
  CHECK(told.stored.at(5) == std::vector<IndexRange>{{1, 3}, {9, 10}});
  CHECK(told.failed.at(0).index == 7);
  plan.end_listing();
  CHECK(plan.finished());
}

TEST_CASE("a lease that is settled in part gives its credit back, and stays a lease") {
  Plan plan(limits(1, 16, 1));
  add_page(plan, numbered(48));
  plan.end_listing();
  const Batch slow = *take(plan, 1);
  CHECK_FALSE(take(plan, 1).has_value());
  Outcome part = outcome_of(slow);
  part.stored = {{0, 15}};
  CHECK(settle(plan, 1, part));
  CHECK(plan.leases_of(1) == 0);
  CHECK(plan.leases() == 1);
  const Batch next = *take(plan, 1);
  CHECK(next.names == numbered(16, 16));
  CHECK_FALSE(take(plan, 1).has_value());
  Outcome rest = outcome_of(slow);
  rest.stored = {{15, 1}};
  rest.last = true;
  CHECK(settle(plan, 1, rest));
  CHECK_MESSAGE(plan.leases_of(1) == 1, "the credit is given back once");
  CHECK(settle(plan, 1, all_stored(next)));
  CHECK(settle(plan, 1, all_stored(*take(plan, 1))));
  CHECK(plan.finished());
}

TEST_CASE("an outcome that keeps its credit does not free it; a later one that does not, does") {
  Plan plan(limits(1, 16, 1));
  add_page(plan, numbered(48));
  plan.end_listing();
  const Batch large = *take(plan, 1);
  Outcome part = outcome_of(large);
  part.keeps_credit = true;
  part.stored = {{0, 4}};
  CHECK(settle(plan, 1, part));
  part.stored = {{4, 4}};
  CHECK(settle(plan, 1, part));
  CHECK(plan.leases_of(1) == 1);
  CHECK_FALSE(take(plan, 1).has_value());
  // Nothing new, but for the credit.
  CHECK(settle(plan, 1, outcome_of(large)));
  CHECK(plan.leases_of(1) == 0);
  CHECK(plan.leases() == 1);
  const Batch next = *take(plan, 1);
  // What has been given back is not taken again.
  part.stored = {{8, 4}};
  CHECK(settle(plan, 1, part));
  CHECK(plan.leases_of(1) == 1);
  Outcome rest = outcome_of(large);
  rest.stored = {{12, 4}};
  rest.last = true;
  CHECK(settle(plan, 1, rest));
  CHECK(plan.leases_of(1) == 1);
  CHECK(settle(plan, 1, all_stored(next)));
  CHECK(settle(plan, 1, all_stored(*take(plan, 1))));
  CHECK(plan.finished());
}

TEST_CASE("a last outcome frees the credit that the parts before it have kept") {
  Plan plan(limits(1, 16, 1));
  add_page(plan, numbered(32));
  const Batch batch = *take(plan, 1);
  Outcome part = outcome_of(batch);
  part.keeps_credit = true;
  part.stored = {{0, 4}};
  CHECK(settle(plan, 1, part));
  Outcome rest = outcome_of(batch);
  rest.stored = {{4, 12}};
  rest.last = true;
  CHECK(settle(plan, 1, rest));
  CHECK(plan.leases_of(1) == 0);
  CHECK(take(plan, 1).has_value());
}

TEST_CASE("the shards of an outcome are told before what is stored in them; of a stale one never") {
  struct Order final : Plan::Receiver {
    void on_shard(const ShardEnd& end) override { told += fmt::format("shard {} ", end.number); }
    void on_stored(uint64_t, IndexRange) override { told += "stored "; }
    void on_content(uint64_t, const Outcome::Content&) override { told += "content "; }
    void on_failure(uint64_t, uint32_t, std::string_view, const FileFailure&) override {
      told += "failure ";
    }
    std::string told;
  };
  Plan plan(limits(1, 16));
  add_page(plan, numbered(16));
  const Batch batch = *take(plan, 1);
  Outcome outcome = outcome_of(batch);
  outcome.shards = {{0, 3, 512, false}, {0, 4, 1024, true}};
  outcome.stored = {{0, 4}};
  outcome.contents = {{0, 40, 1, 1}};
  outcome.failures = {{4, FileFailure{FailureClass::stalled, 0, 1, "x"}}};
  Order order;
  CHECK_FALSE(plan.settle(2, outcome, order));
  CHECK(order.told.empty());
  CHECK(plan.settle(1, outcome, order));
  CHECK(order.told == "shard 3 shard 4 stored content failure ");
  order.told.clear();
  CHECK_FALSE(plan.settle(1, outcome, order));
  CHECK(order.told.empty());
}

TEST_CASE(
    "of a lease that is settled in part, only the rest is queued again when its holder goes") {
  Plan plan(limits(1, 16, 10));
  add_page(plan, numbered(16));
  const Batch batch = *take(plan, 1);
  Outcome part = outcome_of(batch);
  part.stored = {{2, 3}};
  part.failures = {{6, {}}};
  part.released = {{0, 1}};
  CHECK(settle(plan, 1, part));
  plan.holder_gone(1);
  Names again;
  while (const std::optional<Batch> batch_again = take(plan, 2))
    again.insert(again.end(), batch_again->names.begin(), batch_again->names.end());
  std::sort(again.begin(), again.end());
  Names expected = {"n0", "n1", "n5"};
  for (const std::string& name : numbered(9, 7))
    expected.push_back(name);
  std::sort(expected.begin(), expected.end());
  CHECK(again == expected);
}

TEST_CASE(
    "released names are queued again, first in line, in their order, in a batch of their own") {
  Plan plan(limits(1, 16));
  add_page(plan, numbered(10));
  add_page(plan, numbered(10, 10));
  add_page(plan, numbered(200, 100));
  const std::optional<Batch> batch = take(plan, 1);
  REQUIRE(batch.has_value());
  REQUIRE(batch->names == numbered(16));
  Outcome outcome = outcome_of(*batch);
  outcome.released = {{1, 2}, {8, 4}, {15, 1}};  // the middle run crosses two pages
  CHECK(settle(plan, 1, rest_stored(outcome)));
  CHECK(plan.next_is_from(1));
  CHECK_FALSE(plan.next_is_from(2));
  const std::optional<Batch> again = take(plan, 2);
  REQUIRE(again.has_value());
  CHECK(again->names == Names{"n1", "n2", "n8", "n9", "n10", "n11", "n15"});
  CHECK(again->patient);
  CHECK_FALSE(plan.next_is_from(1));
  const std::optional<Batch> others = take(plan, 2);
  REQUIRE(others.has_value());
  CHECK(others->names.front() == "n16");
  CHECK_FALSE(others->patient);
}

TEST_CASE("names that two holders released do not share a batch") {
  Plan plan(limits(2, 16));
  add_page(plan, numbered(32));
  const Batch first = *take(plan, 1), second = *take(plan, 2);
  for (const auto& [holder, batch] : {std::pair(1, &first), std::pair(2, &second)}) {
    Outcome outcome = outcome_of(*batch);
    outcome.released = {{0, outcome.count}};
    outcome.last = true;
    CHECK(settle(plan, static_cast<HolderId>(holder), outcome));
  }
  CHECK(plan.next_is_from(2));
  CHECK(take(plan, 1)->names == second.names);
  CHECK(plan.next_is_from(1));
  CHECK(take(plan, 2)->names == first.names);
}

TEST_CASE("a page may be forgotten before anything of it is leased") {
  Plan plan(limits(1, 16));
  add_page(plan, numbered(100));
  plan.clear();
  CHECK_FALSE(plan.has_queued());
  CHECK(plan.wants_page());
  CHECK_FALSE(take(plan, 1).has_value());
  add_page(plan, numbered(3));
  CHECK(settle(plan, 1, all_stored(*take(plan, 1))));
  plan.end_listing();
  CHECK(plan.finished());
}

TEST_CASE("failures and released names may lie side by side") {
  Plan plan(limits(1, 16));
  add_page(plan, numbered(16));
  plan.end_listing();
  const std::optional<Batch> batch = take(plan, 1);
  REQUIRE(batch.has_value());
  Outcome outcome = outcome_of(*batch);
  outcome.failures = {{2, {}}, {5, {}}};
  outcome.released = {{1, 1}, {3, 2}};
  Names failed;
  CHECK(settle(plan, 1, rest_stored(outcome), &failed));
  CHECK(failed == Names{"n2", "n5"});
  const std::optional<Batch> again = take(plan, 1);
  REQUIRE(again.has_value());
  CHECK(again->names == Names{"n1", "n3", "n4"});
  CHECK(settle(plan, 1, all_stored(*again)));
  CHECK(plan.finished());
}

TEST_CASE("the leases of a holder that is gone are queued again, the oldest first") {
  Plan plan(limits(1, 16, 10));
  add_page(plan, numbered(64));
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

TEST_CASE("an outcome that does not fit its lease is refused and changes nothing") {
  Plan plan(limits(1, 16, 10));
  add_page(plan, numbered(32));
  plan.end_listing();
  const Batch first = *take(plan, 1);
  const Batch second = *take(plan, 2);
  Outcome part = outcome_of(first);
  part.stored = {{0, 4}};
  part.released = {{15, 1}};
  REQUIRE(settle(plan, 1, part));
  REQUIRE(take(plan, 3)->names == Names{"n15"});

  Outcome rest = outcome_of(first);
  rest.stored = {{4, 11}};
  rest.last = true;
  const auto changed = [&](auto change) {
    Outcome outcome = rest;
    change(outcome);
    return outcome;
  };
  for (const Outcome& outcome :
       {all_stored(second),  // of another holder
        changed([](Outcome& each) { each.lease = 999; }),
        changed([](Outcome& each) { each.count = 15; }), changed([](Outcome& each) {
          each.stored = {{3, 12}};
        }),
        changed([](Outcome& each) {
          each.stored = {{4, 12}};
        }),
        changed([](Outcome& each) {
          each.stored = {{4, 10}};
        }),
        changed([](Outcome& each) {
          each.failures = {{2, {}}};
        }),
        changed([](Outcome& each) {
          each.failures = {{7, {}}};
        }),
        changed([](Outcome& each) {
          each.released = {{15, 1}};
        }),
        changed([](Outcome& each) {
          each.contents = {{1, 10, 0, 0}};
        })}) {
    Names failed;
    CHECK_FALSE(settle(plan, 1, outcome, &failed));
    CHECK(failed.empty());
    CHECK(plan.leases_of(2) == 1);
    CHECK(plan.leases() == 3);
    CHECK_FALSE(plan.has_queued());
  }

  CHECK(settle(plan, 1, rest));
  CHECK_FALSE(settle(plan, 1, rest));
  plan.holder_gone(2);
  CHECK_FALSE(settle(plan, 2, all_stored(second)));
  CHECK(plan.leases() == 1);
  CHECK(take(plan, 3)->names == second.names);
}

TEST_CASE("memory is given back as pages are settled") {
  Plan plan(limits(1, 1000));
  const auto run_pages = [&](int pages) {
    for (int page = 0; page < pages; ++page) {
      add_page(plan, Names(100, std::string(1000, 'x')));
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

// What a plan must do, written down the slow way: where each name is, and who it was with.
class Model {
 public:
  enum class Where : uint8_t { queued, leased, settled };
  struct Name {
    uint64_t page = 0;
    uint32_t index = 0;
    Where where = Where::queued;
    HolderId released_by = 0;
    uint64_t content = 0;
  };
  struct Held {
    HolderId holder = 0;
    Names names;
    std::vector<uint32_t> segments;
    std::vector<bool> open;
    bool has_credit = true;
  };

  size_t count(Where place) const {
    return static_cast<size_t>(std::count_if(names.begin(), names.end(), [&](const auto& entry) {
      return entry.second.where == place;
    }));
  }
  size_t credits_of(HolderId holder) const {
    return static_cast<size_t>(std::count_if(leases.begin(), leases.end(), [&](const auto& lease) {
      return lease.second.holder == holder && lease.second.has_credit;
    }));
  }

  std::map<std::string, Name> names;
  std::map<uint64_t, Names> pages;
  std::map<uint64_t, Held> leases;
  std::map<uint64_t, uint64_t> stored_bytes, stored_sum;  // of each page
};

class Driver : private Plan::Receiver {
 public:
  explicit Driver(uint64_t seed) : random_(seed), bounds_(random_bounds()), plan_(bounds_) {
    for (HolderId holder = 1; holder <= bounds_.workers; ++holder)
      holders_.push_back(holder);
    next_holder_ = bounds_.workers + 1;
  }

  void run() {
    for (uint64_t steps = 50 + random_.below(400); steps > 0; --steps) {
      step(holders_[random_.below(holders_.size())]);
      check();
      CHECK_FALSE(plan_.finished());
    }
    plan_.end_listing();
    while (model_.count(Where::settled) < model_.names.size()) {
      CHECK_FALSE(plan_.finished());
      for (const HolderId holder : holders_)
        hand_out(holder);
      REQUIRE_FALSE(model_.leases.empty());
      settle_some(random_lease(), random_.chance(0.7));
      check();
    }
    while (!model_.leases.empty())
      settle_some(model_.leases.begin()->first, true);
    CHECK(plan_.finished());
    for (const auto& [page, bytes] : told_bytes_) {
      CHECK(bytes == model_.stored_bytes.at(page));
      CHECK(told_sum_.at(page) == model_.stored_sum.at(page));
    }
    CHECK(told_bytes_.size() == model_.stored_bytes.size());
  }

 private:
  using Where = Model::Where;

  Plan::Limits random_bounds() {
    Plan::Limits bounds;
    bounds.workers = static_cast<uint32_t>(1 + random_.below(5));
    bounds.batch_names = static_cast<uint32_t>(1 + random_.below(60));
    bounds.batch_bytes = 20 + random_.below(1000);
    bounds.credit = static_cast<uint32_t>(1 + random_.below(5));
    bounds.look_ahead_bytes = 100 + random_.below(5000);
    return bounds;
  }

  void step(HolderId holder) {
    switch (random_.below(10)) {
      case 0:
      case 1:
        if (plan_.wants_page()) list();
        break;
      case 2:
      case 3:
      case 4:
        hand_out(holder);
        break;
      case 5:
      case 6:
      case 7:
        if (!model_.leases.empty()) settle_some(random_lease(), random_.chance(0.4));
        break;
      case 8:
        if (random_.chance(0.3)) die(holder);
        break;
      default:
        lie();
    }
  }

  void list() {
    const uint64_t page = 3 * model_.pages.size() + 7;
    Names& names = model_.pages[page];
    RangeSet open;
    const bool begun = random_.chance(0.3);
    const auto count = static_cast<uint32_t>(random_.below(200));
    for (uint32_t i = 0; i < count; ++i) {
      names.push_back(std::to_string(page) + "/" + std::to_string(i) +
                      std::string(random_.below(30), '.'));
      if (begun && random_.chance(0.6)) continue;  // an earlier run has settled it
      open.add({i, i + 1});
      model_.names[names.back()] = {page, i, Where::queued, 0, random_.next()};
    }
    plan_.add_page(page, packed(names), open.ranges());
  }

  void hand_out(HolderId holder) {
    const bool may = model_.credits_of(holder) < bounds_.credit && model_.count(Where::queued) > 0;
    const bool from_itself = plan_.next_is_from(holder);
    const std::optional<wire::BatchView> view = plan_.next(holder);
    CHECK(view.has_value() == may);
    if (!view) return;
    CHECK(view->count >= 1);
    CHECK(view->count <= bounds_.batch_names);
    CHECK((view->names.size() <= bounds_.batch_bytes || view->count == 1));
    CHECK(well_formed(view->names, view->count));
    Model::Held held{holder, names_of(*view), view->segments, {}, true};
    held.open.resize(held.names.size(), true);
    size_t at = 0;
    for (const uint32_t segment : view->segments) {
      const Model::Name& first = model_.names.at(held.names.at(at));
      for (uint32_t i = 0; i < segment; ++i, ++at) {
        Model::Name& name = model_.names.at(held.names.at(at));
        CHECK(name.page == first.page);
        CHECK(name.index == first.index + i);
        CHECK(name.where == Where::queued);
        CHECK(view->patient == (name.released_by != 0));
        CHECK(from_itself == (name.released_by == holder));
        name.where = Where::leased;
      }
    }
    CHECK(at == held.names.size());
    CHECK(model_.leases.emplace(view->lease, held).second);
  }

  // An outcome about some of the names that are open, or all; and whether it is the last.
  Outcome random_outcome(uint64_t lease, const Model::Held& held, bool all) {
    Outcome outcome;
    outcome.lease = lease;
    outcome.count = static_cast<uint32_t>(held.names.size());
    const auto add = [](std::vector<Outcome::Range>& runs, uint32_t i) {
      if (runs.empty() || runs.back().first + runs.back().count != i) runs.push_back({i, 0});
      ++runs.back().count;
    };
    const bool plain = random_.chance(0.5);
    const double share = all ? 1 : 0.4;
    bool leaves_open = false;
    uint32_t i = 0;
    for (uint32_t segment = 0; segment < held.segments.size(); ++segment) {
      Outcome::Content content{segment, 0, 0, 0};
      for (const uint32_t end = i + held.segments[segment]; i < end; ++i) {
        if (!held.open[i]) continue;
        if (!random_.chance(share)) {
          leaves_open = true;
          continue;
        }
        const uint64_t fate = plain ? 0 : random_.below(4);
        if (fate == 1) {
          outcome.failures.push_back({i, FileFailure{FailureClass::stalled, 0, 1, held.names[i]}});
        } else if (fate == 2) {
          add(outcome.released, i);
        } else {
          add(outcome.stored, i);
          content.bytes += 10;
          content.sum_low += model_.names.at(held.names[i]).content;
        }
      }
      if (content.bytes > 0) outcome.contents.push_back(content);
    }
    outcome.last = !leaves_open && random_.chance(0.9);
    outcome.keeps_credit = !outcome.last && random_.chance(0.3);
    return outcome;
  }

  void settle_some(uint64_t lease, bool all) {
    Model::Held& held = model_.leases.at(lease);
    const Outcome outcome = random_outcome(lease, held, all);
    expected_stored_.clear();
    expected_failed_.clear();
    const auto each = [&](const std::vector<Outcome::Range>& ranges, const auto& body) {
      for (const Outcome::Range& range : ranges) {
        for (uint32_t i = range.first; i < range.first + range.count; ++i) {
          held.open[i] = false;
          body(held.names[i]);
        }
      }
    };
    each(outcome.stored, [&](const std::string& name) { expected_stored_.insert(name); });
    each(outcome.released, [&](const std::string& name) {
      model_.names.at(name).where = Where::queued;
      model_.names.at(name).released_by = held.holder;
    });
    for (const Outcome::Failure& failure : outcome.failures) {
      held.open[failure.index] = false;
      expected_failed_.push_back(held.names[failure.index]);
    }
    for (const std::string& name : expected_stored_) {
      const Model::Name& known = model_.names.at(name);
      model_.stored_bytes[known.page] += 10;
      model_.stored_sum[known.page] += known.content;
    }
    if (!outcome.keeps_credit) held.has_credit = false;
    CHECK(plan_.settle(held.holder, outcome, *this));
    CHECK(expected_stored_.empty());
    CHECK(expected_failed_.empty());
    stale_.emplace_back(held.holder, outcome);
    if (outcome.last) model_.leases.erase(lease);
  }

  void on_stored(uint64_t page, IndexRange range) override {
    for (uint32_t i = range.first; i < range.end; ++i)
      settled(model_.pages.at(page).at(i));
    for (uint32_t i = range.first; i < range.end; ++i)
      CHECK(expected_stored_.erase(model_.pages.at(page).at(i)) == 1);
  }
  void on_content(uint64_t page, const Outcome::Content& content) override {
    told_bytes_[page] += content.bytes;
    told_sum_[page] += content.sum_low;
  }
  void on_failure(uint64_t page, uint32_t index, std::string_view name,
                  const FileFailure& failure) override {
    REQUIRE_FALSE(expected_failed_.empty());
    CHECK(expected_failed_.front() == name);
    CHECK(failure.text == name);
    CHECK(model_.pages.at(page).at(index) == name);
    expected_failed_.erase(expected_failed_.begin());
    settled(std::string(name));
  }
  void settled(const std::string& name) {
    CHECK(model_.names.at(name).where == Where::leased);
    model_.names.at(name).where = Where::settled;
  }

  // A worker dies, and another takes its place.
  void die(HolderId holder) {
    for (auto lease = model_.leases.begin(); lease != model_.leases.end();) {
      const Model::Held& held = lease->second;
      if (held.holder != holder) {
        ++lease;
        continue;
      }
      for (size_t i = 0; i < held.names.size(); ++i) {
        if (!held.open[i]) continue;
        model_.names.at(held.names[i]).where = Where::queued;
        model_.names.at(held.names[i]).released_by = 0;
      }
      stale_.emplace_back(holder, random_outcome(lease->first, held, true));
      lease = model_.leases.erase(lease);
    }
    plan_.holder_gone(holder);
    std::replace(holders_.begin(), holders_.end(), holder, next_holder_++);
  }

  // Outcomes that are not the holder's to give, in any of the ways in which they may not be.
  void lie() {
    Told told;
    if (!stale_.empty()) {
      const auto& [holder, outcome] = stale_[random_.below(stale_.size())];
      const bool says_something =
          !outcome.stored.empty() || !outcome.failures.empty() || !outcome.released.empty();
      if (says_something || !model_.leases.contains(outcome.lease)) {
        CHECK_FALSE(plan_.settle(holder, outcome, told));
      }
    }
    if (!model_.leases.empty()) {
      const uint64_t lease = random_lease();
      const Model::Held& held = model_.leases.at(lease);
      Outcome outcome = random_outcome(lease, held, random_.chance(0.5));
      CHECK_FALSE(plan_.settle(held.holder + 1000, outcome, told));
      ++outcome.count;
      CHECK_FALSE(plan_.settle(held.holder, outcome, told));
      --outcome.count;
      outcome.contents = {{static_cast<uint32_t>(held.segments.size()), 1, 1, 1}};
      CHECK_FALSE(plan_.settle(held.holder, outcome, told));
    }
    CHECK(told.empty());
  }

  uint64_t random_lease() {
    auto lease = model_.leases.begin();
    std::advance(lease, static_cast<long>(random_.below(model_.leases.size())));
    return lease->first;
  }

  void check() {
    CHECK(plan_.has_queued() == (model_.count(Where::queued) > 0));
    CHECK(plan_.leases() == model_.leases.size());
    for (const HolderId each : holders_)
      CHECK(plan_.leases_of(each) == model_.credits_of(each));
  }

  Random random_;
  Plan::Limits bounds_;
  Plan plan_;
  Model model_;
  std::vector<HolderId> holders_;
  HolderId next_holder_ = 0;
  std::vector<std::pair<HolderId, Outcome>> stale_;
  std::set<std::string> expected_stored_;
  Names expected_failed_;
  std::map<uint64_t, uint64_t> told_bytes_, told_sum_;
};

}  // namespace

TEST_CASE(
    "in any order of events every name is settled once, in its page, and is never held twice") {
#ifdef __SANITIZE_ADDRESS__
  constexpr uint64_t kSeeds = 60;  // each is ten times as slow
#else
  constexpr uint64_t kSeeds = 300;
#endif
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    CAPTURE(seed);
    Driver(seed).run();
  }
}
