// FailingAnswers: how many answers in a row had one failing status, over all workers. Pure.
//
// A thousand of them end the run: the service is ill, or wants something else of us, and every
// further request would only add to the failures. An origin that asks for less (429, 503) may
// refuse a thousand at once, before it is asked for less: that must also have lasted, or have cost
// a file.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "wire/messages.h"

namespace gigafetch::coordinator {

class FailingAnswers {
 public:
  static constexpr uint64_t kMost = 1000;
  static constexpr Millis kPushbackPatience{10'000};

  // What a worker counts has grown.
  void on_counters(const wire::WorkerCounters& before, const wire::WorkerCounters& now,
                   TimePoint time) {
    const uint64_t responses = now.responses - before.responses;
    if (responses == 0) return;
    const bool nothing_else = now.failing >= responses && now.failing_status == status_;
    if (!nothing_else) {
      since_ = time;
      file_failed_ = false;
    }
    count_ = nothing_else ? count_ + responses : std::min(now.failing, responses);
    status_ = now.failing_status;
  }

  // A file has used up its tries with this status.
  void on_failure(const FileFailure& failure) {
    file_failed_ |= failure.cause == FailureClass::http_status && failure.status == status_;
  }

  bool reached(TimePoint time) const {
    const bool pushback = status_ == 429 || status_ == 503;
    const bool patient = pushback && !file_failed_ && time - since_ < kPushbackPatience;
    return count_ >= kMost && !patient;
  }
  // What to tell the operator.
  std::string text() const {
    return fmt::format(
        "{} answers in a row had status {}; see to the service, then run the same command again",
        count_, status_);
  }

 private:
  uint64_t count_ = 0;
  uint16_t status_ = 0;
  TimePoint since_;  // when the first of them came
  bool file_failed_ = false;
};

}  // namespace gigafetch::coordinator
