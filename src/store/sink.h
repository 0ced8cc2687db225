// Sink: where a worker's files go. Worker, loop thread only.
//
// A body that is small arrives whole (put); any other arrives in pieces (open, append, close).
// Every call may block on the disk. Names are given as listed; the sink maps them.
//
// What is stored belongs to a batch and is committed batch by batch: its lot goes with every call.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
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
  std::vector<IndexEntry> entries;  // where each of them begins
  std::vector<ShardEnd> streamed;   // shards that hold further ones, written as they came
  // Committed, and not told the coordinator yet.
  std::vector<ShardEnd> committed;
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

  // Whether the lot should be committed, and told, before its batch is done: it holds much.
  virtual bool wants_commit(const Lot&) const { return false; }

  // Everything stored so far of the lot is committed: it survives the death of this process. Called
  // before the outcome that reports it. After a failure nothing of it counts.
  virtual StoreStatus commit(Lot& lot) = 0;

  // The run ends in good order; nothing is stored any more.
  virtual void finish_run() {}
};

}  // namespace gigafetch::store
