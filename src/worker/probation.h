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
#include <utility>
#include <vector>

#include "base/clock.h"
#include "worker/answers.h"

namespace gigafetch::worker {

// When a connection makes a quiet point.
struct ProbationTerms {
  size_t most = 4096;    // answers on probation
  Millis patience{200};  // for the first of them to be proven
  // How long nothing must come: in the midst of work, when the origin's usual time for an answer
  // will do; and when there is nothing to send.
  Millis quiet{2};
  Millis long_quiet{100};
};

class Probation {
 public:
  // `seed` makes it come to its quiet points at other times than others, lest all connections are
  // quiet at once: after half of what it may take to the whole.
  explicit Probation(uint32_t seed = 0) : turn_(seed) {}

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

  // Only when the end of the answer before is proven.
  void add(Answer answer, TimePoint now) {
    begin_next(now);
    other_ = std::move(answer);
    last_ = Last::other;
  }
  // The same of a file of which nothing else need be known; see file_of().
  void add_file(const FileRun& file, TimePoint now) {
    begin_next(now);
    file_ = file;
    last_ = Last::file;
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
    if (empty()) return false;
    if (large_) return true;
    return size_ * kSpread >= most * share_ || (now - since_) * kSpread >= patience * share_;
  }

  // Whether the first, and only, answer is proven when the next head comes.
  bool has_attributed() const { return attributed_; }

  // All of them; nothing is left.
  Answers take_all() {
    put_away_last();
    begin_period();
    return take_put_away();
  }
  // A quiet point: all but the last one, which is attributed now.
  Answers take_all_but_last(TimePoint now) {
    begin_period();
    since_ = now;
    size_ = 1;
    attributed_ = true;
    return take_put_away();
  }
  // The attributed one, when the next head has come.
  Answers take_attributed() {
    attributed_ = false;
    size_ = 0;
    put_away_last();
    return take_put_away();
  }
  // The last one. Only when there is one.
  Answer take_last() {
    --size_;
    attributed_ = false;
    if (std::exchange(last_, Last::none) == Last::other) return std::move(other_);
    Answer answer;
    answer.task.batch = file_.batch;
    answer.task.index = file_.first;
    answer.part = file_.part;
    return answer;
  }
  // Memory of what was taken, to be used again.
  void recycle(Answers answers) {
    if (!runs_.empty() || !others_.empty()) return;
    answers.files.clear();
    runs_ = std::move(answers.files);
  }

 private:
  static constexpr uint32_t kSpread = 64;
  enum class Last : uint8_t { none, file, other };

  void begin_next(TimePoint now) {
    if (size_++ == 0) since_ = now;
    put_away_last();
  }
  void put_away_last() {
    const Last last = std::exchange(last_, Last::none);
    if (last == Last::file) {
      put_away_file();
    } else if (last == Last::other) {
      others_.push_back(std::move(other_));
    }
  }
  void put_away_file() {
    if (run_.batch == file_.batch && run_.first + run_.count == file_.first &&
        run_.part == file_.part && run_.segment == file_.segment) {
      ++run_.count;
      run_.bytes += file_.bytes;
      run_.content = run_.content + file_.content;
      return;
    }
    if (run_.count > 0) runs_.push_back(run_);
    run_ = file_;
  }
  void begin_period() {
    attributed_ = large_ = false;
    size_ = deepest_ = 0;
    turn_ = turn_ * 1'664'525 + 1'013'904'223;  // Numerical Recipes' generator
    share_ = kSpread / 2 + (turn_ >> 24) % (kSpread / 2);
  }
  Answers take_put_away() {
    if (run_.count > 0) runs_.push_back(std::exchange(run_, {}));
    return {std::exchange(runs_, {}), std::exchange(others_, {})};
  }

  // The last answer, and the run that grows, are kept out of the heap: with many connections each
  // step into that is a miss of the processor's cache.
  FileRun file_;
  FileRun run_;
  Last last_ = Last::none;
  bool attributed_ = false;
  bool large_ = false;
  uint32_t turn_;
  uint32_t share_ = kSpread;  // of kSpread
  uint32_t deepest_ = 0;      // requests in flight at once since the last quiet point
  size_t size_ = 0;
  TimePoint since_;  // when the first of them came
  std::vector<FileRun> runs_;
  std::vector<Answer> others_;
  Answer other_;
};

}  // namespace gigafetch::worker
