// Probation: the answers of one connection that are not proven yet. Pure.
//
// The head of another answer proves only where an answer ends. That answers belong to their
// requests is proven at a quiet point: nothing is outstanding, and nothing more comes; or the
// connection ends in good order. Until then a surplus answer may show that all of them have been
// given to the wrong requests (RFC 9112 section 9.3.2: nothing but their order tells).
//
//     answered --> on probation --quiet point--> attributed --next head, or a long quiet--> proven
//                       |                            |
//                       +------- a doubt ------------+--> taken back
//
// Only the last answer before a quiet point stays attributed: bytes of it may still be on their
// way. All others have had the head of another answer behind them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "store/content_hash.h"
#include "worker/batch.h"

namespace gigafetch::worker {

// What an answer came to: a file that the sink has taken, a failure for good, or a redirect that is
// followed.
struct Answer {
  Task task;
  uint64_t bytes = 0;
  store::Hash128 content;                // store::content_hash of name and body
  std::unique_ptr<FileFailure> failure;  // null when it did not fail
  bool elsewhere = false;                // it led on: the task knows where to

  bool has_file() const { return failure == nullptr && !elsewhere; }
};

// When a connection makes a quiet point.
struct ProbationTerms {
  size_t most = 4096;    // answers on probation
  Millis patience{200};  // for the first of them to be proven
  // How long nothing must come: in the midst of work, when the origin's usual time for an answer
  // will do; and when there is nothing to send.
  Millis quiet{2};
  Millis long_quiet{100};
};

// How an origin's answers have turned out not to be what they say.
enum class Misframing : uint8_t {
  wrong_end,  // bytes behind an answer begin no other one
  surplus,    // an answer came that was not asked for
};

// What is thought of answers that are taken back.
enum class Doubt : uint8_t {
  unproven,   // the connection ended before they could be proven; nothing speaks against them
  suspected,  // what came behind them does
};

class Probation {
 public:
  // `seed` makes it come to its quiet points at other times than others, lest all connections are
  // quiet at once: after half of what it may take to the whole.
  explicit Probation(uint32_t seed = 0) : turn_(seed) {}

  bool empty() const { return answers_.empty(); }
  size_t size() const { return answers_.size(); }

  // Only when the end of the answer before is proven.
  void add(Answer answer, TimePoint now) {
    if (answers_.empty()) since_ = now;
    answers_.push_back(std::move(answer));
  }

  // So many requests have been in flight at once.
  void on_in_flight(uint32_t requests) { deepest_ = std::max(deepest_, requests); }
  // Whether there has been more than one since the last quiet point. Without, an answer that is
  // left out cannot shift the others: its request stays the only one.
  bool pipelined() const { return deepest_ > 1; }

  // A large body comes. It may hold a shard of its own until it is proven.
  void on_large() { large_ = true; }

  // Whether a quiet point should be made.
  bool is_due(TimePoint now, size_t most, Millis patience) const {
    if (answers_.empty()) return false;
    if (large_) return true;
    return answers_.size() * kSpread >= most * share_ ||
           (now - since_) * kSpread >= patience * share_;
  }

  // Whether the first, and only, answer is proven when the next head comes.
  bool has_attributed() const { return attributed_; }

  // All of them, in order; nothing is left.
  std::vector<Answer> take_all() {
    attributed_ = large_ = false;
    deepest_ = 0;
    turn_ = turn_ * 1'664'525 + 1'013'904'223;  // Numerical Recipes' generator
    share_ = kSpread / 2 + (turn_ >> 24) % (kSpread / 2);
    return std::exchange(answers_, {});
  }
  // A quiet point: all but the last one, which is attributed now.
  std::vector<Answer> take_all_but_last(TimePoint now) {
    Answer last = std::move(answers_.back());
    answers_.pop_back();
    std::vector<Answer> taken = take_all();
    add(std::move(last), now);
    attributed_ = true;
    return taken;
  }
  // The attributed one, when the next head has come.
  Answer take_attributed() {
    attributed_ = false;
    Answer answer = std::move(answers_.back());
    answers_.clear();
    return answer;
  }
  Answer take_last() {
    Answer last = std::move(answers_.back());
    answers_.pop_back();
    attributed_ = false;
    return last;
  }

 private:
  static constexpr uint32_t kSpread = 64;

  std::vector<Answer> answers_;
  uint32_t turn_;
  uint32_t share_ = kSpread;  // of kSpread
  TimePoint since_;           // when the first of them came
  uint32_t deepest_ = 0;      // requests in flight at once since the last quiet point
  bool attributed_ = false;
  bool large_ = false;
};

}  // namespace gigafetch::worker
