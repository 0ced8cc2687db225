#include "store/ledger_state.h"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "base/random.h"

namespace gigafetch::store {
namespace {

using Next = PageFacts::Next;

PageFacts page_of(uint32_t names, std::optional<std::string> marker = std::nullopt) {
  PageFacts facts;
  facts.next = marker ? Next::marker : Next::none;
  facts.marker = marker.value_or("");
  facts.listed = facts.names = names;
  return facts;
}

uint64_t open_names(const LedgerState& state) {
  uint64_t open = 0;
  for (const auto& [number, page] : state.open()) {
    if (!page.retry) open += page.facts.names - page.settled.count();
  }
  return open;
}

bool balanced(const LedgerState& state) {
  const LedgerTotals& totals = state.totals();
  return totals.listed ==
         totals.stored + totals.failed + totals.rejected + totals.duplicates + open_names(state);
}

}  // namespace

TEST_CASE("a page is open until the last of its names is settled, then done") {
  LedgerState state;
  PageFacts facts = page_of(5, "m");
  facts.listed = 8;
  facts.duplicates = 2;
  facts.rejected = 1;
  facts.filtered = 7;
  facts.names_hash = {1, 2};
  facts.log_end = 100;
  REQUIRE(state.add_page(facts));
  CHECK(state.next_page() == 1);
  CHECK(state.open().at(0).facts == facts);
  CHECK(state.add_stored(0, {{0, 1}, {3, 5}}, 30, {5, 5}));
  CHECK(balanced(state));
  CHECK(state.add_failed(0, {{1, 3}}, 1, 200));
  CHECK(balanced(state));
  CHECK(state.open().empty());
  REQUIRE(state.done().size() == 1);
  CHECK(state.done()[0] == DonePage{0, 8, 5, 2, 2, 7, 1, 3, 30, {1, 2}, {5, 5}});
  CHECK(state.done()[0].balanced());
  CHECK(state.totals() == LedgerTotals{8, 3, 1, 2, 2, 7, 30, 1, {5, 5}});
  CHECK(state.frontier() == Frontier{false, "m", 0});
  CHECK(state.failures() == FailureSpan{0, 200, 0, 0});
  CHECK_FALSE(state.all_settled());
  PageFacts last = page_of(0);
  last.log_end = 200;
  CHECK(state.add_page(last));
  CHECK(state.all_settled());
}

TEST_CASE("a page that --limit cut goes on behind the names that are listed") {
  LedgerState state;
  REQUIRE(state.add_page(page_of(1, "m")));
  PageFacts cut = page_of(10);
  cut.next = Next::same;
  REQUIRE(state.add_page(cut));
  CHECK(state.frontier() == Frontier{false, "m", 10});
  REQUIRE(state.add_page(cut));
  CHECK(state.frontier() == Frontier{false, "m", 20});
  CHECK(state.open().at(2).asked_by == "m");
  CHECK(state.open().at(2).skipped == 10);
  REQUIRE(state.add_page(page_of(10, "n")));
  CHECK(state.open().at(3).skipped == 20);
  CHECK(state.frontier() == Frontier{false, "n", 0});
}

TEST_CASE("a page that came back different takes the old one's place, not its figures") {
  LedgerState state;
  REQUIRE(state.add_page(page_of(3, "m")));
  REQUIRE(state.add_page(page_of(4, "n")));
  REQUIRE(state.add_stored(1, {{0, 2}}, 20, {7, 0}));
  const Frontier frontier = state.frontier();
  PageFacts changed = page_of(6, "n");
  changed.listed = 8;
  changed.duplicates = 1;
  changed.rejected = 1;
  changed.log_end = 10;
  REQUIRE(state.replace_page(1, changed));
  CHECK(state.frontier() == frontier);
  CHECK_FALSE(state.open().contains(1));
  CHECK(state.open().at(2).asked_by == "m");
  CHECK(state.totals() == LedgerTotals{11, 0, 0, 1, 1, 0, 0, 2, {}});
  CHECK(balanced(state));
  const LedgerState before = state;
  CHECK_FALSE_MESSAGE(state.replace_page(2, page_of(1)), "it has failures, in the log");
  CHECK_FALSE(state.replace_page(1, page_of(1)));
  CHECK_FALSE(state.replace_page(9, page_of(1)));
  CHECK(state == before);
}

TEST_CASE("a retry page moves names from failed to stored or rejected, and lists nothing") {
  LedgerState state;
  REQUIRE(state.add_page(page_of(5)));
  REQUIRE(state.add_failed(0, {{0, 5}}, 1, 500));
  CHECK(state.totals().failed == 4);
  REQUIRE(state.add_retry_page({0, 400, 0, 400}, 3));
  CHECK(state.failures() == FailureSpan{0, 500, 400, 0});
  CHECK_FALSE(state.all_settled());
  CHECK(balanced(state));
  REQUIRE(state.add_stored(1, {{0, 1}}, 10, {1, 0}));
  CHECK(state.totals().failed == 3);
  REQUIRE(state.add_failed(1, {{1, 3}}, 1, 600));
  CHECK(state.totals().failed == 2);
  CHECK(state.totals().rejected == 2);
  CHECK(balanced(state));
  CHECK(state.totals().listed == 5);
  CHECK(state.totals().pages == 1);
  CHECK(state.all_settled());
  CHECK_MESSAGE(state.done().size() == 1, "a retry page is none of the listing's");

  const LedgerState before = state;
  CHECK_FALSE_MESSAGE(state.add_retry_page({0, 500, 0, 500}, 1), "they are tried already");
  CHECK_FALSE(state.add_retry_page({400, 601, 400, 601}, 1));
  CHECK_FALSE(state.add_retry_page({500, 400, 500, 400}, 1));
  CHECK(state == before);
  // Permanent ones, in two pages, the first of which ends before what was tried of the others.
  REQUIRE(state.add_retry_page({0, 300, 400, 0}, 1));
  CHECK(state.failures() == FailureSpan{0, 600, 400, 300});
  REQUIRE(state.add_retry_page({300, 600, 400, 300}, 1));
  CHECK(state.failures() == FailureSpan{0, 600, 600, 600});
}

TEST_CASE("a listing that begins anew keeps the pages that are done, and counts from nothing") {
  LedgerState state;
  PageFacts first = page_of(3, "m");
  first.names_hash = {9, 9};
  REQUIRE(state.add_page(first));
  REQUIRE(state.add_stored(0, {{0, 3}}, 30, {3, 3}));
  REQUIRE(state.add_page(page_of(2, "n")));
  REQUIRE(state.add_failed(1, {{0, 1}}, 0, 50));
  REQUIRE(state.relist());
  CHECK(state.relisting());
  CHECK(state.totals() == LedgerTotals{});
  CHECK(state.frontier() == Frontier{});
  CHECK(state.open().empty());
  CHECK(state.failures() == FailureSpan{50, 50, 50, 50});
  CHECK(state.done().size() == 1);
  CHECK(state.next_page() == 2);

  first.log_end = 50;
  REQUIRE(state.add_known_page(first, 30, {3, 3}));
  CHECK(state.totals() == LedgerTotals{3, 3, 0, 0, 0, 0, 30, 1, {3, 3}});
  CHECK(state.done().back() == DonePage{2, 3, 3, 0, 0, 0, 0, 3, 30, {9, 9}, {3, 3}});
  CHECK(state.frontier() == Frontier{false, "m", 0});
  PageFacts last = page_of(1);
  last.log_end = 50;
  REQUIRE(state.add_page(last));
  CHECK_FALSE(state.relisting());
  CHECK(balanced(state));
}

TEST_CASE("what contradicts the records before it is refused and changes nothing") {
  LedgerState state;
  PageFacts facts = page_of(10, "m");
  facts.log_end = 100;
  REQUIRE(state.add_page(facts));
  REQUIRE(state.add_stored(0, {{2, 4}}, 1, {}));
  const LedgerState before = state;
  PageFacts unbalanced = page_of(3), back = page_of(3), rejecting = page_of(3);
  unbalanced.listed = 4;
  unbalanced.log_end = rejecting.log_end = 100;
  back.log_end = 99;
  rejecting.listed = 4;
  rejecting.rejected = 1;
  CHECK_FALSE(state.add_page(unbalanced));
  CHECK_FALSE(state.add_page(back));
  CHECK_FALSE(state.replace_page(0, unbalanced));
  CHECK_FALSE(state.replace_page(0, back));
  CHECK_FALSE(state.add_known_page(unbalanced, 0, {}));
  CHECK_FALSE_MESSAGE(state.add_known_page(rejecting, 0, {}), "not all of it is stored");
  using Ranges = std::vector<IndexRange>;
  for (const Ranges& ranges :
       {Ranges{{3, 5}}, Ranges{{0, 3}}, Ranges{{2, 4}}, Ranges{{0, 10}}, Ranges{{9, 11}},
        Ranges{{5, 5}}, Ranges{{6, 5}}, Ranges{{5, 6}, {4, 5}}, Ranges{{5, 7}, {6, 8}},
        Ranges{{0, 1}, {2, 3}}, Ranges{{0, UINT32_MAX}}}) {
    CHECK_FALSE(state.add_stored(0, ranges, 1, {1, 1}));
    CHECK_FALSE(state.add_failed(0, ranges, 0, 100));
  }
  CHECK_FALSE(state.add_stored(1, {{0, 1}}, 1, {}));
  CHECK_FALSE(state.add_failed(0, {{0, 1}}, 2, 100));
  CHECK_FALSE(state.add_failed(0, {{0, 1}}, 0, 99));
  CHECK(state == before);
  facts = page_of(1);
  facts.log_end = 100;
  REQUIRE(state.add_page(facts));
  const LedgerState ended = state;
  CHECK_FALSE_MESSAGE(state.add_page(facts), "behind the last page");
  CHECK_FALSE(state.add_known_page(facts, 0, {}));
  CHECK(state == ended);
}

TEST_CASE("bytes that are no checkpoint are refused and change nothing") {
  LedgerState state;
  REQUIRE(state.add_page(page_of(3, "m")));
  REQUIRE(state.add_shard({3, 1, 4096, false}));
  REQUIRE(state.add_shard({3, 0, 1 << 30, true}));
  REQUIRE(state.add_stored(0, {{1, 2}}, 5, {1, 2}));
  const std::string whole = state.checkpoint(0);
  LedgerState other;
  for (size_t size = 0; size < whole.size(); ++size)
    CHECK_FALSE(other.restore(std::string(whole, 0, size)));
  CHECK_FALSE(other.restore(whole + '\0'));
  CHECK(other == LedgerState{});
  CHECK(other.restore(whole));
  CHECK(other == state);
  CHECK(other.shards().next_number(3) == 2);
  CHECK(other.shards().is_finished({3, 0}));
}

TEST_CASE("a shard's end that contradicts the ones before it is refused and changes nothing") {
  LedgerState state;
  REQUIRE(state.add_shard({0, 0, 4096, false}));
  REQUIRE(state.add_shard({0, 1, 4096, true}));
  const LedgerState before = state;
  CHECK_FALSE(state.add_shard({0, 0, 4095, false}));
  CHECK_FALSE(state.add_shard({0, 1, 8192, true}));
  CHECK(state == before);
  REQUIRE(state.relist());
  CHECK_MESSAGE(state.shards() == before.shards(), "files stay");
}

namespace {

// What the records amount to, written down the slow way: what became of each name.
struct Model {
  enum class Fate : uint8_t { open, stored, failed, rejected };
  struct Page {
    PageFacts facts;
    std::optional<std::string> asked_by;
    uint64_t skipped = 0;
    bool retry = false;
    std::vector<Fate> fates;
    uint64_t bytes = 0;
    Hash128 content;
  };
  std::map<uint64_t, Page> pages;  // of the listing, and retries
  Frontier frontier;
  uint64_t log_end = 0;
  uint64_t next = 0;

