// Pacer: hands each worker its share of what the origin bears (coordinator/governor.h). Loop thread
// only.
//
// The rate is divided among the workers that have names, so that none of it lies idle; the requests
// in flight among all, since each has connections of its own.
#pragma once

#include <functional>
#include <unordered_map>

#include "coordinator/governor.h"
#include "coordinator/workforce.h"

namespace gigafetch::coordinator {

class Pacer {
 public:
  // `has_names` tells whether the holder has something to fetch. Both must outlive the pacer.
  Pacer(net::Loop& loop, const Governor::Limits& limits, uint32_t workers,
        const Workforce& workforce, std::function<bool(HolderId holder)> has_names);

  void on_counters(const wire::WorkerCounters& before, const wire::WorkerCounters& now);
  void on_retry_after(Millis asked);
  // Who has names may have changed, or a worker has come.
  void update();
  void on_gone(HolderId holder) { told_.erase(holder); }

 private:
  void tick();
  wire::Pace share(double rate, TimePoint now) const;

  net::Loop& loop_;
  uint32_t workers_;
  const Workforce& workforce_;
  std::function<bool(HolderId)> has_names_;
  Governor governor_;
  TimePoint pause_told_;
  std::unordered_map<HolderId, wire::Pace> told_;
  net::Timer timer_;
};

}  // namespace gigafetch::coordinator
