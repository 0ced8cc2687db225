// What a worker learns about how much it may pipeline to its origin. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

namespace gigafetch::worker {

// Depth: how many requests may be in flight on one connection.
//
// A broken pipeline is retried without one: any doubt drops the depth to 1, and it doubles again
// each time enough responses have come back whole and in order.
class Depth {
 public:
  // `start` of them at first, never more than `most`.
  Depth(uint32_t start, uint32_t most) : most_(most), depth_(std::min(start, most)) {}

  uint32_t now() const { return depth_; }

  void on_response() {
    if (depth_ < most_ && ++clean_ >= kCleanToDouble) {
      depth_ = std::min(depth_ * 2, most_);
      clean_ = 0;
    }
  }
  void on_doubt() {
    depth_ = 1;
    clean_ = 0;
  }

 private:
  static constexpr uint32_t kCleanToDouble = 64;
  uint32_t most_;
  uint32_t depth_;
  uint32_t clean_ = 0;
};

// RequestLimit: after how many requests the origin closes a connection (nginx: keepalive_requests).
//
// Requests pipelined behind that point are answered by a reset, which may destroy responses before
// them. Two closes after the same number of responses show a limit; a connection that lives past
// it shows that there is none, or another.
class RequestLimit {
 public:
  static constexpr uint64_t kNone = UINT64_MAX;

  // Requests to send on one connection, at most.
  uint64_t now() const { return limit_; }

  // The origin announced its close behind this many responses.
  void on_announced_close(uint64_t responses) {
    if (responses == 0) return;
    if (responses == candidate_) limit_ = responses;
    candidate_ = responses;
  }
  // A connection stayed open behind this many responses.
  void on_survived(uint64_t responses) {
    if (responses >= limit_) limit_ = candidate_ = kNone;
  }

 private:
  uint64_t limit_ = kNone;
  uint64_t candidate_ = kNone;
};

}  // namespace gigafetch::worker