  static uint64_t count(const Page& page, Fate fate) {
    uint64_t found = 0;
    for (const Fate each : page.fates)
      found += each == fate ? 1 : 0;
    return found;
  }
  static bool is_open(const Page& page) { return count(page, Fate::open) > 0; }

  LedgerTotals totals() const {
    LedgerTotals sum;
    for (const auto& [number, page] : pages) {
      sum.stored += count(page, Fate::stored);
      sum.rejected += count(page, Fate::rejected) + page.facts.rejected;
      sum.failed += page.retry ? 0 - count(page, Fate::stored) - count(page, Fate::rejected)
                               : count(page, Fate::failed);
      sum.listed += page.facts.listed;
      sum.duplicates += page.facts.duplicates;
      sum.filtered += page.facts.filtered;
      sum.bytes += page.bytes;
      sum.content = sum.content + page.content;
      sum.pages += page.retry ? 0 : 1;
    }
    return sum;
  }
  // Failed names that are in no open retry page.
  uint64_t idle_failures() const {
    uint64_t idle = totals().failed;
    for (const auto& [number, page] : pages)
      idle -= page.retry ? count(page, Fate::open) : 0;
    return idle;
  }
};

class Driver {
 public:
  explicit Driver(uint64_t seed) : random_(seed) {}

