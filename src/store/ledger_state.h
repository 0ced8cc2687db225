// LedgerState: what the ledger's records say of a job. Pure: it knows no file; records are applied
// one after the other, while a run writes them and when a later one reads them back.
//
//     page listed --add_page--> open --stored, failed--> ... --all names settled--> done
//
// Memory holds the open pages and the pages done since the last checkpoint, never the job.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/range_set.h"
#include "store/set_hash.h"
#include "store/shard_ends.h"

namespace gigafetch::store {

// Over all runs of the job. listed = stored + failed + rejected + duplicates + names still open.
struct LedgerTotals {
  uint64_t listed = 0;
  uint64_t stored = 0;
  uint64_t failed = 0;
  uint64_t rejected = 0;
  uint64_t duplicates = 0;
  uint64_t filtered = 0;
  uint64_t bytes = 0;
  uint64_t pages = 0;
  Hash128 content;  // sum over the stored files, see store/content_hash.h
  bool operator==(const LedgerTotals&) const = default;
};

// A page as it was listed. listed = names + duplicates + rejected.
struct PageFacts {
  // What comes behind it.
  enum class Next : uint8_t {
    marker,  // `marker` asks for the next page
    none,    // it is the last
    same,    // --limit ended within it: the rest is asked for by its own marker
  };
  Next next = Next::none;
  std::string marker;
  uint64_t listed = 0;
  uint32_t names = 0;  // to be fetched
  uint64_t duplicates = 0;
  uint64_t rejected = 0;  // when it was listed: too long for a batch
  uint64_t filtered = 0;
  Hash128 names_hash;     // hash_of_names of the names to be fetched
  uint64_t log_end = 0;   // of the failure log, with the rejected names in it
  Hash128 cut_hash = {};  // Next::same: hash_of_names of all its names up to the limit
  bool operator==(const PageFacts&) const = default;
};

// Names of the failure log that are fetched again: those from `begin` to `end` whose class is
// passing and that stand behind `passing_begin`, or is not and that stand behind `permanent_begin`.
struct RetryRange {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t passing_begin = 0;
  uint64_t permanent_begin = 0;
  bool operator==(const RetryRange&) const = default;
};

struct OpenPage {
  PageFacts facts;
  std::optional<std::string> asked_by;  // the marker that asks for it; nullopt is the first page
  uint64_t skipped = 0;                 // names of it that an earlier page record lists
  std::optional<RetryRange> retry;      // set: its names come from the failure log
  RangeSet settled;
  uint32_t stored = 0;
  uint32_t failed = 0;
  uint32_t rejected = 0;  // since it was listed
  uint64_t bytes = 0;
  Hash128 content;
  bool operator==(const OpenPage&) const = default;
};

// A page with nothing open any more, for the page archive.
struct DonePage {
  uint64_t number = 0;
  uint64_t listed = 0;
  uint32_t names = 0;
  uint64_t duplicates = 0;
  uint64_t rejected = 0;
  uint64_t filtered = 0;
  uint32_t failed = 0;
  uint32_t stored = 0;
  uint64_t bytes = 0;
  Hash128 names_hash;
  Hash128 content;
  // listed = stored + failed + rejected + duplicates.
  bool balanced() const { return listed == stored + failed + rejected + duplicates; }
  bool operator==(const DonePage&) const = default;
};

// Where the listing goes on.
struct Frontier {
  bool ended = false;  // the last page has been listed
  std::optional<std::string> marker;
  uint64_t skipped = 0;       // names of the next page that are listed already
  Hash128 skipped_hash = {};  // of those
  bool operator==(const Frontier&) const = default;
};

// How the listing came to its frontier: what a listing that is begun anew, or goes on, is compared
// with.
struct Trail {
  bool known = true;  // false in a job of an earlier program, or when a page was replaced
  Hash128 chain;      // of all pages so far, see Trail::add
  // The last of them: as for OpenPage.
  bool has_last = false;
  std::optional<std::string> asked_by;
  uint64_t skipped = 0;
  uint32_t names = 0;
  Hash128 names_hash;

