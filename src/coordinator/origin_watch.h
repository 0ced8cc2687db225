// OriginWatch: how long an origin may stay away before the run ends. Loop thread only.
//
// An origin that is away is no failure of its files: nothing is charged, the job waits. But an
// origin that has never answered is soon given up, since its address is likely wrong.
#pragma once

#include <functional>
#include <string>
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
  bool exhausted(TimePoint now) const { return now - last_life_ >= allowed(); }
  Millis allowed() const { return ever_ ? kLater : kAtFirst; }

 private:
  TimePoint last_life_;
  bool ever_ = false;
};

class OriginWatch {
 public:
  // `on_given_up` gets the reason, ready to be printed.
  OriginWatch(net::Loop& loop, std::string origin,
              std::function<void(const std::string& why)> on_given_up);

  // Nothing is asked of the origin any more.
  void stop() { given_up_ = true; }

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
  std::string trouble_;            // the last one
  std::vector<std::string> told_;  // since it last answered
  bool given_up_ = false;
  net::StallSweep sweep_;
};

}  // namespace gigafetch::coordinator