  void run() {
    for (uint64_t step = 40 + random_.below(160); step > 0; --step) {
      switch (random_.below(12)) {
        case 0:
        case 1:
          list(false);
          break;
        case 2:
          list(true);
          break;
        case 3:
        case 4:
        case 5:
        case 6:
        case 7:
          settle();
          break;
        case 8:
          replace();
          break;
        case 9:
          retry();
          break;
        case 10:
          if (random_.chance(0.1)) relist();
          break;
        default:
          if (random_.chance(0.5)) write_anew();
      }
      check();
    }
  }

 private:
  using Fate = Model::Fate;

  PageFacts random_facts(bool may_reject) {
    PageFacts facts;
    const uint64_t kind = random_.below(30);
    facts.next = kind == 0 ? Next::none : kind < 4 ? Next::same : Next::marker;
    if (facts.next == Next::marker) facts.marker = std::to_string(random_.next());
    facts.names = static_cast<uint32_t>(random_.below(40));
    facts.duplicates = random_.below(3);
    facts.rejected = may_reject ? random_.below(2) : 0;
    facts.filtered = random_.below(5);
    facts.listed = facts.names + facts.duplicates + facts.rejected;
    facts.names_hash = {random_.next(), random_.next()};
    facts.log_end = model_.log_end + facts.rejected * 10;
    return facts;
  }

