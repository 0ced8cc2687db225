#include "store/ledger_state.h"

#include <algorithm>

#include "store/ledger_fields.h"

namespace gigafetch::store {
namespace {

bool is_consistent(const PageFacts& facts) {
  return facts.listed == facts.names + facts.duplicates + facts.rejected;
}

DonePage done_page(uint64_t number, const OpenPage& page) {
  DonePage done;
  done.number = number;
  done.listed = page.facts.listed;
  done.names = page.facts.names;
  done.duplicates = page.facts.duplicates;
  done.rejected = page.facts.rejected + page.rejected;
  done.filtered = page.facts.filtered;
  done.failed = page.failed;
  done.stored = page.stored;
  done.bytes = page.bytes;
  done.names_hash = page.facts.names_hash;
  done.content = page.content;
  return done;
}

}  // namespace

void LedgerState::count_listed(const PageFacts& facts) {
  totals_.listed += facts.listed;
  totals_.duplicates += facts.duplicates;
  totals_.rejected += facts.rejected;
  totals_.filtered += facts.filtered;
  ++totals_.pages;
}

void Trail::add(const PageFacts& facts) {
  chain = chained(chain, facts.names_hash);
  chain = chained(chain, {facts.listed, facts.filtered});
}

void LedgerState::advance(const PageFacts& facts) {
  trail_.add(facts);
  trail_.has_last = true;
  trail_.asked_by = frontier_.marker;
  trail_.skipped = frontier_.skipped;
  trail_.names = facts.names;
  trail_.names_hash = facts.names_hash;
  switch (facts.next) {
    case PageFacts::Next::marker:
      frontier_ = {false, facts.marker, 0, {}};
      break;
    case PageFacts::Next::none:
      frontier_ = {true, std::nullopt, 0, {}};
      relisting_ = false;
      break;
    case PageFacts::Next::same:
      frontier_.skipped += facts.listed;
      frontier_.skipped_hash = facts.cut_hash;
      break;
  }
}

void LedgerState::open_page(OpenPage page) {
  const uint64_t number = next_page_++;
  open_.emplace(number, std::move(page));
  close_if_settled(number);
}

bool LedgerState::add_page(const PageFacts& facts) {
  if (frontier_.ended || !is_consistent(facts) || facts.log_end < failures_.end) return false;
  OpenPage page;
  page.facts = facts;
  page.asked_by = frontier_.marker;
  page.skipped = frontier_.skipped;
  failures_.end = facts.log_end;
  count_listed(facts);
  advance(facts);
  open_page(std::move(page));
  return true;
}

bool LedgerState::replace_page(uint64_t old_number, const PageFacts& facts) {
  const auto found = open_.find(old_number);
  if (found == open_.end() || found->second.retry || !is_consistent(facts)) return false;
  const OpenPage& old = found->second;
  if (old.failed + old.rejected + old.facts.rejected > 0 || facts.log_end < failures_.end) {
    return false;
  }
  OpenPage page;
  page.facts = facts;
  page.asked_by = old.asked_by;
  page.skipped = old.skipped;
  failures_.end = facts.log_end;
  totals_.listed -= old.facts.listed;
  totals_.duplicates -= old.facts.duplicates;
  totals_.filtered -= old.facts.filtered;
  totals_.stored -= old.stored;
  totals_.bytes -= old.bytes;
  totals_.content = totals_.content - old.content;
  --totals_.pages;
  trail_.known = false;
  open_.erase(found);
  count_listed(facts);
  open_page(std::move(page));
  return true;
}

bool LedgerState::add_known_page(const PageFacts& facts, uint64_t bytes, const Hash128& content) {
  if (frontier_.ended || !is_consistent(facts) || facts.rejected > 0) return false;
  OpenPage page;
  page.facts = facts;
  page.asked_by = frontier_.marker;
  page.skipped = frontier_.skipped;
  page.stored = facts.names;
  page.bytes = bytes;
  page.content = content;
  if (facts.names > 0) page.settled.add({0, facts.names});
  count_listed(facts);
  totals_.stored += facts.names;
  totals_.bytes += bytes;
  totals_.content = totals_.content + content;
  advance(facts);
  open_page(std::move(page));
  return true;
}

bool LedgerState::add_retry_page(const RetryRange& range, uint32_t names) {
  const bool in_order = range.begin <= range.end && range.end <= failures_.end &&
                        range.begin >= failures_.begin &&
                        range.passing_begin >= failures_.passing_done &&
                        range.permanent_begin >= failures_.permanent_done;
  uint64_t retried = names;  // in all retry pages that are open
  for (const auto& [number, open] : open_) {
    if (open.retry) retried += open.facts.names - open.settled.count();
  }
  if (!in_order || retried > totals_.failed) return false;
  OpenPage page;
  page.facts.names = names;
  page.retry = range;
  if (range.passing_begin < range.end) failures_.passing_done = range.end;
  if (range.permanent_begin < range.end) failures_.permanent_done = range.end;
  open_page(std::move(page));
  return true;
}

// The open page, when `ranges` are of its open names, ascending and apart.
OpenPage* LedgerState::find(uint64_t page, const std::vector<IndexRange>& ranges) {
  const auto found = open_.find(page);
  if (found == open_.end()) return nullptr;
  OpenPage& open = found->second;
  uint32_t next = 0;
  for (const IndexRange& range : ranges) {
    if (range.first < next || range.end <= range.first || range.end > open.facts.names) {
      return nullptr;
    }
    next = range.end;
  }
  RangeSet settled = open.settled;
  for (const IndexRange& range : ranges) {
    if (!settled.add(range)) return nullptr;
  }
  open.settled = std::move(settled);
  return &open;
}

bool LedgerState::add_stored(uint64_t page, const std::vector<IndexRange>& ranges, uint64_t bytes,
                             const Hash128& content) {
  OpenPage* const open = find(page, ranges);
  if (open == nullptr) return false;
  uint32_t count = 0;
  for (const IndexRange& range : ranges)
    count += range.count();
  open->stored += count;
  open->bytes += bytes;
  open->content = open->content + content;
  totals_.stored += count;
  totals_.bytes += bytes;
  totals_.content = totals_.content + content;
  if (open->retry) totals_.failed -= count;
  close_if_settled(page);
  return true;
}

bool LedgerState::add_failed(uint64_t page, const std::vector<IndexRange>& ranges,
                             uint32_t rejected, uint64_t log_end) {
  uint64_t count = 0;
  for (const IndexRange& range : ranges)
    count += range.end > range.first ? range.count() : 0;
  if (rejected > count || log_end < failures_.end) return false;
  OpenPage* const open = find(page, ranges);
  if (open == nullptr) return false;
  const auto failed = static_cast<uint32_t>(count - rejected);
  open->failed += failed;
  open->rejected += rejected;
  // What fails again on a retry page was among the failed before.
  totals_.failed += open->retry ? 0 - uint64_t{rejected} : failed;
  totals_.rejected += rejected;
  failures_.end = log_end;
  close_if_settled(page);
  return true;
}

bool LedgerState::relist() {
  totals_ = {};
  frontier_ = {};
  trail_ = {};
  open_.clear();
  failures_ = {failures_.end, failures_.end, failures_.end, failures_.end};
  relisting_ = true;
  return true;
}

void LedgerState::close_if_settled(uint64_t number) {
  const auto found = open_.find(number);
  if (found->second.settled.count() < found->second.facts.names) return;
  if (!found->second.retry) done_.push_back(done_page(number, found->second));
  open_.erase(found);
}

void LedgerState::archived(size_t count, uint64_t bytes) {
  done_.erase(done_.begin(), done_.begin() + static_cast<std::ptrdiff_t>(count));
  archive_bytes_ = bytes;
}

std::string LedgerState::checkpoint(uint64_t archive_bytes) const {
  std::string out;
  put_totals(out, totals_);
  put_varint(out, frontier_.ended ? 1 : 0);
  put_marker(out, frontier_.marker);
  put_hash(out, frontier_.skipped_hash);
  for (const uint64_t value :
       {frontier_.skipped, failures_.begin, failures_.end, failures_.passing_done,
        failures_.permanent_done, next_page_, uint64_t{relisting_ ? 1u : 0u}, archive_bytes,
        uint64_t{open_.size()}}) {
    put_varint(out, value);
  }
  for (const auto& [number, page] : open_)
    put_open_page(out, number, page);
  put_trail(out, trail_);
  shards_.put(out);
  return out;
}

bool LedgerState::restore(std::string_view checkpoint, bool has_trail) {
  VarintReader in(checkpoint);
  LedgerState read;
  read.totals_ = take_totals(in);
  read.frontier_.ended = in.take_up_to(1) == 1;
  read.frontier_.marker = take_marker(in);
  read.frontier_.skipped_hash = take_hash(in);
  for (uint64_t* field :
       {&read.frontier_.skipped, &read.failures_.begin, &read.failures_.end,
        &read.failures_.passing_done, &read.failures_.permanent_done, &read.next_page_}) {
    *field = in.take();
  }
  read.relisting_ = in.take_up_to(1) == 1;
  read.archive_bytes_ = in.take();
  const uint64_t pages = in.take();
  for (uint64_t i = 0; i < pages && in.ok(); ++i) {
    OpenPage page;
    const uint64_t number = take_open_page(in, page);
    const bool open = page.settled.count() < page.facts.names;
    const bool fits = number < read.next_page_ && open;
    if (!fits || !read.open_.emplace(number, std::move(page)).second) return false;
  }
  read.trail_.known = false;
  if (has_trail) read.trail_ = take_trail(in);
  // Last: they take what is left.
  if (!read.shards_.take(in) || !in.ok_at_end()) return false;
  *this = std::move(read);
  return true;
}

}  // namespace gigafetch::store
