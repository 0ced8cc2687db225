// Part, FileRun: files that are proven, and reported, together. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "store/set_hash.h"
#include "store/sink.h"
#include "wire/messages.h"

namespace gigafetch::worker {

class Batch;

// What was stored of a segment since the last outcome.
struct SegmentSum {
  bool any = false;
  uint64_t bytes = 0;
  store::Hash128 content;

  void add(uint64_t more, const store::Hash128& more_content) {
    any = true;
    bytes += more;
    content = content + more_content;
  }
};

// Part: the names of a batch whose files are in one commit. Its batch's business; others only hold
// on to it. Proof comes when it is in no cache any more: what that needs is together.
struct Part {
  store::Receipt receipt = 0;  // 0: gathered still
  Part* moved_to = nullptr;    // its commit was undone: its names are there
  uint32_t count = 0;          // of names
  uint32_t unproven = 0;
  SegmentSum sum;  // of the proven ones of the batch's first segment
  // The rest of them, and the indices of all in the order in which they were answered.
  std::vector<SegmentSum> more_sums;
  std::vector<wire::Outcome::Range> names;
};

// Files of consecutive names of one batch, all of the same segment and the same part: they are
// proven, or doubted, together. What is kept of an answer until then is the larger cost of
// probation, and most answers on a connection follow each other.
struct FileRun {
  Batch* batch = nullptr;
  Part* part = nullptr;  // null where the sink does not gather
  uint32_t first = 0;    // index of the first name
  uint32_t count = 0;
  uint32_t segment = 0;
  uint64_t bytes = 0;      // of all of them
  store::Hash128 content;  // sum of their store::content_hash
};

}  // namespace gigafetch::worker
