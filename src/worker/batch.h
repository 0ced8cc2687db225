// Batch: the names of one lease while this worker holds it, and what became of each. Pure.
//
//     open --> answered --proof--> stored --> told
//       ^         |   \              ^          ^
//       +--doubt--+    +--> failed --|----------+
//                                    |
//                 (packed) when its part may be told
//
// Where the sink gathers (store/sink.h), names count part by part: a part is what one commit of the
// lot holds. It may be told when all in it are proven, and the sink says so.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/name_list.h"
#include "store/set_hash.h"
#include "store/sink.h"
#include "wire/messages.h"
#include "worker/part.h"

namespace gigafetch::worker {

class Batch {
 public:
  // Copies the names out of the frame. `gathers`: the sink that they go to does.
  explicit Batch(const wire::BatchView& view, bool gathers = false);
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  uint32_t count() const { return count_; }
  size_t name_bytes() const { return names_.size(); }  // of all names, packed
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

  // The name's answer is on probation: a file that the sink has taken, or (not `stored`) a failure.
  // Gives the part that the file is in; null when it is in none.
  Part* set_answered(uint32_t index, bool stored = true);
  // The index of the segment that the name is in.
  uint32_t segment_of(uint32_t index) { return sums_.size() == 1 ? 0 : find_segment(index); }
  // The files are proven. Stored when the sink does not gather, else with their part. Gives the
  // receipt of that when it is committed, and all of it is proven now; else 0.
  store::Receipt prove(const FileRun& run);
  // The name, whose file is in `part`, is open again.
  void take_back(uint32_t index, Part* part);
  // Of an open name, without probation: whoever says so has read the file himself.
  void settle_stored(uint32_t index, uint64_t bytes, const store::Hash128& content);
  // Of an open or answered name.
  void settle_failed(uint32_t index, FileFailure failure);
  // The body of the name, which is about to be stored, is in this content coding.
  void note_coding(uint32_t index, std::string_view coding) {
    codings_.push_back({index, std::string(coding)});
  }
  struct Coded {
    uint32_t index;
    std::string coding;
  };
  bool has_codings() const { return !codings_.empty(); }
  // Those noted since the last call, in the order in which their bodies came.
  std::vector<Coded> take_codings() { return std::exchange(codings_, {}); }
  // Hands the open name back: nothing of it is under way here any more.
  void release(uint32_t index);

  // Names that are to be fetched, or are under way.
  uint32_t open_count() const { return count_ - settled_count_ - waiting_count_; }
  // Names that are answered and not settled yet.
  uint32_t waiting_count() const { return waiting_count_; }
  bool all_settled() const { return settled_count_ == count_; }
  // Names settled since the last outcome.
  uint32_t untold_count() const { return settled_count_ - told_count_; }

  // --- parts, where the sink gathers ---

  // The part that is gathered: names in it, and whether all of them are proven.
  uint32_t gathered() const { return gathers_ ? gathering_->count : 0; }
  bool gathered_is_proven() const { return gathering_->unproven == 0; }
  // It was committed; the next one begins.
  void on_committed(store::Receipt receipt);
  // The name answered last was committed by itself: to a part of its own, which it gives.
  Part* on_streamed(uint32_t index, store::Receipt receipt);
  // The commit that holds the file of a name; 0 when it is gathered still.
  static store::Receipt receipt_of(const Part* part) { return now(part)->receipt; }
  // Whether all of a committed part is proven.
  bool is_proven(store::Receipt receipt) const { return part(receipt).unproven == 0; }
  // The sink has undone the commit: its names are gathered again.
  void reopen(store::Receipt receipt);
  // The part counts: its names are stored, up to this end of its shard.
  void settle_part(store::Receipt receipt, const ShardEnd& end);

  // What was settled since the last outcome was taken.
  wire::Outcome take_outcome();
  // The same, with every name that is not settled released.
  wire::Outcome take_last_outcome();

 private:
  // What became of a name; once an outcome has told of it, that is all that is left to know.
  enum class Fate : uint8_t { open, answered, stored, failed, released, told };

  // Where the names of a part are now.
  template <typename AnyPart>
  static AnyPart* now(AnyPart* part) {
    while (part->moved_to != nullptr)
      part = part->moved_to;
    return part;
  }
  void settle(uint32_t index, Fate fate);
  void settle_waiting(uint32_t first, uint32_t count);
  uint32_t find_segment(uint32_t index);
  SegmentSum& sum_of(Part& part, uint32_t segment);
  template <typename Add>
  void add_sums(const Part& part, Add add);
  Part* add_part();
  const Part& part(store::Receipt receipt) const;
  Part& part(store::Receipt receipt) {
    return const_cast<Part&>(std::as_const(*this).part(receipt));
  }

  uint64_t lease_;
  uint32_t count_;
  bool patient_;
  bool gathers_;
  uint16_t earlier_attempts_ = 0;
  bool all_begun_ = false;
  std::vector<uint32_t> segment_ends_;  // index behind each segment's names
  std::string names_;
  std::vector<uint32_t> offsets_;  // of each name, and the end
  std::vector<Fate> fates_;        // of each name
  uint32_t settled_count_ = 0;
  uint32_t waiting_count_ = 0;  // answered
  uint32_t told_count_ = 0;
  uint32_t first_untold_ = 0;                     // every name before it has been told of
  std::vector<SegmentSum> sums_;                  // of each segment
  uint32_t segment_ = 0;                          // the one last stored to
  std::vector<wire::Outcome::Failure> failures_;  // since the last outcome
  std::vector<std::unique_ptr<Part>> parts_;      // answers on probation point at them
  Part* gathering_ = nullptr;                     // which of them is
  std::vector<ShardEnd> shards_;                  // since the last outcome
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
  bool alone = false;       // its answer was doubted: to be fetched with nothing behind it
  uint8_t unproven = 0;     // times that its connection ended before its answer was proven

  uint32_t redirect = 0;  // its place in Redirects, plus 1; 0: none

  std::string_view name() const { return batch->name(index); }
  bool is_redirected() const { return redirect != 0; }
  bool is_patient() const { return batch->is_patient(); }
};

}  // namespace gigafetch::worker
