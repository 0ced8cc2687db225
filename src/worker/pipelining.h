// What a worker learns about how much it may pipeline to its origin. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "wire/messages.h"

namespace gigafetch::worker {

// Depth: how many requests may be in flight on one connection.
//
// A broken pipeline is retried without one: any doubt drops the depth to 1, and it doubles again
// each time enough pipelines that were deep enough have been answered whole and in order. A depth
// that the origin has borne once may break by chance. One that it never has, and that broke twice
// as it was tried, is left alone for long: it may have been chance after all, but each try can cost
// a file an attempt.
class Depth {
 public:
  // `start` of them at first, never more than `most`.
  Depth(uint32_t start, uint32_t most) : top_(most), most_(most), depth_(std::min(start, most)) {}

  uint32_t now() const { return depth_; }
  // What has been found, and what another worker has: it need not break connections to find it.
  uint32_t borne() const { return borne_; }
  uint32_t breaks() const { return breaks_; }
  void learn(uint32_t borne, uint32_t breaks) {
    borne_ = std::min(borne, top_);
    breaks_ = std::min(breaks, kBreaksToStop);
    if (breaks_ == kBreaksToStop) most_ = borne_;
    depth_ = std::min(std::max(depth_, borne_), most_);
  }

  // So many requests that were in flight at once have all been answered.
  void on_answered(uint32_t pipelined) {
    if (held_ > 0) {
      held_ -= std::min<uint64_t>(held_, pipelined);
      return;
    }
    if (2 * uint64_t{pipelined} <= depth_) return;  // it shows nothing about this depth
    if (most_ < top_) wait_to_try_again(pipelined);
    clean_ += std::min(pipelined, kMostCounted);
    if (clean_ < kCleanToDouble) return;
    clean_ = 0;
    if (depth_ > borne_) {
      borne_ = depth_;
      breaks_ = 0;
      patience_ = kFirstPatience;
    }
    depth_ = std::min(depth_ * 2, most_);
  }
  // The order of answers was lost, or the connection ended, with up to so many in flight.
  void on_doubt(uint32_t pipelined) {
    const bool untried = depth_ > borne_ && pipelined > borne_;
    if (untried && ++breaks_ == kBreaksToStop) {
      most_ = borne_;
      waited_ = 0;
    }
    depth_ = 1;
    clean_ = 0;
  }
  // Answers were not what they said: one at a time for a while, and longer each time.
  void on_misframed() {
    depth_ = 1;
    clean_ = 0;
    held_ = hold_;
    hold_ = std::min(hold_ * kHoldFactor, kLongestHold);
  }

 private:
  static constexpr uint32_t kCleanToDouble = 64;
  // Of one pipeline: it takes several to show that the origin bears them.
  static constexpr uint32_t kMostCounted = 16;
  static constexpr uint32_t kBreaksToStop = wire::Pipelining::kBreaksToStop;
  // Answers until a depth that broke is tried once more, at first, and how that grows.
  static constexpr uint64_t kFirstPatience = 10'000;
  static constexpr uint64_t kPatienceFactor = 8;

  void wait_to_try_again(uint32_t answers) {
    waited_ += answers;
    if (waited_ < patience_) return;
    patience_ *= kPatienceFactor;
    most_ = top_;
    breaks_ = kBreaksToStop - 1;
  }

  uint32_t top_;
  uint32_t most_;  // top_, or less for a while
  uint32_t depth_;
  uint32_t clean_ = 0;
  uint32_t borne_ = 1;   // the deepest that has been answered whole
  uint32_t breaks_ = 0;  // of deeper ones, since that was found
  static constexpr uint64_t kFirstHold = 1'000, kLongestHold = 1'000'000, kHoldFactor = 4;

  uint64_t held_ = 0;  // answers until more than one request may be in flight
  uint64_t hold_ = kFirstHold;
  uint64_t waited_ = 0;  // answers since the last of them
  uint64_t patience_ = kFirstPatience;
};

// RequestLimit: after how many requests the origin closes a connection (nginx: keepalive_requests).
//
// Requests pipelined behind that point are answered by a reset, which may destroy responses before
// them. Two closes behind the same number of whole responses show a limit, announced or not; a
// connection that lives past it shows that there is none, or another.
class RequestLimit {
 public:
  static constexpr uint64_t kNone = UINT64_MAX;

  // Requests to send on one connection, at most.
  uint64_t now() const { return limit_; }
  // Another worker has found it.
  void learn(uint64_t limit) { limit_ = candidate_ = limit; }

  // The origin closed a connection behind this many responses. True when it has done so before.
  bool on_close(uint64_t responses) {
    if (responses == 0) return false;
    const bool again = responses == candidate_;
    if (again) limit_ = responses;
    candidate_ = responses;
    return again;
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
