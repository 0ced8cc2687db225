// Batch: the names of one lease while this worker holds it, and what became of each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/name_list.h"
#include "store/set_hash.h"
#include "store/sink.h"
#include "wire/messages.h"

namespace gigafetch::worker {

class Batch {
 public:
  // Copies the names out of the frame.
  explicit Batch(const wire::BatchView& view);
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  uint32_t count() const { return count_; }
  std::string_view name(uint32_t index) const {
    return std::string_view(names_).substr(
        offsets_[index] + NameCursor::kLengthBytes,
        offsets_[index + 1] - offsets_[index] - NameCursor::kLengthBytes);
  }

  // Whether another worker has waited for these names already: see wire::BatchView.
  bool is_patient() const { return patient_; }
  // Attempts that its names have had elsewhere.
  uint16_t earlier_attempts() const { return earlier_attempts_; }
  void set_earlier_attempts(uint16_t attempts) { earlier_attempts_ = attempts; }

  // What the sink holds of it.
  store::Lot& lot() { return lot_; }

  // Each name has been taken to be sent, at least once.
  bool all_begun() const { return all_begun_; }
  void set_all_begun() { all_begun_ = true; }

  // Each name is settled once at most.
  void settle_stored(uint32_t index, uint64_t bytes, const store::Hash128& content);
  void settle_failed(uint32_t index, FileFailure failure);
  // The body of the name, which is about to be stored, is in this content coding.
  void note_coding(uint32_t index, std::string_view coding) {
    codings_.push_back({index, std::string(coding)});
  }
  struct Coded {
    uint32_t index;
    std::string coding;
  };
  // Those noted since the last call, in the order in which their bodies came.
  std::vector<Coded> take_codings() { return std::exchange(codings_, {}); }
  // Hands the name back: nothing of it is under way here any more.
  void release(uint32_t index);
  bool all_settled() const { return settled_count_ == count_; }
  uint32_t open_count() const { return count_ - settled_count_; }
  // Names settled since the last outcome.
  uint32_t untold_count() const { return settled_count_ - told_count_; }

  // What was settled since the last outcome was taken.
  wire::Outcome take_outcome();
  // The same, with every name that is not settled released.
  wire::Outcome take_last_outcome();
  // The last one when nothing of what was not told yet can be relied on: all of it is released.
  wire::Outcome take_back_untold();

 private:
  // What became of a name; once an outcome has told of it, that is all that is left to know.
  enum class Fate : uint8_t { open, stored, failed, released, told };
  // What was stored of a segment since the last outcome.
  struct Sum {
    bool any = false;
    uint64_t bytes = 0;
    store::Hash128 content;
  };

  void mark(uint32_t index, Fate fate);
  uint32_t segment_of(uint32_t index);
  std::vector<ShardEnd> take_shards();

  uint64_t lease_;
  uint32_t count_;
  bool patient_;
  uint16_t earlier_attempts_ = 0;
  bool all_begun_ = false;
  std::vector<uint32_t> segment_ends_;  // index behind each segment's names
  std::string names_;
  std::vector<uint32_t> offsets_;  // of each name, and the end
  std::vector<Fate> fates_;        // of each name
  uint32_t settled_count_ = 0;
  uint32_t told_count_ = 0;
  uint32_t first_untold_ = 0;                     // every name before it has been told of
  std::vector<Sum> sums_;                         // of each segment
  uint32_t segment_ = 0;                          // the one last stored to
  std::vector<wire::Outcome::Failure> failures_;  // since the last outcome
  std::vector<Coded> codings_;
  store::Lot lot_;
};

// One name to fetch.
struct Task {
  Batch* batch = nullptr;
  uint32_t index = 0;
  uint16_t attempts = 0;    // charged so far
  bool replayed = false;    // was sent again once because a reused connection had ended
  bool unanswered = false;  // a fresh connection has ended before its answer, uncharged
  bool moved = false;       // was taken from a connection that kept it waiting

  uint32_t redirect = 0;  // its place in Redirects, plus 1; 0: none

  std::string_view name() const { return batch->name(index); }
  bool is_redirected() const { return redirect != 0; }
  bool is_patient() const { return batch->is_patient(); }
};

}  // namespace gigafetch::worker
