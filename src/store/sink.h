// Sink: where a worker's files go. Worker, loop thread only.
//
// A body that is small arrives whole (put); any other arrives in pieces (open, append, close).
// Every call may block on the disk. Names are given as listed; the sink maps them.
//
// What is stored belongs to a batch and is committed batch by batch: its lot goes with every call.
// What came over a connection is proven only later (worker/probation.h), and may be taken back
// until then. A sink whose files stand on their own need not care: a name that was taken back is
// stored again, or discarded. One that gathers has to:
//
//     put --> gathered --commit--> committed --prove--> proven --take_tellable--> told
//                  ^                   |
//                  +--- take_back -----+    without the names that are doubted
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/failure.h"
#include "base/shard_end.h"
#include "store/shard_index.h"
#include "store/status.h"

namespace gigafetch::store {

// Lot: what a sink has taken of one batch. Owned by the batch, which outlives the writers opened
// for it; its fields are the sink's.
struct Lot {
  // Not committed yet: members of an archive, as they are to be appended.
  std::string members;
  std::vector<IndexEntry> entries;   // where each of them begins
  std::optional<ShardEnd> streamed;  // the shard that holds a further one, written as it came
};

// Names one commit() of a lot; never used again for another. 0 is none.
using Receipt = uint64_t;

// A commit of which everything is proven, and everything before it in its shard: it may be told.
struct Tellable {
  Receipt receipt = 0;
  ShardEnd end;  // how far its shard goes with it
};

// A file that was stored and turned out to be doubtful.
struct TakenBack {
  Lot* lot = nullptr;
  Receipt receipt = 0;  // of the commit that it was in; 0: it is gathered still
  std::string_view name;
};

// One file being written (or compared). Destroyed before close() succeeded, it leaves no file.
class BodyWriter {
 public:
  virtual ~BodyWriter() = default;
  // After a failure only destruction is left.
  virtual StoreStatus append(std::string_view piece) = 0;
  // The body is whole.
  virtual StoreStatus close() = 0;
};

class Sink {
 public:
  virtual ~Sink() = default;

  // For sinks that number what they make: numbers before this one have been used.
  virtual void set_first_shard(uint32_t) {}

  // Whether the name policy refuses `name`, before any request is made for it.
  virtual std::optional<FailureClass> refuses(std::string_view name) = 0;
  // What a refusal means, for failed.jsonl.
  virtual std::string_view refusal_text(FailureClass refusal) const = 0;

  // Stores a whole file.
  virtual StoreStatus put(Lot& lot, std::string_view name, std::string_view body) = 0;

  // Starts a file of `size` bytes, or of as many as will come. `writer` is set when the status is
  // ok; it must outlive neither the sink nor the lot.
  virtual StoreStatus open(Lot& lot, std::string_view name, std::optional<uint64_t> size,
                           std::unique_ptr<BodyWriter>& writer) = 0;

  // The name has failed for good: removes what an earlier try of a process that died, or an earlier
  // run, left of it. Does nothing where no regular file stands.
  virtual void discard(std::string_view name) = 0;

  // Whether files are gathered in lots and count by commits; else each counts by itself once it is
  // stored, and commit() gives no receipt.
  virtual bool gathers() const { return false; }

  // Whether the lot should be committed before its batch is done: it holds much.
  virtual bool wants_commit(const Lot&) const { return false; }

  // Everything gathered so far of the lot is committed: once it is told, it survives the death of
  // this process. `receipt` is 0 when nothing was gathered. After a failure nothing of it counts.
  virtual StoreStatus commit(Lot& lot, Receipt& receipt) {
    (void)lot;
    receipt = 0;
    return {};
  }
  // The same of a file that was written as it came (Lot::streamed), by itself, once it is whole.
  virtual StoreStatus commit_streamed(Lot& lot, Receipt& receipt) {
    (void)lot;
    receipt = 0;
    return {};
  }

  // All files of the commit have been proven.
  virtual void prove(Receipt) {}
  // The next commit that may be told; its outcome must go out before that of any later one. False
  // when there is none. After a failure nothing that was not told counts.
  virtual bool take_tellable(Tellable&, StoreStatus&) { return false; }
  // These files are not what they were taken for. Commits that held any of them are undone: what is
  // left of each is gathered again in its lot, and its receipt is void.
  virtual StoreStatus take_back(std::span<const TakenBack>) { return {}; }
  // To be called now and then: a commit that stays unproven over so many calls must not hold up all
  // later ones.
  virtual void step_aside(uint32_t) {}

  // The run ends in good order; nothing is stored any more.
  virtual void finish_run() {}
};

}  // namespace gigafetch::store
