// Governor: how much the whole job asks of its origin: requests in flight, requests a second,
// pauses. Coordinator; pure: the time is passed in.
//
// An origin that is content is never held back: the limits start wide open, and answers that are
// slow do not lower them. What lowers them is pushback, that is 429 and 503, judged in windows of a
// second:
//
//     steady ──pushed back, no rate set──▶ suspecting ──again──▶ settling ──▶ trial ──▶ steady
//        └────pushed back, a rate set──────────────────────────────▲            │
//                                                                  └────────────┘ pushed back still
//
//     suspecting  A second window is seen before anything is done: the first may hold a burst that
//                 the origin lets through once only. The lower of the two good rates counts.
//     settling    The limits are lowered; what was sent before is still being answered, or counted
//                 against us. Left out after a pause, which has settled it.
//     trial       A window under the lower limits. Errors that come as often as before, or less
//                 good for fewer requests, show that our pace is not their cause: the limits are
//                 put back, and nothing lowers them for ten seconds. Otherwise they stay.
//
// In flight: additive increase, multiplicative decrease (Chiu and Jain, "Analysis of the Increase
// and Decrease Algorithms", 1989; Jacobson, "Congestion Avoidance and Control", 1988). It cannot
// hold an origin that counts requests a second and answers quickly, hence the rate: set a little
// below what was answered well, held there a while, then probed upwards, and dropped once it no
// longer binds. The hold is what CUBIC's plateau is for (RFC 9438): an overshoot may cost a pause.
// Where the first good rate is known from pauses only, it is a guess from below, and is doubled
// until it proves too much (a slow start, as Jacobson's).
//
// A Retry-After pauses the job only while the origin refuses most of what it is asked.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace gigafetch::coordinator {

class Governor {
 public:
  struct Limits {
    uint32_t max_in_flight = 1;  // workers x connections x depth
    double rate_cap = 0;         // requests a second that rate() never exceeds; 0: none
  };
  static constexpr Millis kLongestPause{300'000};

  Governor(const Limits& limits, TimePoint now);

  // Answers since the last call, over all workers, and those of them that were 429 or 503. While
  // there are pushbacks, answers must be told of within some 200 ms; in quiet times a second will
  // do.
  void on_answers(uint64_t responses, uint64_t pushbacks, TimePoint now);
  // A pushback asked to be left alone for so long. Heeded if most answers are pushbacks, also if
  // they turn out so within that time.
  void on_retry_after(Millis asked, TimePoint now);
  // To be called several times a second; limits change only in here.
  void tick(TimePoint now);

  // Requests in flight over all workers, at most; never 0.
  uint32_t in_flight() const { return pace_.in_flight; }
  // Requests a second over all workers, at most; 0: no limit.
  double rate() const;
  // Nothing is to be sent before; in the past when there is no pause. Never goes back. A worker
  // must not save up during a pause what rate() would have let it send.
  TimePoint paused_until() const { return paused_until_; }

 private:
  enum class State : uint8_t { steady, suspecting, settling, trial };
  struct Pace {
    uint32_t in_flight = 1;
    double rate = 0;  // 0: no limit
  };
  // What a window amounted to.
  struct Reading {
    double good = 0;   // answers that were no pushback, a second
    double asked = 0;  // all answers, a second
    double share = 0;  // of pushbacks in all answers
    bool paused = false;
  };

  Reading read_window(TimePoint now) const;
  void restart_window(TimePoint now);
  void judge(const Reading& window, TimePoint now);
  void judge_trial(const Reading& window, bool pressed, TimePoint now);
  void grow(const Reading& window, TimePoint now);
  void lower(const Reading& window, TimePoint now);
  double lower_rate(const Reading& window);
  uint32_t lower_in_flight(const Reading& window) const;
  void put_back(TimePoint now);
  bool independent(const Reading& trial) const;
  double tolerated_share(TimePoint now) const;
  void pause_until(TimePoint until, TimePoint now);

  Limits limits_;
  uint32_t floor_;  // of in_flight()
  State state_ = State::steady;
  Pace pace_;

  TimePoint window_begin_;
  uint64_t responses_ = 0;  // in the window
  uint64_t pushbacks_ = 0;
  Millis paused_{0};

  double suspected_good_ = 0;  // of the window that raised the suspicion
  TimePoint settling_since_;
  uint64_t settling_answers_ = 0;  // still expected to what was sent before
  Pace before_trial_;
  Reading reason_;  // the window that led to the trial

  TimePoint immune_until_;
  Millis immune_for_;
  double background_share_ = 0;  // of pushbacks that do not depend on our pace
  TimePoint background_until_;

  TimePoint hold_until_;         // the rate does not grow before
  Millis hold_for_;              // the next hold; doubles while limits are found again and again
  double growth_;                // of the rate, by a clean window
  double back_off_;              // of a rate that led to a pause
  uint32_t clean_ = 0;           // clean windows in a row, since the hold ended
  uint32_t probes_ = 0;          // times that it grew since the hold ended
  uint32_t unused_windows_ = 0;  // in a row, in which the rate did not bind

  double recent_share_;  // of pushbacks among the last answers, the latest counting most
  TimePoint asked_until_;
  TimePoint paused_until_;
  bool pausing_ = false;  // and no tick has come after its end
};

}  // namespace gigafetch::coordinator
