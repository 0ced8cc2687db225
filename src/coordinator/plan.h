// Plan: which names are handed out next, to whom, and what is still open. Pure: no sockets and no
// clock, so that tests drive every order of events.
//
//     page --add_page--> queued --next--> leased --settle--> gone
//                          ^                 |
//                          +-- holder_gone --+   (and names that an outcome releases)
//
// A lease is one handing-over of a batch. Names are in one lease at most, so no name is ever held
// by two workers. A lease may be settled in parts: with the first of them that does not keep it,
// its credit is free again, so that a few slow names hold nobody up. Memory is bounded by the
// look-ahead, by the leases, and by what all pages hold of which anything is open.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/name_list.h"
#include "base/range_set.h"
#include "wire/messages.h"

namespace gigafetch::coordinator {

// Who holds a lease: one connection of one worker process, never used again for another.
using HolderId = uint64_t;

class Plan {
 public:
  struct Limits {
    uint32_t workers = 1;
    uint32_t batch_names = 1000;
    size_t batch_bytes = 256 * 1024;    // of packed names in a batch
    uint32_t credit = 4;                // leases in flight per worker
    size_t look_ahead_bytes = 4 << 20;  // of packed names queued, before the last page added
    // Of pages that have something open, leased or not, before the last one added: their packed
    // names with what else a page takes, and their markers, which stand in the ledger too.
    size_t held_bytes = 256 << 20;
    size_t marker_bytes = 16 << 20;
  };

  explicit Plan(const Limits& limits);

  // Whether another page should be asked for. A page asked for is always taken, whatever its size.
  bool wants_page() const;
  // From now on twice as much is looked ahead, within bounds: for an origin that does not wait.
  void look_further_ahead();
  // Queues those names of a page that `open` gives, ascending. As long as something of it is open,
  // others hold `marker_bytes` for it.
  void add_page(uint64_t number, NameList names, const std::vector<IndexRange>& open,
                size_t marker_bytes = 0);
  // Forgets everything. Only while nothing is leased.
  void clear();
  // No further page will come.
  void end_listing() { listing_ended_ = true; }

  // The next batch for `holder`; nullopt when it has no credit left or nothing is queued. The view
  // is valid until the next call on the plan. Batches get smaller as the queue does, so that no
  // worker is left with a long one while the others have nothing.
  std::optional<wire::BatchView> next(HolderId holder);

  // Told what an outcome says, page by page.
  class Receiver {
   public:
    virtual ~Receiver() = default;
    // Before what is stored in it.
    virtual void on_shard(const ShardEnd&) {}
    virtual void on_stored(uint64_t page, IndexRange names) = 0;
    virtual void on_content(uint64_t page, const wire::Outcome::Content& content) = 0;
    virtual void on_failure(uint64_t page, uint32_t index, std::string_view name,
                            const FileFailure& failure) = 0;
  };
  // Takes an outcome of `holder`. False when the lease is not its own, or names are settled that
  // were settled before (a stale outcome, or a broken worker): nothing changes then.
  bool settle(HolderId holder, const wire::Outcome& outcome, Receiver& receiver);

  // The holder can do nothing any more: what it had not settled is queued again, first in line.
  void holder_gone(HolderId holder);

  // Whether the next batch holds names that `holder` itself gave up waiting for; another worker
  // should have it.
  bool next_is_from(HolderId holder) const;

  // Leases that count against the holder's credit.
  size_t leases_of(HolderId holder) const;
  // Leases of which something is not yet settled.
  size_t leases() const { return leases_.size(); }
  bool has_queued() const { return queued_names_ > 0; }
  bool listing_ended() const { return listing_ended_; }
  // Everything listed is settled, and nothing more will be listed.
  bool finished() const { return listing_ended_ && queued_names_ == 0 && leases_.empty(); }

 private:
  struct Page {
    uint64_t number = 0;
    std::string names;  // packed
    size_t marker_bytes = 0;
    uint64_t open = 0;          // names not yet settled
    uint64_t leased_spans = 0;  // spans of leases that refer to it
  };
  // A run of names of one page.
  struct Span {
    std::list<Page>::iterator page;
    size_t begin = 0;  // bytes
    size_t end = 0;
    uint32_t first = 0;  // index in the page
    uint32_t count = 0;
    HolderId released_by = 0;  // who gave up waiting for them
  };
  struct Lease {
    HolderId holder = 0;
    uint32_t count = 0;
    bool has_credit = true;  // counts against its holder's credit
    std::vector<Span> spans;
    RangeSet settled;  // indices in the batch
  };

  uint32_t batch_size() const;
  static size_t first_size(const Span& span);
  static Span slice(const Span& span, uint32_t from, uint32_t count);
  Span cut(Span& from, uint32_t names, size_t bytes) const;
  std::string_view packed_names(const std::vector<Span>& spans);
  static bool fits(const Lease& lease, const wire::Outcome& outcome);
  template <typename OnPart>
  static void for_parts(const Lease& lease, IndexRange range, const OnPart& on_part);
  void tell(const Lease& lease, const wire::Outcome& outcome, Receiver& receiver);
  void release_credit(Lease& lease);
  void queue_front(const Span& span);
  void queue_again(const Lease& lease, const std::vector<IndexRange>& ranges, HolderId released_by);
  void forget_closed(const std::vector<Span>& spans);

  Limits limits_;
  uint64_t look_ahead_names_;
  bool listing_ended_ = false;
  uint64_t next_lease_ = 1;
  std::list<Page> pages_;
  std::deque<Span> queue_;
  uint64_t queued_names_ = 0;
  uint64_t queued_bytes_ = 0;
  uint64_t held_bytes_ = 0;  // by pages_
  uint64_t held_marker_bytes_ = 0;
  std::unordered_map<uint64_t, Lease> leases_;
  std::unordered_map<HolderId, uint32_t> in_flight_;
  std::string batch_;  // the last batch handed out, where it was made of several spans
};

}  // namespace gigafetch::coordinator
