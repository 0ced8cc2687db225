// Sink: where a worker's files go. Worker, loop thread only.
//
// A body that is small arrives whole (put); any other arrives in pieces (open, append, close).
// Every call may block on the disk. Names are given as listed; the sink maps them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "base/failure.h"
#include "store/status.h"

namespace gigafetch::store {

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

  // Whether the name policy refuses `name`, before any request is made for it.
  virtual std::optional<FailureClass> refuses(std::string_view name) = 0;
  // What a refusal means, for failed.jsonl.
  virtual std::string_view refusal_text(FailureClass refusal) const = 0;

  // Stores a whole file.
  virtual StoreStatus put(std::string_view name, std::string_view body) = 0;

  // Starts a file. `writer` is set when the status is ok; it must not outlive the sink.
  virtual StoreStatus open(std::string_view name, std::unique_ptr<BodyWriter>& writer) = 0;

  // The name has failed for good: removes what an earlier try of a process that died, or an earlier
  // run, left of it. Does nothing where no regular file stands.
  virtual void discard(std::string_view name) = 0;

  // Everything stored so far is committed: it survives the death of this process. Called before the
  // outcome that reports it.
  virtual StoreStatus commit() = 0;
};

}  // namespace gigafetch::store
