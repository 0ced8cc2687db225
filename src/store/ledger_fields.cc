#include "store/ledger_fields.h"

#include <algorithm>

namespace gigafetch::store {
namespace {

constexpr uint64_t kMaxIndex = UINT32_MAX;

uint32_t take_u32(VarintReader& in) {
  return static_cast<uint32_t>(in.take_up_to(kMaxIndex));
}

}  // namespace

void put_hash(std::string& out, const Hash128& hash) {
  put_le<uint64_t>(out, hash.low);
  put_le<uint64_t>(out, hash.high);
}

Hash128 take_hash(VarintReader& in) {
  Hash128 hash;
  hash.low = in.take_u64();
  hash.high = in.take_u64();
  return hash;
}

void put_marker(std::string& out, const std::optional<std::string>& marker) {
  put_varint(out, marker ? 1 : 0);
  if (marker) put_sized(out, *marker);
}

std::optional<std::string> take_marker(VarintReader& in) {
  if (in.take_up_to(1) == 0) return std::nullopt;
  return std::string(in.take_text());
}

void put_ranges(std::string& out, const std::vector<IndexRange>& ranges) {
  put_varint(out, ranges.size());
  uint32_t next = 0;
  for (const IndexRange& range : ranges) {
    put_varint(out, range.first - next);
    put_varint(out, range.count());
    next = range.end;
  }
}

std::vector<IndexRange> take_ranges(VarintReader& in) {
  std::vector<IndexRange> ranges;
  const uint64_t count = in.take();
  uint64_t next = 0;
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    const uint64_t first = next + in.take_up_to(kMaxIndex);
    next = first + in.take_up_to(kMaxIndex);
    if (next > kMaxIndex || next == first) {
      in.take_bytes(SIZE_MAX);  // refuses the rest
      break;
    }
    ranges.push_back({static_cast<uint32_t>(first), static_cast<uint32_t>(next)});
  }
  return ranges;
}

void put_shard_end(std::string& out, const ShardEnd& end) {
  for (const uint64_t value :
       {uint64_t{end.worker}, uint64_t{end.number}, end.end, uint64_t{end.finished ? 1u : 0u}}) {
    put_varint(out, value);
  }
}

ShardEnd take_shard_end(VarintReader& in) {
  ShardEnd end;
  end.worker = take_u32(in);
  end.number = take_u32(in);
  end.end = in.take();
  end.finished = in.take_up_to(1) == 1;
  return end;
}

void put_facts(std::string& out, const PageFacts& facts) {
  put_varint(out, static_cast<uint64_t>(facts.next));
  if (facts.next == PageFacts::Next::marker) put_sized(out, facts.marker);
  for (const uint64_t value : {facts.listed, uint64_t{facts.names}, facts.duplicates,
                               facts.rejected, facts.filtered, facts.log_end}) {
    put_varint(out, value);
  }
  put_hash(out, facts.names_hash);
  if (facts.next == PageFacts::Next::same) put_hash(out, facts.cut_hash);
}

PageFacts take_facts(VarintReader& in) {
  PageFacts facts;
  facts.next =
      static_cast<PageFacts::Next>(in.take_up_to(static_cast<uint64_t>(PageFacts::Next::same)));
  if (facts.next == PageFacts::Next::marker) facts.marker = in.take_text();
  facts.listed = in.take();
  facts.names = take_u32(in);
  facts.duplicates = in.take();
  facts.rejected = in.take();
  facts.filtered = in.take();
  facts.log_end = in.take();
  facts.names_hash = take_hash(in);
  if (facts.next == PageFacts::Next::same) facts.cut_hash = take_hash(in);
  return facts;
}

void put_retry(std::string& out, const RetryRange& range) {
  for (const uint64_t value : {range.begin, range.end, range.passing_begin, range.permanent_begin})
    put_varint(out, value);
}

RetryRange take_retry(VarintReader& in) {
  RetryRange range;
  for (uint64_t* field : {&range.begin, &range.end, &range.passing_begin, &range.permanent_begin})
    *field = in.take();
  return range;
}

void put_totals(std::string& out, const LedgerTotals& totals) {
  for (const uint64_t value : {totals.listed, totals.stored, totals.failed, totals.rejected,
                               totals.duplicates, totals.filtered, totals.bytes, totals.pages}) {
    put_varint(out, value);
  }
  put_hash(out, totals.content);
}

LedgerTotals take_totals(VarintReader& in) {
  LedgerTotals totals;
  for (uint64_t* field : {&totals.listed, &totals.stored, &totals.failed, &totals.rejected,
                          &totals.duplicates, &totals.filtered, &totals.bytes, &totals.pages}) {
    *field = in.take();
  }
  totals.content = take_hash(in);
  return totals;
}

void put_open_page(std::string& out, uint64_t number, const OpenPage& page) {
  put_varint(out, number);
  put_facts(out, page.facts);
  put_marker(out, page.asked_by);
  put_varint(out, page.skipped);
  put_varint(out, page.retry ? 1 : 0);
  if (page.retry) put_retry(out, *page.retry);
  put_ranges(out, page.settled.ranges());
  for (const uint64_t value :
       {uint64_t{page.stored}, uint64_t{page.failed}, uint64_t{page.rejected}, page.bytes}) {
    put_varint(out, value);
  }
  put_hash(out, page.content);
}

uint64_t take_open_page(VarintReader& in, OpenPage& page) {
  const uint64_t number = in.take();
  page.facts = take_facts(in);
  page.asked_by = take_marker(in);
  page.skipped = in.take();
  if (in.take_up_to(1) == 1) page.retry = take_retry(in);
  for (const IndexRange& range : take_ranges(in))
    page.settled.add(range);
  page.stored = take_u32(in);
  page.failed = take_u32(in);
  page.rejected = take_u32(in);
  page.bytes = in.take();
  page.content = take_hash(in);
  return number;
}

void put_trail(std::string& out, const Trail& trail) {
  put_varint(out, trail.known ? 1 : 0);
  put_varint(out, trail.has_last ? 1 : 0);
  put_hash(out, trail.chain);
  put_marker(out, trail.asked_by);
  put_varint(out, trail.skipped);
  put_varint(out, trail.names);
  put_hash(out, trail.names_hash);
}

Trail take_trail(VarintReader& in) {
  Trail trail;
  trail.known = in.take_up_to(1) == 1;
  trail.has_last = in.take_up_to(1) == 1;
  trail.chain = take_hash(in);
  trail.asked_by = take_marker(in);
  trail.skipped = in.take();
  trail.names = take_u32(in);
  trail.names_hash = take_hash(in);
  return trail;
}

void put_done_page(std::string& out, const DonePage& page) {
  for (const uint64_t value :
       {page.number, page.listed, uint64_t{page.names}, page.duplicates, page.rejected,
        page.filtered, uint64_t{page.failed}, uint64_t{page.stored}, page.bytes}) {
    put_varint(out, value);
  }
  put_hash(out, page.names_hash);
  put_hash(out, page.content);
}

DonePage take_done_page(VarintReader& in) {
  DonePage page;
  page.number = in.take();
  page.listed = in.take();
  page.names = take_u32(in);
  page.duplicates = in.take();
  page.rejected = in.take();
  page.filtered = in.take();
  page.failed = take_u32(in);
  page.stored = take_u32(in);
  page.bytes = in.take();
  page.names_hash = take_hash(in);
  page.content = take_hash(in);
  return page;
}

}  // namespace gigafetch::store
