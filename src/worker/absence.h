// Absence: what a worker knows of an origin that does not answer it: why, and when to try again.
// Pure.
//
// An origin is away when no address accepts connections, or when those it accepts end unanswered.
// Meanwhile one connection at a time tries, with growing waits, and no file is charged for it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/random.h"

namespace gigafetch::worker {

class Absence {
 public:
  // `random` must outlive it.
  explicit Absence(Random& random) : random_(random) {}

  // Why nothing can be asked at present, for the operator; empty when all is well.
  const std::string& trouble() const { return trouble_; }
  // Something of this host's own stands in the way, until the next connection is made.
  void set_trouble(std::string text) { trouble_ = std::move(text); }

  // Connections are made, and end without an answer.
  bool is_unanswered() const { return unanswered_ > 0; }
  // It may have moved: its name should be looked up again.
  bool wants_lookup() const { return refused_ > 0 && refused_ % kTriesPerLookup == 0; }

  // A connection was made. True when none could be before.
  bool on_accepted() {
    if (!is_unanswered()) trouble_.clear();
    return std::exchange(refused_, 0) > 0;
  }
  // None can be made.
  void on_not_accepted() { unanswered_ = 0; }
  // The same, as the result of a try. The wait before the next one.
  Millis on_refused(std::string why) {
    on_not_accepted();
    trouble_ = std::move(why);
    return backoff_.delay(++refused_, random_);
  }

  // A connection has ended without an answer, and others bring none either; or it is so, and one
  // more is tried. The wait before the next one.
  Millis on_unanswered() {
    if (!is_unanswered()) trouble_ = "the origin accepts connections and ends them unanswered";
    return backoff_.delay(++unanswered_, random_);
  }
  // How long a name waits that may be the cause: until another name has been tried.
  Millis until_others_tried() { return 2 * backoff_.delay(unanswered_, random_) + Millis(1); }
  // True when there was none before.
  bool on_answer() {
    if (!is_unanswered()) return false;
    unanswered_ = 0;
    trouble_.clear();
    return true;
  }

 private:
  static constexpr uint32_t kTriesPerLookup = 8;

  Random& random_;
  Backoff backoff_{Millis(100), Millis(5'000)};
  std::string trouble_;
  uint32_t refused_ = 0;     // tries in a row
  uint32_t unanswered_ = 0;  // tries since the last answer, while connections are made
};

}  // namespace gigafetch::worker
