#include "coordinator/governor.h"

#include <algorithm>
#include <cmath>

namespace gigafetch::coordinator {
namespace {

constexpr Millis kWindow{1000};
// A window with fewer answers goes on for up to kLongWindow: a few say little.
constexpr uint64_t kFewAnswers = 20;
constexpr Millis kLongWindow{5000};
constexpr double kTolerated = 0.05;  // of pushbacks
// A pause is judged so long before its end, so that what follows it is already sent as decided.
constexpr Millis kAhead{250};

constexpr uint32_t kFloorDivisor = 16;
constexpr uint32_t kLeastFloor = 4;
constexpr uint32_t kGrowthDivisor = 20;
constexpr double kMostDecrease = 0.5, kLeastDecrease = 0.9;  // factors of in flight

// Below what was answered well, so that a trial of it is clean if pace is what matters.
constexpr double kBelowGood = 0.97;
constexpr double kLeastRate = 1;
constexpr double kOutageRate = 0.1;  // of the pace at which nothing was answered well
constexpr Millis kHold{10'000}, kLongestHold{60'000};
constexpr double kSlowGrowth = 0.02, kQuickGrowth = 0.05, kSearchGrowth = 0.1, kGuessGrowth = 1;
constexpr uint32_t kProbesToQuicken = 4, kProbesToSearch = 8;
// One may have begun in the middle of the origin's.
constexpr uint32_t kCleanToProbe = 2;
constexpr double kMostBackOff = 0.4;
constexpr double kUnusedFactor = 2;
constexpr uint32_t kUnusedToDrop = 5;

// What was sent before may have used up the origin's second.
constexpr Millis kShortestSettling{1000}, kLongestSettling{3000};
constexpr double kPersistent = 0.5;  // of the share of pushbacks before
constexpr double kGoodLost = 0.85;   // of the good rate before
constexpr Millis kImmune{10'000}, kLongestBackground{80'000};
constexpr double kAboveBackground = 1.5;

// An average over some 64 answers: of a random 30% of pushbacks, half in a row of 32 is not rare.
constexpr double kRecentDecay = 1 - 1.0 / 64;
constexpr double kRecentAtFirst = 0.25;
constexpr double kMost = 0.5;

}  // namespace

Governor::Governor(const Limits& limits, TimePoint now)
    : limits_{std::max(1u, limits.max_in_flight), limits.rate_cap},
      floor_(std::min(limits_.max_in_flight,
                      std::max(kLeastFloor, limits_.max_in_flight / kFloorDivisor))),
      pace_{limits_.max_in_flight, 0},
      window_begin_(now),
      settling_since_(now),
      immune_until_(now),
      immune_for_(kImmune),
      background_until_(now),
      hold_until_(now),
      hold_for_(kHold),
      growth_(kSlowGrowth),
      back_off_(kQuickGrowth),
      recent_share_(kRecentAtFirst),
      asked_until_(now),
      paused_until_(now) {}

double Governor::rate() const {
  if (limits_.rate_cap <= 0) return pace_.rate;
  return pace_.rate > 0 ? std::min(pace_.rate, limits_.rate_cap) : limits_.rate_cap;
}

void Governor::on_answers(uint64_t responses, uint64_t pushbacks, TimePoint now) {
  if (responses == 0) return;
  responses_ += responses;
  pushbacks_ += pushbacks;
  settling_answers_ -= std::min(settling_answers_, responses);
  const double kept = std::pow(kRecentDecay, static_cast<double>(responses));
  const double share = static_cast<double>(pushbacks) / static_cast<double>(responses);
  recent_share_ = recent_share_ * kept + share * (1 - kept);
  if (recent_share_ >= kMost && asked_until_ > now) pause_until(asked_until_, now);
}

void Governor::on_retry_after(Millis asked, TimePoint now) {
  asked_until_ = std::max(asked_until_, now + std::min(asked, kLongestPause));
  if (recent_share_ >= kMost) pause_until(asked_until_, now);
}

void Governor::pause_until(TimePoint until, TimePoint now) {
  const TimePoint from = std::max(paused_until_, now);
  if (until <= from) return;
  paused_ += until - from;
  paused_until_ = until;
  pausing_ = true;
}

void Governor::tick(TimePoint now) {
  if (now + kAhead < paused_until_) return;
  if (pausing_) {
    // What was refused before the pause says nothing of what comes after it.
    recent_share_ = std::min(recent_share_, kRecentAtFirst);
    pausing_ = false;
  }
  if (state_ == State::settling) {
    const Millis settling = now - settling_since_;
    if (settling < kShortestSettling) return;
    if (settling < kLongestSettling && settling_answers_ > 0) return;
    state_ = State::trial;
    return restart_window(now);
  }
  const Millis length = std::max(now, paused_until_) - window_begin_;
  // A few answers say nothing of a share, unless it is none, or all after which we were paused.
  const bool few = responses_ < kFewAnswers && pushbacks_ > 0 && paused_ == Millis(0);
  if (length < kWindow || (few && length < kLongWindow)) return;
  const Reading window = read_window(now);
  restart_window(now);
  // Silence says nothing, and a pause without a good answer before it only that we should wait.
  const bool telling = window.asked > 0 && !(window.paused && window.good <= 0);
  if (telling) judge(window, now);
}

Governor::Reading Governor::read_window(TimePoint now) const {
  // What is answered in a moment, and then refused until a pause is over, was a second's worth to
  // an origin that counts by the second. Time paused does not count: at an even pace it is only the
  // price of having gone too far. An origin that counts by the minute pauses us again, until the
  // rate fits.
  const double seconds =
      std::max(1.0, seconds_between(window_begin_ + paused_, std::max(now, paused_until_)));
  Reading window;
  window.asked = static_cast<double>(responses_) / seconds;
  window.good = static_cast<double>(responses_ - std::min(responses_, pushbacks_)) / seconds;
  if (responses_ > 0) window.share = 1 - window.good / window.asked;
  window.paused = paused_ > Millis(0);
  return window;
}

void Governor::restart_window(TimePoint now) {
  window_begin_ = std::max(now, paused_until_);
  responses_ = pushbacks_ = 0;
  paused_ = Millis(0);
}

double Governor::tolerated_share(TimePoint now) const {
  if (now >= background_until_) return kTolerated;
  return std::max(kTolerated, kAboveBackground * background_share_);
}

void Governor::judge(const Reading& window, TimePoint now) {
  const bool pressed = window.paused || window.share > tolerated_share(now);
  if (state_ == State::trial) return judge_trial(window, pressed, now);
  if (!pressed) {
    state_ = State::steady;
    return grow(window, now);
  }
  clean_ = 0;
  if (now < immune_until_) return;
  if (state_ == State::suspecting || pace_.rate > 0) return lower(window, now);
  state_ = State::suspecting;
  suspected_good_ = window.good;
}

void Governor::judge_trial(const Reading& window, bool pressed, TimePoint now) {
  if (reason_.good <= 0) {
    // Nothing was answered well at any pace: wait at ever less of it for the origin to come back.
    if (window.good <= 0) {
      pace_.rate = std::max(kLeastRate, pace_.rate / 2);
      return;
    }
    pace_ = before_trial_;
    state_ = State::steady;
    return;
  }
  if (independent(window)) return put_back(now);
  state_ = State::steady;
  if (pressed) return lower(window, now);
  immune_for_ = kImmune;
  grow(window, now);
}

bool Governor::independent(const Reading& trial) const {
  // What refuses most and says until when is no accident.
  if (reason_.paused || trial.paused || trial.share <= kTolerated) return false;
  return trial.share > kPersistent * reason_.share || trial.good < kGoodLost * reason_.good;
}

void Governor::put_back(TimePoint now) {
  pace_ = before_trial_;
  state_ = State::steady;
  immune_until_ = now + kImmune;
  // Asked again ever more seldom whether it still holds.
  background_share_ = reason_.share;
  background_until_ = now + immune_for_;
  immune_for_ = std::min(2 * immune_for_, kLongestBackground);
}

void Governor::grow(const Reading& window, TimePoint now) {
  pace_.in_flight =
      std::min(limits_.max_in_flight,
               pace_.in_flight + std::max(1u, limits_.max_in_flight / kGrowthDivisor));
  if (pace_.rate <= 0) return;
  unused_windows_ = pace_.rate > kUnusedFactor * window.asked ? unused_windows_ + 1 : 0;
  if (unused_windows_ >= kUnusedToDrop) {
    pace_.rate = 0;
    unused_windows_ = 0;
    return;
  }
  if (now < hold_until_) return;
  if (++clean_ < kCleanToProbe) return;
  if (growth_ > kSearchGrowth) clean_ = 0;  // a rate must be proven before a large step
  back_off_ = kQuickGrowth;
  if (++probes_ > kProbesToQuicken) growth_ = std::max(growth_, kQuickGrowth);
  if (probes_ > kProbesToSearch) {
    growth_ = std::max(growth_, kSearchGrowth);
    hold_for_ = kHold;
  }
  pace_.rate *= 1 + growth_;
}

void Governor::lower(const Reading& window, TimePoint now) {
  before_trial_ = pace_;
  reason_ = window;
  if (state_ == State::suspecting) reason_.good = std::min(window.good, suspected_good_);
  settling_since_ = now;
  // At a rate little is in flight, whatever may be.
  settling_answers_ = pace_.rate > 0 ? 0 : pace_.in_flight;
  pace_.rate = std::max(kLeastRate, lower_rate(window));
  pace_.in_flight = lower_in_flight(window);
  // What was answered before a pause is a guess at what would be answered without one.
  const bool guess = before_trial_.rate <= 0 && window.paused;
  growth_ = guess ? kGuessGrowth : growth_ / 4;
  const bool found = before_trial_.rate > 0 && growth_ < kSearchGrowth;
  if (growth_ < kSearchGrowth) growth_ = kSlowGrowth;
  hold_until_ = found ? now + hold_for_ : now;
  if (found) hold_for_ = std::min(2 * hold_for_, kLongestHold);
  clean_ = probes_ = unused_windows_ = 0;
  // A pause has settled everything.
  state_ = window.paused ? State::trial : State::settling;
}

double Governor::lower_rate(const Reading& window) {
  if (reason_.good <= 0) return kOutageRate * window.asked;
  if (pace_.rate <= 0) return kBelowGood * reason_.good;
  // Not what was answered: of a window that began well, part was told of before it.
  if (!window.paused) return kBelowGood * pace_.rate * (1 - window.share);
  const double back = std::max(back_off_, growth_ / (1 + growth_));
  back_off_ = std::min(kMostBackOff, 2 * back_off_);
  return pace_.rate * (1 - back);
}

uint32_t Governor::lower_in_flight(const Reading& window) const {
  // Where refusals take as long as other answers, this is what was in flight for the others.
  const double factor = std::clamp(1 - window.share, kMostDecrease, kLeastDecrease);
  return std::max(floor_, static_cast<uint32_t>(pace_.in_flight * factor));
}

}  // namespace gigafetch::coordinator
