// FailingAnswers: how many answers in a row had one failing status, over all workers. Pure.
//
// A thousand of them, with nothing stored in between, end the run: the service is ill, or wants
// something else of us, and every further request would only add to the failures.
#pragma once

#include <cstdint>
#include <string>

#include "wire/messages.h"

namespace gigafetch::coordinator {

class FailingAnswers {
 public:
  static constexpr uint64_t kMost = 1000;

  // Something was stored.
  void on_success() { count_ = 0; }
  // What a worker counts has grown.
  void on_counters(const wire::WorkerCounters& before, const wire::WorkerCounters& now) {
    const uint64_t failing = now.failing - before.failing;
    const bool others = now.responses - before.responses > failing;
    if (others || (failing > 0 && now.failing_status != status_)) count_ = 0;
    if (failing == 0) return;
    status_ = now.failing_status;
    count_ += failing;
  }

  bool reached() const { return count_ >= kMost; }
  // What to tell the operator.
  std::string text() const {
    return fmt::format(
        "{} answers in a row had status {}; see to the service, then run the same command again",
        count_, status_);
  }

 private:
  uint64_t count_ = 0;
  uint16_t status_ = 0;
};

}  // namespace gigafetch::coordinator
