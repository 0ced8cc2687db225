// A ledger cut at every byte, and with every bit flipped: what is recovered is what was recorded up
// to some point, or nothing. A program of its own, because it has to be optimised.
#include "store/ledger_recovery.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/temp_folder.h"
#include "store/ledger.h"

namespace gigafetch::store {
namespace {

#ifndef FLIP_EVERY
#define FLIP_EVERY 1
#endif
// Every so many bits, every so many cuts: script/fault-suite has the time for each of them. A
// prime, so that every bit of a byte has its turn.
const size_t kStep = std::getenv("GIGAFETCH_FAULT_LONG") != nullptr ? 1 : FLIP_EVERY;
constexpr size_t kBatches = 1'000;

// A ledger's bytes, and what they say up to each record's end.
struct Written {
  std::string bytes;
  uint64_t base_end = 0;
  struct Boundary {
    uint64_t end = 0;
    LedgerState state;
    uint64_t synced = 0;  // what the last SYNCED up to here covers
  };
  std::vector<Boundary> boundaries;  // ascending, from base_end on

  // The last boundary at or before `offset`.
  const Boundary& before(uint64_t offset) const {
    const auto behind =
        std::upper_bound(boundaries.begin(), boundaries.end(), offset,
                         [](uint64_t at, const Boundary& boundary) { return at < boundary.end; });
    return *std::prev(behind);
  }
  uint64_t synced() const { return boundaries.back().synced; }
};

class Writer {
 public:
  Writer() {
    JobIdentity job;
    job.url = "http://files.example";
    Result<Ledger> made = Ledger::create(state_.fd(), job);
    REQUIRE(made.ok());
    ledger_.emplace(std::move(made).value());
    begin();
  }

  // Goes on in a ledger that has been written anew, with a checkpoint in its base.
  Writer& grow_old() {
    is_noting_ = false;
    while (!ledger_->wants_checkpoint()) {
      if (open_.size() < 5) list();
      settle();
    }
    Result<SyncJob> job = ledger_->begin_sync(state_.fd());
    REQUIRE(job.ok());
    REQUIRE(job->run().ok());
    REQUIRE(ledger_->finish_sync(*job).ok());
    is_noting_ = true;
    written_.boundaries.clear();
    begin();
    return *this;
  }

  Written write(size_t batches) {
    for (size_t batch = 0; batch < batches; ++batch) {
      if (open_.empty() || random_.chance(0.12)) list();
      settle();
      if (batch % 97 == 50) commit();
      if (batch == batches * 2 / 3) reopen();
    }
    written_.bytes = read_file(state_ / "ledger");
    REQUIRE(written_.boundaries.back().end == written_.bytes.size());
    return std::move(written_);
  }

 private:
  struct Page {
    uint64_t number = 0;
    uint32_t names = 0;
    uint32_t next = 0;
  };

  void begin() {
    Result<std::optional<LedgerImage>> image = Ledger::read(state_.fd());
    REQUIRE(image.ok());
    written_.base_end = (*image)->base_end;
    REQUIRE(size() == written_.base_end);
    note(written_.base_end);
  }
  uint64_t size() const { return std::filesystem::file_size(state_ / "ledger"); }
  void note(uint64_t synced) {
    synced_ = synced;
    if (!is_noting_) return;
    written_.boundaries.push_back({size(), ledger_->state(), synced});
  }
  // Each record on its own, so that the state behind it is known.
  void flush() {
    REQUIRE(ledger_->flush().ok());
    note(synced_);
  }

