// Batch: the names of one lease while this worker holds it, and what became of each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/name_list.h"
#include "store/set_hash.h"
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

  // Each name is settled at most once.
  void settle_stored(uint32_t index, uint64_t bytes);
  void settle_failed(uint32_t index, FileFailure failure);
  bool all_settled() const { return settled_count_ == count_; }

  // Adds a stored name to the outcome's set hash.
  void add_to_set(const store::Hash128& hash);

  // The outcome so far; names not settled are released.
  wire::Outcome outcome() const;

 private:
  void mark(uint32_t index);

  uint64_t lease_;
  uint32_t count_;
  std::string names_;
  std::vector<uint32_t> offsets_;  // of each name, and the end
  std::vector<bool> settled_;
  uint32_t settled_count_ = 0;
  wire::Outcome outcome_;
};

// One name to fetch.
struct Task {
  Batch* batch = nullptr;
  uint32_t index = 0;
  uint16_t attempts = 0;  // charged so far
  bool replayed = false;  // was sent again once because a reused connection had ended

  std::string_view name() const { return batch->name(index); }
};

}  // namespace gigafetch::worker