  void list(bool known) {
    const PageFacts facts = random_facts(!known);
    Model::Page page{facts, model_.frontier.marker, model_.frontier.skipped, false, {}, 0, {}};
    page.fates.resize(facts.names, known ? Fate::stored : Fate::open);
    if (known) {
      page.bytes = random_.below(1000);
      page.content = {random_.next(), random_.next()};
    }
    const bool fits =
        known ? state_.add_known_page(facts, page.bytes, page.content) : state_.add_page(facts);
    CHECK(fits == !model_.frontier.ended);
    if (!fits) return;
    model_.log_end = facts.log_end;
    if (facts.next == Next::same) {
      model_.frontier.skipped += facts.listed;
    } else {
      const bool last = facts.next == Next::none;
      model_.frontier = {last, last ? std::nullopt : std::optional(facts.marker), 0};
    }
    model_.pages[model_.next++] = page;
  }

  std::pair<const uint64_t, Model::Page>* random_open() {
    std::vector<std::pair<const uint64_t, Model::Page>*> open;
    for (auto& entry : model_.pages) {
      if (Model::is_open(entry.second)) open.push_back(&entry);
    }
    return open.empty() ? nullptr : open[random_.below(open.size())];
  }

  void settle() {
    auto* const entry = random_open();
    if (entry == nullptr) return;
    auto& [number, page] = *entry;
    RangeSet chosen;
    std::vector<uint32_t> indices;
    const double share = random_.chance(0.3) ? 1 : 0.3;
    for (uint32_t i = 0; i < page.fates.size(); ++i) {
      if (page.fates[i] != Fate::open || !random_.chance(share)) continue;
      chosen.add({i, i + 1});
      indices.push_back(i);
    }
    if (indices.empty()) return;
    if (random_.chance(0.7)) {
      const uint64_t bytes = random_.below(1000);
      const Hash128 content{random_.next(), random_.next()};
      CHECK(state_.add_stored(number, chosen.ranges(), bytes, content));
      page.bytes += bytes;
      page.content = page.content + content;
      for (const uint32_t i : indices)
        page.fates[i] = Fate::stored;
    } else {
      const auto rejected = static_cast<uint32_t>(random_.below(indices.size() + 1));
      model_.log_end += 10 * indices.size();
      CHECK(state_.add_failed(number, chosen.ranges(), rejected, model_.log_end));
      for (size_t i = 0; i < indices.size(); ++i)
        page.fates[indices[i]] = i < rejected ? Fate::rejected : Fate::failed;
    }
    const LedgerState before = state_;
    CHECK_FALSE(state_.add_stored(number, chosen.ranges(), 1, {1, 1}));
    CHECK_FALSE(state_.add_failed(number, chosen.ranges(), 0, model_.log_end));
    CHECK(state_ == before);
  }

  void replace() {
    auto* const entry = random_open();
    if (entry == nullptr) return;
    auto& [number, page] = *entry;
    const PageFacts facts = random_facts(true);
    const bool may = !page.retry && page.facts.rejected == 0 &&
                     Model::count(page, Fate::failed) + Model::count(page, Fate::rejected) == 0;
    CHECK(state_.replace_page(number, facts) == may);
    if (!may) return;
    model_.log_end = facts.log_end;
    Model::Page fresh{facts, page.asked_by, page.skipped, false, {}, 0, {}};
    fresh.fates.resize(facts.names, Fate::open);
    model_.pages.erase(number);
    model_.pages[model_.next++] = fresh;
  }