  void list() {
    PageFacts facts;
    facts.next = PageFacts::Next::marker;
    facts.marker = std::to_string(random_.next());
    facts.listed = facts.names = static_cast<uint32_t>(100 + random_.below(9'000));
    facts.names_hash = {random_.next(), random_.next()};
    facts.log_end = ledger_->log_end();
    open_.push_back({ledger_->add_page(facts), facts.names, 0});
    flush();
  }

  void settle() {
    if (open_.empty()) list();
    Page& page = open_[random_.below(open_.size())];
    const uint32_t count = std::min(page.names - page.next, 1'000u);
    // Now and then names stay behind, as slow ones do; but not so many that a checkpoint gets
    // large.
    const bool leaves_some = is_noting_ || random_.chance(0.01);
    const uint32_t first = page.next + (leaves_some && count > 1 && random_.chance(0.2) ? 1 : 0);
    if (leaves_some && random_.chance(0.1)) {
      ledger_->add_failed(page.number, first, "name", {FailureClass::stalled, 0, 6, "slow"});
    } else {
      ledger_->add_stored(page.number, {first, page.next + count});
      ledger_->add_content(page.number, random_.below(100'000), {random_.next(), random_.next()});
    }
    page.next += count;
    flush();
    std::erase_if(open_, [](const Page& each) { return each.next == each.names; });
  }

  void commit() {
    const uint64_t covered = size();
    Result<SyncJob> job = ledger_->begin_sync(state_.fd());
    REQUIRE(job.ok());
    settle();
    REQUIRE(ledger_->finish_sync(*job).ok());
    note(covered);
  }

  void reopen() {
    ledger_.reset();
    Result<std::optional<Ledger>> opened = Ledger::open(state_.fd(), false);
    REQUIRE(opened.ok());
    ledger_.emplace(std::move(**opened));
    note(synced_);
  }

  TempFolder state_;
  Random random_{42};
  std::optional<Ledger> ledger_;
  std::vector<Page> open_;
  uint64_t synced_ = 0;
  bool is_noting_ = true;
  Written written_;
};

// The running system, or one that was started anew.
Surroundings boot(bool again = false) {
  return Surroundings::of_boot(again ? "another" : current_boot_id().value());
}

const Written& written() {
  static const Written all = Writer().write(kBatches);
  return all;
}

const Written& written_anew() {
  static const Written all = Writer().grow_old().write(60);
  return all;
}

void cut_everywhere(const Written& ledger) {
  size_t cuts = 0, wrong = 0, refused = 0;
  for (uint64_t size = 0; size <= ledger.bytes.size(); size += kStep) {
    // A copy of that size, so that a sanitizer sees any byte that is read behind it.
    const std::string bytes(ledger.bytes, 0, size);
    ++cuts;
    for (const bool rebooted : {false, true}) {
      Result<LedgerImage> image = recover_ledger(bytes, boot(rebooted), false);
      if (size < ledger.base_end) {
        wrong += image.ok() || image.failure().code != ErrorCode::malformed;
        ++refused;
        continue;
      }
      const Written::Boundary& whole = ledger.before(size);
      const Written::Boundary& trusted = rebooted ? ledger.before(whole.synced) : whole;
      wrong += !image.ok() || image->state != trusted.state || image->size != trusted.end ||
               image->cut != size - trusted.end ||
               (image->distrust != Distrust::none) != rebooted || image->synced != whole.synced ||
               image->repaired;
    }
  }
  MESSAGE(ledger.bytes.size() << " bytes, " << ledger.boundaries.size() << " records; " << cuts
                              << " cuts under two boots; " << refused << " in the base, refused");
  CHECK(wrong == 0);
}

void flip_everywhere(const Written& ledger) {
  size_t flips = 0, refused = 0, prefixes = 0, wrong = 0;
  std::string bytes = ledger.bytes;
  for (size_t bit = 0; bit < 8 * bytes.size(); bit += kStep) {
    const uint64_t at = bit / 8;
    const auto mask = static_cast<char>(1 << bit % 8);
    bytes[at] = static_cast<char>(bytes[at] ^ mask);
    Result<LedgerImage> image = recover_ledger(bytes, boot(), false);
    bytes[at] = static_cast<char>(bytes[at] ^ mask);
    ++flips;
    const bool is_refused = !image.ok() && image.failure().code == ErrorCode::malformed;
    refused += is_refused;
    if (at < ledger.base_end || at < ledger.synced()) {
      wrong += !is_refused;
      continue;
    }
    const Written::Boundary& whole = ledger.before(at);
    const bool is_prefix = image.ok() && image->state == whole.state && image->size == whole.end;
    prefixes += is_prefix;
    wrong += !is_prefix;
  }
  MESSAGE(flips << " flips: " << refused << " refused, " << prefixes << " a prefix");
  CHECK(wrong == 0);
  CHECK(flips == refused + prefixes);
}

}  // namespace

TEST_CASE("a ledger cut at any byte is what the whole records before it say") {
  cut_everywhere(written());
  cut_everywhere(written_anew());
}

TEST_CASE("a ledger with any one bit flipped is refused, or a state that it was once in") {
  flip_everywhere(written());
  flip_everywhere(written_anew());
}

TEST_CASE("with --repair a flipped bit costs what stands behind it, never anything else") {
  const Written& ledger = written();
  const size_t kRepairStep = 101 * kStep;
  size_t repairs = 0, wrong = 0;
  std::string bytes = ledger.bytes;
  for (size_t bit = 8 * ledger.base_end; bit < 8 * bytes.size(); bit += kRepairStep) {
    const uint64_t at = bit / 8;
    const auto mask = static_cast<char>(1 << bit % 8);
    bytes[at] = static_cast<char>(bytes[at] ^ mask);
    for (const bool rebooted : {false, true}) {
      Result<LedgerImage> image = recover_ledger(bytes, boot(rebooted), true);
      const Written::Boundary& whole = ledger.before(at);
      const Written::Boundary& trusted = rebooted ? ledger.before(whole.synced) : whole;
      repairs += image.ok() && image->repaired;
      wrong +=
          !image.ok() || image->state != trusted.state || image->repaired != (at < ledger.synced());
    }
    bytes[at] = static_cast<char>(bytes[at] ^ mask);
  }
  MESSAGE(repairs << " repairs");
  CHECK(repairs > 0);
  CHECK(wrong == 0);
}

TEST_CASE("records of one place are nothing in another") {
  const Written& ledger = written();
  size_t taken = 0;
  for (size_t i = 1; i + 1 < ledger.boundaries.size(); i += 7) {
    // One record twice, one left out: the rest stands elsewhere than it was written.
    const uint64_t begin = ledger.boundaries[i].end, end = ledger.boundaries[i + 1].end;
    std::string twice = ledger.bytes, without = ledger.bytes;
    twice.insert(end, ledger.bytes, begin, end - begin);
    without.erase(begin, end - begin);
    Result<LedgerImage> doubled = recover_ledger(twice, boot(), true);
    Result<LedgerImage> cut = recover_ledger(without, boot(), true);
    taken += !doubled.ok() || doubled->size != end;
    taken += !cut.ok() || cut->size != begin;
  }
  CHECK(taken == 0);
}

TEST_CASE("random bytes are no ledger, and behind one they are a torn end") {
  const Written& ledger = written();
  Random random(7);
  size_t wrong = 0;
  for (int i = 0; i < 300; ++i) {
    std::string noise(random.below(4'000), '\0');
    for (char& byte : noise)
      byte = static_cast<char>(random.below(random.chance(0.5) ? 256 : 12));
    wrong += recover_ledger(noise, boot(), true).ok();
    Result<LedgerImage> image = recover_ledger(ledger.bytes + noise, boot(), false);
    wrong += !image.ok() || image->state != ledger.boundaries.back().state ||
             image->size != ledger.bytes.size();
  }
  CHECK(wrong == 0);
}

}  // namespace gigafetch::store
