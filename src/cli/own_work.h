// OwnWork: adds to a run's report what the calling process does behind supervise() (a sync, a walk
// over the disk), so that the summary tells the whole command's time and processor time.
#pragma once

#include <algorithm>

#include "base/clock.h"
#include "supervisor/child.h"
#include "supervisor/supervisor.h"

namespace gigafetch::cli {

class OwnWork {
 public:
  // Counts from here until its end. `report` must outlive it.
  explicit OwnWork(supervisor::Report& report) : report_(report), start_(monotonic_now()) {
    supervisor::add_own(before_);
  }
  ~OwnWork() {
    supervisor::Accounts after;
    supervisor::add_own(after);
    report_.seconds += seconds_between(start_, monotonic_now());
    report_.cpu_seconds += after.cpu_seconds - before_.cpu_seconds;
    report_.peak_rss_bytes = std::max(report_.peak_rss_bytes, after.peak_rss_bytes);
  }
  OwnWork(const OwnWork&) = delete;
  OwnWork& operator=(const OwnWork&) = delete;

 private:
  supervisor::Report& report_;
  TimePoint start_;
  supervisor::Accounts before_;
};

}  // namespace gigafetch::cli