  void retry() {
    const FailureSpan& span = state_.failures();
    const uint64_t idle = model_.idle_failures();
    if (idle == 0) return;
    const RetryRange range{span.passing_done, span.end, span.passing_done, span.end};
    Model::Page page;
    page.retry = true;
    page.fates.resize(1 + random_.below(idle), Fate::open);
    CHECK(state_.add_retry_page(range, static_cast<uint32_t>(page.fates.size())));
    model_.pages[model_.next++] = page;
  }

  void relist() {
    REQUIRE(state_.relist());
    model_.pages.clear();
    model_.frontier = {};
  }

  // As a ledger does: pages that are done leave the memory, the rest goes through its bytes.
  void write_anew() {
    const uint64_t bytes = state_.archive_bytes() + random_.below(1000);
    const std::string checkpoint = state_.checkpoint(bytes);
    state_.archived(state_.done().size(), bytes);
    LedgerState restored;
    REQUIRE(restored.restore(checkpoint));
    CHECK(restored == state_);
    state_ = restored;
  }

  void check() {
    CHECK(state_.totals() == model_.totals());
    CHECK(balanced(state_));
    CHECK(state_.frontier() == model_.frontier);
    CHECK(state_.failures().end == model_.log_end);
    CHECK(state_.next_page() == model_.next);
    size_t open = 0;
    for (const auto& [number, page] : model_.pages) {
      const auto found = state_.open().find(number);
      CHECK((found != state_.open().end()) == Model::is_open(page));
      if (found == state_.open().end()) continue;
      ++open;
      CHECK(found->second.retry.has_value() == page.retry);
      CHECK(found->second.asked_by == page.asked_by);
      CHECK(found->second.skipped == page.skipped);
      for (uint32_t i = 0; i < page.fates.size(); ++i)
        CHECK(found->second.settled.contains(i) == (page.fates[i] != Fate::open));
    }
    CHECK(state_.open().size() == open);
    for (const DonePage& page : state_.done())
      CHECK(page.balanced());
  }

  Random random_;
  LedgerState state_;
  Model model_;
};

}  // namespace

TEST_CASE("any sequence of records amounts to what became of each name") {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    CAPTURE(seed);
    Driver(seed).run();
  }
}

TEST_CASE("the trail tells the pages of a listing apart by names and order, up to its frontier") {
  const auto trail_of = [](const std::vector<Hash128>& pages) {
    LedgerState state;
    for (size_t i = 0; i < pages.size(); ++i) {
      PageFacts facts = page_of(2, "m" + std::to_string(i));
      facts.names_hash = pages[i];
      REQUIRE(state.add_page(facts));
    }
    return state.trail();
  };
  const Trail trail = trail_of({{1, 1}, {2, 2}, {3, 3}});
  CHECK(trail.known);
  CHECK(trail.asked_by == "m1");
  CHECK(trail.names == 2);
  CHECK(trail.names_hash == Hash128{3, 3});
  CHECK(trail == trail_of({{1, 1}, {2, 2}, {3, 3}}));
  CHECK(trail.chain != trail_of({{2, 2}, {1, 1}, {3, 3}}).chain);
  CHECK(trail.chain != trail_of({{1, 1}, {2, 2}}).chain);
  // As a listing that is read again adds it up.
  Trail again;
  for (const Hash128& hash : {Hash128{1, 1}, Hash128{2, 2}, Hash128{3, 3}}) {
    PageFacts facts = page_of(2, "other");
    facts.names_hash = hash;
    again.add(facts);
  }
  CHECK(again.chain == trail.chain);
}

TEST_CASE("a trail is lost where a page is replaced, and begins anew with the listing") {
  LedgerState state;
  REQUIRE(state.add_page(page_of(2, "m")));
  REQUIRE(state.replace_page(0, page_of(3, "m")));
  CHECK_FALSE(state.trail().known);
  REQUIRE(state.relist());
  CHECK(state.trail() == Trail());
  CHECK_FALSE(state.trail().has_last);
}

TEST_CASE("a checkpoint of version 3 is read, without a trail") {
  LedgerState state;
  REQUIRE(state.add_page(page_of(2, "m")));
  const std::string now = state.checkpoint(0);
  LedgerState restored;
  REQUIRE(restored.restore(now));
  CHECK(restored == state);
  // It stands before the ends of shards, of which there are none: two bytes.
  const size_t trail_bytes = 2 + 16 + 1 + 2 + 16;
  const std::string before =
      now.substr(0, now.size() - 2 - trail_bytes) + now.substr(now.size() - 2);
  CHECK_FALSE(restored.restore(before));
  REQUIRE(restored.restore(before, false));
  CHECK_FALSE(restored.trail().known);
  CHECK(restored.totals() == state.totals());
}

}  // namespace gigafetch::store
