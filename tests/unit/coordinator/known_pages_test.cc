#include "coordinator/known_pages.h"

#include <doctest/doctest.h>

#include "base/temp_folder.h"

using namespace gigafetch;
using namespace gigafetch::coordinator;

namespace {

store::Ledger new_ledger(const TempFolder& state) {
  Result<store::Ledger> ledger = store::Ledger::create(state.fd(), {});
  REQUIRE(ledger.ok());
  return std::move(ledger).value();
}

// A page that is listed, and of which so many names are stored.
uint64_t add_page(store::Ledger& ledger, const store::Hash128& hash, uint32_t names,
                  uint32_t stored, uint64_t bytes) {
  store::PageFacts facts;
  facts.next = store::PageFacts::Next::marker;
  facts.marker = "m";
  facts.listed = facts.names = names;
  facts.names_hash = hash;
  facts.log_end = ledger.log_end();
  const uint64_t page = ledger.add_page(facts);
  if (stored > 0) ledger.add_stored(page, {0, stored});
  ledger.add_content(page, bytes, {bytes, 0});
  return page;
}

KnownPages loaded(int state_fd, store::Ledger& ledger) {
  REQUIRE(ledger.flush().ok());
  KnownPages known;
  REQUIRE(known.load(state_fd, ledger.job_id(), ledger.state()).ok());
  return known;
}

}  // namespace

TEST_CASE("pages of which everything is stored are known by their names") {
  const TempFolder state;
  store::Ledger ledger = new_ledger(state);
  add_page(ledger, {1, 1}, 3, 3, 30);
  add_page(ledger, {2, 1}, 4, 4, 40);
  add_page(ledger, {1, 2}, 5, 5, 50);
  const KnownPages known = loaded(state.fd(), ledger);
  const KnownPages::Page* const page = known.find({2, 1}, 4);
  REQUIRE(page != nullptr);
  CHECK(page->bytes == 40);
  CHECK(page->content == store::Hash128{40, 0});
  CHECK(known.find({1, 2}, 5)->bytes == 50);
  CHECK(known.find({1, 1}, 3)->bytes == 30);
  CHECK(known.find({1, 1}, 4) == nullptr);
  CHECK(known.find({0, 0}, 3) == nullptr);
  CHECK(known.find({3, 3}, 3) == nullptr);
  CHECK(KnownPages().find({1, 1}, 3) == nullptr);
}

TEST_CASE("pages that are open, or have failures, are not known") {
  const TempFolder state;
  store::Ledger ledger = new_ledger(state);
  add_page(ledger, {1, 1}, 3, 2, 20);
  const uint64_t failed = add_page(ledger, {2, 2}, 3, 2, 20);
  ledger.add_failed(failed, 2, "c", {FailureClass::http_status, 404, 1, "gone"});
  const KnownPages known = loaded(state.fd(), ledger);
  CHECK(known.find({1, 1}, 3) == nullptr);
  CHECK(known.find({2, 2}, 3) == nullptr);
}

TEST_CASE("of two pages with the same names the last that was stored is known") {
  const TempFolder state;
  store::Ledger ledger = new_ledger(state);
  for (const uint64_t bytes : {30, 31, 32})
    add_page(ledger, {1, 1}, 3, 3, bytes);
  CHECK(loaded(state.fd(), ledger).find({1, 1}, 3)->bytes == 32);
}

TEST_CASE("pages are known across a listing that began anew, and out of the archive") {
  const TempFolder state;
  store::Ledger ledger = new_ledger(state);
  uint64_t pages = 0;
  while (!ledger.wants_checkpoint()) {
    for (int i = 0; i < 500; ++i)
      add_page(ledger, {++pages, 5}, 1, 1, pages);
    REQUIRE(ledger.flush().ok());
  }
  Result<store::SyncJob> job = ledger.begin_sync(state.fd());
  REQUIRE(job.ok());
  REQUIRE(job->run().ok());
  REQUIRE(ledger.finish_sync(*job).ok());
  REQUIRE(ledger.state().done().empty());
  ledger.relist();
  add_page(ledger, {0, 6}, 1, 1, 9);
  KnownPages known = loaded(state.fd(), ledger);
  for (uint64_t page = 1; page <= pages; ++page) {
    const KnownPages::Page* const found = known.find({page, 5}, 1);
    REQUIRE(found != nullptr);
    CHECK(found->bytes == page);
  }
  CHECK(known.find({0, 6}, 1) != nullptr);

  std::string archive = read_file(state / "pages");
  archive[archive.size() / 2] = static_cast<char>(archive[archive.size() / 2] ^ 1);
  write_file(state / "pages", archive);
  CHECK_FALSE(known.load(state.fd(), ledger.job_id(), ledger.state()).ok());
}
