#include "coordinator/plan.h"

#include <algorithm>
#include <cassert>

namespace gigafetch::coordinator {
namespace {

// The smallest batch that is worth a frame.
constexpr uint64_t kMinBatch = 16;
// Batches of the guided size a queue is cut into, per worker (guided self-scheduling:
// Polychronopoulos and Kuck, IEEE Transactions on Computers C-36, 1987).
constexpr uint64_t kBatchesPerWorker = 2;

}  // namespace

bool Plan::wants_page() const {
  const uint64_t names = 2ull * limits_.batch_names * limits_.workers;
  return queued_names_ < names && queued_bytes_ < limits_.look_ahead_bytes;
}

void Plan::add_page(const NameList& names) {
  if (names.empty()) return;
  const auto page = pages_.insert(pages_.end(), Page{names.bytes(), names.count()});
  queue_.push_back(Span{page, 0, page->names.size(), names.count()});
  queued_names_ += names.count();
  queued_bytes_ += page->names.size();
}

uint32_t Plan::batch_size() const {
  const uint64_t parts = kBatchesPerWorker * limits_.workers;
  const uint64_t guided = (queued_names_ + parts - 1) / parts;
  return static_cast<uint32_t>(
      std::min<uint64_t>(std::max(guided, kMinBatch), limits_.batch_names));
}

// Takes at most `names` names and, but for the first, at most `bytes` bytes off the front of
// `from`.
Plan::Span Plan::cut(Span& from, uint32_t names, size_t bytes) const {
  Span piece{from.page, from.begin, from.begin, 0};
  if (from.count <= names && from.end - from.begin <= bytes) {
    piece = from;
  } else {
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
  from.count -= piece.count;
  return piece;
}

std::optional<wire::BatchView> Plan::next(HolderId holder) {
  if (queue_.empty() || in_flight_[holder] >= limits_.credit) return std::nullopt;
  Lease lease{holder, 0, {}};
  batch_.clear();
  const uint32_t size = batch_size();
  while (!queue_.empty() && lease.count < size && batch_.size() < limits_.batch_bytes) {
    Span& front = queue_.front();
    const size_t room = limits_.batch_bytes - batch_.size();
    const size_t first =
        NameCursor::kLengthBytes +
        NameCursor(std::string_view(front.page->names).substr(front.begin)).name().size();
    if (lease.count > 0 && first > room) break;
    const Span piece = cut(front, size - lease.count, room);
    batch_.append(piece.page->names, piece.begin, piece.end - piece.begin);
    lease.count += piece.count;
    lease.spans.push_back(piece);
    if (front.count == 0) queue_.pop_front();
  }
  queued_names_ -= lease.count;
  queued_bytes_ -= batch_.size();
  ++in_flight_[holder];
  const uint64_t id = next_lease_++;
  const wire::BatchView view{id, lease.count, batch_};
  leases_.emplace(id, std::move(lease));
  return view;
}

bool Plan::settle(HolderId holder, const wire::Outcome& outcome, const OnFailure& on_failure) {
  const auto found = leases_.find(outcome.lease);
  if (found == leases_.end() || found->second.holder != holder ||
      found->second.count != outcome.count) {
    return false;
  }
  const Lease lease = std::move(found->second);
  leases_.erase(found);
  --in_flight_[holder];

  auto failure = outcome.failures.begin();
  auto released = outcome.released.begin();
  uint32_t index = 0;
  std::vector<Span> back;
  for (const Span& span : lease.spans) {
    // Most batches have neither failures nor released names: nothing to walk.
    const uint32_t span_end = index + span.count;
    const bool plain = (failure == outcome.failures.end() || failure->index >= span_end) &&
                       (released == outcome.released.end() || released->first >= span_end);
    uint32_t given_back = 0;
    if (plain) {
      index = span_end;
    } else {
      const std::string_view packed(span.page->names);
      NameCursor cursor(packed.substr(span.begin, span.end - span.begin));
      for (; !cursor.done(); cursor.next(), ++index) {
        const size_t begin = span.end - cursor.rest().size();
        const size_t size = NameCursor::kLengthBytes + cursor.name().size();
        while (released != outcome.released.end() && released->first + released->count <= index)
          ++released;
        if (failure != outcome.failures.end() && failure->index == index) {
          on_failure(cursor.name(), failure->file);
          ++failure;
        } else if (released != outcome.released.end() && released->first <= index) {
          if (given_back > 0 && back.back().end == begin) {
            back.back().end += size;
            ++back.back().count;
          } else {
            back.push_back(Span{span.page, begin, begin + size, 1});
          }
          ++given_back;
        }
      }
    }
    close_names(span, span.count - given_back);
  }
  for (auto span = back.rbegin(); span != back.rend(); ++span)
    queue_front(*span);
  return true;
}

void Plan::close_names(const Span& span, uint32_t count) {
  assert(span.page->open >= count);
  span.page->open -= count;
  if (span.page->open == 0) pages_.erase(span.page);
}

void Plan::queue_front(const Span& span) {
  queue_.push_front(span);
  queued_names_ += span.count;
  queued_bytes_ += span.end - span.begin;
}

void Plan::holder_gone(HolderId holder) {
  std::vector<uint64_t> held;
  for (const auto& [id, lease] : leases_) {
    if (lease.holder == holder) held.push_back(id);
  }
  std::sort(held.begin(), held.end(), std::greater<>());  // the oldest comes first again
  for (const uint64_t id : held) {
    const auto found = leases_.find(id);
    const std::vector<Span>& spans = found->second.spans;
    for (auto span = spans.rbegin(); span != spans.rend(); ++span)
      queue_front(*span);
    leases_.erase(found);
  }
  in_flight_.erase(holder);
}

size_t Plan::leases_of(HolderId holder) const {
  const auto found = in_flight_.find(holder);
  return found == in_flight_.end() ? 0 : found->second;
}

}  // namespace gigafetch::coordinator
