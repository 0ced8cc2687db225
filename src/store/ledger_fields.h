// The fields of the ledger's records as bytes: see store/ledger_format.h for the order.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/varint.h"
#include "store/ledger_state.h"

namespace gigafetch::store {

void put_hash(std::string& out, const Hash128& hash);
Hash128 take_hash(VarintReader& in);

// 0, or 1 and the text.
void put_marker(std::string& out, const std::optional<std::string>& marker);
std::optional<std::string> take_marker(VarintReader& in);

// How many, then the gap before and the length of each.
void put_ranges(std::string& out, const std::vector<IndexRange>& ranges);
std::vector<IndexRange> take_ranges(VarintReader& in);

void put_shard_end(std::string& out, const ShardEnd& end);
ShardEnd take_shard_end(VarintReader& in);

void put_facts(std::string& out, const PageFacts& facts);
PageFacts take_facts(VarintReader& in);

void put_retry(std::string& out, const RetryRange& range);
RetryRange take_retry(VarintReader& in);

void put_totals(std::string& out, const LedgerTotals& totals);
LedgerTotals take_totals(VarintReader& in);

void put_open_page(std::string& out, uint64_t number, const OpenPage& page);
uint64_t take_open_page(VarintReader& in, OpenPage& page);

void put_trail(std::string& out, const Trail& trail);
Trail take_trail(VarintReader& in);

void put_done_page(std::string& out, const DonePage& page);
DonePage take_done_page(VarintReader& in);

}  // namespace gigafetch::store
