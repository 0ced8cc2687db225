#include "coordinator/plan.h"

#include <algorithm>

namespace gigafetch::coordinator {
namespace {

// The smallest batch that is worth a frame.
constexpr uint64_t kMinBatch = 16;
// Batches of the guided size a queue is cut into, per worker (guided self-scheduling:
// Polychronopoulos and Kuck, IEEE Transactions on Computers C-36, 1987).
constexpr uint64_t kBatchesPerWorker = 2;
// What a page of one short name takes here, in the ledger's state and in the walk.
constexpr size_t kPageBytes = 1024;

}  // namespace

Plan::Plan(const Limits& limits)
    : limits_(limits), look_ahead_names_(4ull * limits.batch_names * limits.workers) {}

bool Plan::wants_page() const {
  return queued_names_ < look_ahead_names_ && queued_bytes_ < limits_.look_ahead_bytes &&
         held_bytes_ < limits_.held_bytes && held_marker_bytes_ < limits_.marker_bytes;
}

void Plan::look_further_ahead() {
  constexpr uint64_t kMostNames = 4'000'000;
  constexpr size_t kMostBytes = 64 << 20;
  look_ahead_names_ = std::max(look_ahead_names_, std::min(2 * look_ahead_names_, kMostNames));
  limits_.look_ahead_bytes =
      std::max(limits_.look_ahead_bytes, std::min(2 * limits_.look_ahead_bytes, kMostBytes));
}

void Plan::add_page(uint64_t number, NameList names, const std::vector<IndexRange>& open,
                    size_t marker_bytes) {
  if (open.empty()) return;
  const uint32_t count = names.count();
  const auto page = pages_.insert(pages_.end(), Page{number, names.take_bytes(), marker_bytes});
  held_bytes_ += page->names.size() + kPageBytes;
  held_marker_bytes_ += marker_bytes;
  const Span whole{page, 0, page->names.size(), 0, count};
  for (const IndexRange& range : open) {
    const Span span = slice(whole, range.first, range.count());
    page->open += span.count;
    queued_names_ += span.count;
    queued_bytes_ += span.end - span.begin;
    queue_.push_back(span);
  }
}

void Plan::clear() {
  queue_.clear();
  pages_.clear();
  queued_names_ = queued_bytes_ = held_bytes_ = held_marker_bytes_ = 0;
}

uint32_t Plan::batch_size() const {
  const uint64_t parts = kBatchesPerWorker * limits_.workers;
  const uint64_t guided = (queued_names_ + parts - 1) / parts;
  return static_cast<uint32_t>(
      std::min<uint64_t>(std::max(guided, kMinBatch), limits_.batch_names));
}

// Bytes of the first name, packed.
size_t Plan::first_size(const Span& span) {
  const std::string_view rest = std::string_view(span.page->names).substr(span.begin);
  return NameCursor::kLengthBytes + NameCursor(rest).name().size();
}

// `count` names of `span`, from the one that stands `from` names behind its first.
Plan::Span Plan::slice(const Span& span, uint32_t from, uint32_t count) {
  if (from == 0 && count == span.count) return span;
  const std::string_view packed(span.page->names);
  NameCursor cursor(packed.substr(span.begin, span.end - span.begin));
  for (uint32_t i = 0; i < from; ++i)
    cursor.next();
  Span piece = span;
  piece.begin = span.end - cursor.rest().size();
  for (uint32_t i = 0; i < count; ++i)
    cursor.next();
  piece.end = span.end - cursor.rest().size();
  piece.first = span.first + from;
  piece.count = count;
  return piece;
}

// Takes at most `names` names and, but for the first, at most `bytes` bytes off the front of
// `from`.
Plan::Span Plan::cut(Span& from, uint32_t names, size_t bytes) const {
  Span piece = from;
  if (from.count > names || from.end - from.begin > bytes) {
    piece.end = piece.begin;
    piece.count = 0;
    const std::string_view packed(from.page->names);
    NameCursor cursor(packed.substr(from.begin, from.end - from.begin));
    while (piece.count < names && !cursor.done()) {
      const size_t size = NameCursor::kLengthBytes + cursor.name().size();
      if (piece.count > 0 && piece.end + size - piece.begin > bytes) break;
      piece.end += size;
      ++piece.count;
      cursor.next();
    }
  }
  from.begin = piece.end;
  from.first += piece.count;
  from.count -= piece.count;
  return piece;
}

std::optional<wire::BatchView> Plan::next(HolderId holder) {
  if (queue_.empty() || in_flight_[holder] >= limits_.credit) return std::nullopt;
  Lease lease;
  lease.holder = holder;
  size_t bytes = 0;
  const uint32_t size = batch_size();
  const HolderId released_by = queue_.front().released_by;
  while (!queue_.empty() && lease.count < size && bytes < limits_.batch_bytes) {
    Span& front = queue_.front();
    const size_t room = limits_.batch_bytes - bytes;
    if (front.released_by != released_by) break;
    if (lease.count > 0 && first_size(front) > room) break;
    const Span piece = cut(front, size - lease.count, room);
    bytes += piece.end - piece.begin;
    lease.count += piece.count;
    lease.spans.push_back(piece);
    ++piece.page->leased_spans;
    if (front.count == 0) queue_.pop_front();
  }
  queued_names_ -= lease.count;
  queued_bytes_ -= bytes;
  ++in_flight_[holder];
  const uint64_t id = next_lease_++;
  wire::BatchView view;
  view.lease = id;
  view.count = lease.count;
  view.patient = released_by != 0;
  for (const Span& span : lease.spans)
    view.segments.push_back(span.count);
  view.names = packed_names(lease.spans);
  leases_.emplace(id, std::move(lease));
  return view;
}

// The names of the spans, one behind the other: those of a single span where they stand.
std::string_view Plan::packed_names(const std::vector<Span>& spans) {
  const auto names = [](const Span& span) {
    return std::string_view(span.page->names).substr(span.begin, span.end - span.begin);
  };
  if (spans.size() == 1) return names(spans[0]);
  batch_.clear();
  for (const Span& span : spans)
    batch_ += names(span);
  return batch_;
}

bool Plan::next_is_from(HolderId holder) const {
  return !queue_.empty() && queue_.front().released_by == holder;
}

// Calls `on_part` with the span, the first name within it and the number of names, for each part of
// `range` (indices in the batch).
template <typename OnPart>
void Plan::for_parts(const Lease& lease, IndexRange range, const OnPart& on_part) {
  uint32_t begin = 0;
  for (const Span& span : lease.spans) {
    const uint32_t end = begin + span.count;
    if (range.first < end && range.end > begin) {
      const uint32_t first = std::max(range.first, begin);
      on_part(span, first - begin, std::min(range.end, end) - first);
    }
    begin = end;
  }
}

// Whether the outcome is about names that are open, all of them if it is the last.
bool Plan::fits(const Lease& lease, const wire::Outcome& outcome) {
  if (lease.count != outcome.count) return false;
  RangeSet settled = lease.settled;
  for (const auto* ranges : {&outcome.stored, &outcome.released}) {
    for (const wire::Outcome::Range& range : *ranges) {
      if (!settled.add({range.first, range.first + range.count})) return false;
    }
  }
  for (const wire::Outcome::Failure& failure : outcome.failures) {
    if (!settled.add({failure.index, failure.index + 1})) return false;
  }
  if (!outcome.contents.empty() && outcome.contents.back().segment >= lease.spans.size()) {
    return false;
  }
  return !outcome.last || settled.count() == lease.count;
}

void Plan::tell(const Lease& lease, const wire::Outcome& outcome, Receiver& receiver) {
  for (const ShardEnd& shard : outcome.shards)
    receiver.on_shard(shard);
  for (const wire::Outcome::Range& range : outcome.stored) {
    for_parts(
        lease, {range.first, range.first + range.count},
        [&](const Span& span, uint32_t from, uint32_t count) {
          receiver.on_stored(span.page->number, {span.first + from, span.first + from + count});
        });
  }
  for (const wire::Outcome::Content& content : outcome.contents)
    receiver.on_content(lease.spans[content.segment].page->number, content);
  for (const wire::Outcome::Failure& failure : outcome.failures) {
    for_parts(
        lease, {failure.index, failure.index + 1}, [&](const Span& span, uint32_t from, uint32_t) {
          const Span name = slice(span, from, 1);
          const std::string_view packed(span.page->names);
          receiver.on_failure(span.page->number, name.first,
                              NameCursor(packed.substr(name.begin, name.end - name.begin)).name(),
                              failure.file);
        });
  }
}

bool Plan::settle(HolderId holder, const wire::Outcome& outcome, Receiver& receiver) {
  const auto found = leases_.find(outcome.lease);
  if (found == leases_.end() || found->second.holder != holder || !fits(found->second, outcome)) {
    return false;
  }
  Lease& lease = found->second;
  tell(lease, outcome, receiver);
  if (!outcome.keeps_credit) release_credit(lease);
  const auto settle_names = [&](IndexRange range) {
    lease.settled.add(range);
    for_parts(lease, range,
              [&](const Span& span, uint32_t, uint32_t count) { span.page->open -= count; });
  };
  std::vector<IndexRange> released;
  for (const wire::Outcome::Range& range : outcome.released) {
    released.push_back({range.first, range.first + range.count});
    lease.settled.add(released.back());
  }
  for (const wire::Outcome::Range& range : outcome.stored)
    settle_names({range.first, range.first + range.count});
  for (const wire::Outcome::Failure& failure : outcome.failures)
    settle_names({failure.index, failure.index + 1});
  queue_again(lease, released, holder);
  if (!outcome.last) return true;
  const std::vector<Span> spans = std::move(lease.spans);
  leases_.erase(found);
  forget_closed(spans);
  return true;
}

void Plan::release_credit(Lease& lease) {
  if (lease.has_credit) --in_flight_[lease.holder];
  lease.has_credit = false;
}

// A page stays while a lease refers to it, even when all its names are settled.
void Plan::forget_closed(const std::vector<Span>& spans) {
  for (const Span& span : spans) {
    if (--span.page->leased_spans > 0 || span.page->open > 0) continue;
    held_bytes_ -= span.page->names.size() + kPageBytes;
    held_marker_bytes_ -= span.page->marker_bytes;
    pages_.erase(span.page);
  }
}

void Plan::queue_front(const Span& span) {
  queue_.push_front(span);
  queued_names_ += span.count;
  queued_bytes_ += span.end - span.begin;
}

void Plan::queue_again(const Lease& lease, const std::vector<IndexRange>& ranges,
                       HolderId released_by) {
  std::vector<Span> spans;
  for (const IndexRange& range : ranges) {
    for_parts(lease, range, [&](const Span& span, uint32_t from, uint32_t count) {
      spans.push_back(slice(span, from, count));
      spans.back().released_by = released_by;
    });
  }
  for (auto span = spans.rbegin(); span != spans.rend(); ++span)
    queue_front(*span);
}

void Plan::holder_gone(HolderId holder) {
  std::vector<uint64_t> held;
  for (const auto& [id, lease] : leases_) {
    if (lease.holder == holder) held.push_back(id);
  }
  std::sort(held.begin(), held.end(), std::greater<>());  // the oldest comes first again
  for (const uint64_t id : held) {
    const auto found = leases_.find(id);
    Lease lease = std::move(found->second);
    leases_.erase(found);
    queue_again(lease, lease.settled.gaps(lease.count), 0);
    forget_closed(lease.spans);
  }
  in_flight_.erase(holder);
}

size_t Plan::leases_of(HolderId holder) const {
  const auto found = in_flight_.find(holder);
  return found == in_flight_.end() ? 0 : found->second;
}

}  // namespace gigafetch::coordinator
