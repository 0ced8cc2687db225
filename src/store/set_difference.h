// SetDifference: which names are in one large set and not in another, with bounded memory.
//
// Both sets are given as 128-bit hashes, in any order, with repetitions. They are divided over
// temporary files (store/partitions.h), and each part is compared in memory: a hash join with
// partitions on disk (DeWitt et al., "Implementation Techniques for Main Memory Database Systems",
// SIGMOD 1984). verify uses it only when the two sets are known to differ.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/partitions.h"
#include "store/set_hash.h"

namespace gigafetch::store {

class SetDifference {
 public:
  struct Report {
    uint64_t listed_once = 0;       // distinct hashes on the listed side
    uint64_t extra = 0;             // found, but never listed
    std::vector<Hash128> examples;  // of the extra ones: at most kMaxExamples, sorted
  };
  static constexpr size_t kMaxExamples = 1000;

  // Makes temporary files (without names) in `folder_fd`, which is borrowed.
  static Result<SetDifference> create(int folder_fd);

  Result<void> add_listed(const Hash128& hash) { return add(hash, Side::listed); }
  Result<void> add_found(const Hash128& hash) { return add(hash, Side::found); }

  // Compares; call once, after everything was added.
  Result<Report> finish();

 private:
  enum class Side : uint8_t { listed, found };
  struct Entry;

  explicit SetDifference(Partitions entries) : entries_(std::move(entries)) {}
  Result<void> add(const Hash128& hash, Side side);
  static Result<void> compare(std::string_view part, Report& report);

  Partitions entries_;
  std::string entry_;
};

}  // namespace gigafetch::store