  // The next page of the listing.
  void add(const PageFacts& facts);
  bool operator==(const Trail&) const = default;
};

// Which part of the failure log counts.
struct FailureSpan {
  uint64_t begin = 0;  // older entries are of a listing that was begun anew
  uint64_t end = 0;
  uint64_t passing_done = 0;    // passing failures before this are in a retry page, or were
  uint64_t permanent_done = 0;  // the same for the others, but for rejected names
  bool operator==(const FailureSpan&) const = default;
};

class LedgerState {
 public:
  // Each of these is one record. False when it contradicts what came before: nothing changes then.

  // The page at the frontier. Its number is next_page() before the call.
  bool add_page(const PageFacts& facts);
  // An open page came back different: it is `facts` now. Its frontier stays. Not for pages with
  // failures, whose entries in the log could not be told from others'.
  bool replace_page(uint64_t old_number, const PageFacts& facts);
  // The page at the frontier is known, with everything of it stored, from before the listing began
  // anew.
  bool add_known_page(const PageFacts& facts, uint64_t bytes, const Hash128& content);
  bool add_retry_page(const RetryRange& range, uint32_t names);
  bool add_stored(uint64_t page, const std::vector<IndexRange>& ranges, uint64_t bytes,
                  const Hash128& content);
  // `rejected` of the names failed by the name policy.
  bool add_failed(uint64_t page, const std::vector<IndexRange>& ranges, uint32_t rejected,
                  uint64_t log_end);
  bool add_shard(const ShardEnd& end) { return shards_.add(end); }
  bool add_epoch(uint32_t first) { return shards_.add_epoch(first); }
  // The listing begins anew. Files stay; pages that are met again are known by their hash.
  bool relist();

  const LedgerTotals& totals() const { return totals_; }
  const Frontier& frontier() const { return frontier_; }
  const Trail& trail() const { return trail_; }
  const FailureSpan& failures() const { return failures_; }
  // Of packed output.
  const ShardEnds& shards() const { return shards_; }
  uint64_t next_page() const { return next_page_; }
  // Whether the listing was begun anew and has not reached its end.
  bool relisting() const { return relisting_; }
  const std::map<uint64_t, OpenPage>& open() const { return open_; }
  // Nothing is left to be listed or fetched, but for failures that may be tried again.
  bool all_settled() const { return frontier_.ended && open_.empty(); }

  // Pages done since the checkpoint, and the archive's size at that checkpoint.
  const std::vector<DonePage>& done() const { return done_; }
  uint64_t archive_bytes() const { return archive_bytes_; }
  // The first `count` of them are in the archive, which has `bytes` now.
  void archived(size_t count, uint64_t bytes);

  // The whole state, as if all of done() were in an archive of `archive_bytes`.
  std::string checkpoint(uint64_t archive_bytes) const;
  // The way back; false when it is nothing that checkpoint() made. Those of version 3 of the ledger
  // have no trail.
  bool restore(std::string_view checkpoint, bool has_trail = true);

  bool operator==(const LedgerState&) const = default;

 private:
  OpenPage* find(uint64_t page, const std::vector<IndexRange>& ranges);
  void open_page(OpenPage page);
  void close_if_settled(uint64_t number);
  void count_listed(const PageFacts& facts);
  void advance(const PageFacts& facts);

  LedgerTotals totals_;
  Frontier frontier_;
  Trail trail_;
  FailureSpan failures_;
  uint64_t next_page_ = 0;
  bool relisting_ = false;
  std::map<uint64_t, OpenPage> open_;
  std::vector<DonePage> done_;
  uint64_t archive_bytes_ = 0;
  ShardEnds shards_;
};

}  // namespace gigafetch::store
