// OriginWatch: how long an origin may stay away before the run ends. Loop thread only.
//
// An origin that is away is no failure of its files: nothing is charged, the job waits. But an
// origin that has never answered is soon given up, since its address is likely wrong. Once it has
// been asked for its first page, it is given the time that a page may take.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "net/timer.h"

namespace gigafetch::coordinator {

// The rule, without a clock.
class Patience {
 public:
  static constexpr Millis kAtFirst{60'000};
  static constexpr Millis kLater{3'600'000};

  explicit Patience(TimePoint start) : last_life_(start) {}
  void on_life(TimePoint now) {
    last_life_ = now;
    ever_ = true;
  }
  // The origin has been asked for something that may take so long.
  void on_question(TimePoint now, Millis patience) {
    if (std::exchange(asked_, true)) return;
    const auto waited = std::chrono::duration_cast<Millis>(now - last_life_);
    at_first_ = std::max(at_first_, waited + patience);
  }
  bool exhausted(TimePoint now) const { return now - last_life_ >= allowed(); }
  Millis allowed() const { return ever_ ? kLater : at_first_; }

 private:
  TimePoint last_life_;
  Millis at_first_ = kAtFirst;
  bool asked_ = false;
  bool ever_ = false;
};

class OriginWatch {
 public:
  // `on_given_up` gets the reason, ready to be printed.
  OriginWatch(net::Loop& loop, std::string origin,
              std::function<void(const std::string& why)> on_given_up);

  // Nothing is asked of the origin any more.
  void stop() { given_up_ = true; }

  // `page` has been asked for, on a connection that stands. It may take so long to begin.
  void asked(std::string page, Millis patience);
  // The origin has answered something.
  void alive();
  // Why it cannot be reached. Each text is logged once since it last answered: what is seen first,
  // as connections break, is seldom what keeps it away. Of very many texts the first few are.
  void trouble(const std::string& text);

 private:
  void check(TimePoint since);

  net::Loop& loop_;
  std::string origin_;
  std::function<void(const std::string&)> on_given_up_;
  Patience patience_;
  std::string trouble_;            // the last one, or what it does not answer
  std::vector<std::string> told_;  // since it last answered
  bool given_up_ = false;
  net::StallSweep sweep_;
};

}  // namespace gigafetch::coordinator
