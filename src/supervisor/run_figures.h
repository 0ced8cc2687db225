// RunFigures: the figures of a run, over all the coordinators it has had.
//
// Each coordinator counts requests, retries, fetched files and its workers' waits from its own
// start; those of the ones that are gone are added up here. What counts over all runs of the job
// (listed, stored, failed, ...) is in the ledger, so the present coordinator knows it as a whole.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/figures.h"

namespace gigafetch::supervisor {

class RunFigures {
 public:
  // Another coordinator starts to count at `now`; what the last one said is kept.
  void begin_coordinator(TimePoint now);

  // What the present coordinator says at `now`. True when something was stored since a coordinator
  // last spoke. What the first one of the run finds stored is no progress.
  bool take(const Figures& figures, TimePoint now);

  // Of the whole run; listing_bound is the mean over the coordinators, weighted by their time.
  const Figures& sums() const { return sums_; }
  // The same while the run goes on: what one coordinator has told is told until the one after it
  // knows as much, so that figures do not run backwards when a verify begins anew, say.
  const Figures& shown() const { return shown_; }
  // The same at the end of the run, however it came: names that are not settled are not listed
  // either, since they will be listed, or handed out, again.
  Figures settled() const;

 private:
  // The share of the time of the coordinators that are gone, and of the present one.
  double mean_listing_bound() const;

  Figures sums_;
  Figures shown_;
  bool catching_up_ = false;  // the present coordinator, with what is shown
  bool any_has_spoken_ = false;
  // Of the coordinators that are gone.
  Figures gone_;             // those fields that are added up
  double gone_seconds_ = 0;  // from each one's start to its last figures
  double gone_wait_ = 0;     // of those, spent waiting for names
  // Of the present one.
  Figures last_;
  bool has_spoken_ = false;
  TimePoint began_;
  double seconds_ = 0;  // from its start to its last figures
};

}  // namespace gigafetch::supervisor
