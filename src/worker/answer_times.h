// AnswerTimes: how long a worker's answers take, and the patience that follows from it. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "worker/probation.h"

namespace gigafetch::worker {

class AnswerTimes {
 public:
  void on_answer(Millis waited) {
    const auto millis = static_cast<double>(waited.count());
    mean_ += (millis - mean_) * kGain;
    slow_ = std::max(millis, slow_ * kSlowDecay);
  }
  // The origin has misframed an answer, behind so many responses in all.
  void on_misframed(uint64_t responses) { mistrust_end_ = responses + kMistrustedAnswers; }

  // So many times the usual wait.
  Millis usual(double factor) const { return millis(mean_ * factor); }
  // An answer that takes longer is asked for elsewhere, where that holds up others.
  Millis tail_patience(Millis stall_timeout) const {
    return std::min(std::max(usual(kTailFactor), kShortestTailPatience), stall_timeout / 2);
  }
  // Of each of so many connections, after so many responses in all.
  ProbationTerms probation_terms(uint64_t responses, size_t connections) const {
    ProbationTerms terms;
    terms.most = std::clamp(kMostOnProbation / connections, kLeastOnProbation, kMostOfOne);
    terms.patience = std::max(kLeastPatience, millis(slow_ * kPatienceFactor));
    terms.quiet = std::clamp(millis(slow_ * kQuietFactor), kLeastQuiet, kMostQuiet);
    terms.long_quiet = std::clamp(millis(slow_ * kLongQuietFactor), kLeastLongQuiet, kMostQuiet);
    if (responses < mistrust_end_) {
      terms.most = kMistrusted;
      // What it sends too much, it may send late, and be late with the next answer for it.
      terms.quiet = terms.long_quiet;
    }
    return terms;
  }

 private:
  static constexpr double kGain = 1.0 / 64;
  // By which the slowest of the recent answers is forgotten, an answer.
  static constexpr double kSlowDecay = 1 - 1.0 / 256;
  static constexpr double kTailFactor = 32;
  static constexpr Millis kShortestTailPatience{1000};
  // Answers on probation: over all connections, in bounds for each. Of an origin that has misframed
  // any, so many for each until it has sent that many more.
  static constexpr size_t kMostOnProbation = 131'072, kLeastOnProbation = 16, kMostOfOne = 4096;
  static constexpr size_t kMistrusted = 16;
  static constexpr uint64_t kMistrustedAnswers = 10'000;
  // In usual waits for an answer: how long nothing comes at a quiet point, and how rare such are.
  static constexpr double kQuietFactor = 1.25, kLongQuietFactor = 4, kPatienceFactor = 100;
  static constexpr Millis kLeastQuiet{20}, kLeastLongQuiet{100}, kMostQuiet{2'000},
      kLeastPatience{200};

  static Millis millis(double value) { return Millis(static_cast<int64_t>(std::min(value, 1e9))); }

  double mean_ = 0;
  double slow_ = 0;  // of the slowest ones
  uint64_t mistrust_end_ = 0;
};

}  // namespace gigafetch::worker
