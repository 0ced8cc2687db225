#include "supervisor/run_figures.h"

namespace gigafetch::supervisor {

void RunFigures::begin_coordinator(TimePoint now) {
  gone_.requests += last_.requests;
  gone_.retries += last_.retries;
  gone_.fetched += last_.fetched;
  gone_seconds_ += seconds_;
  gone_wait_ += seconds_ * last_.listing_bound;
  last_ = {};
  has_spoken_ = false;
  began_ = now;
  seconds_ = 0;
  catching_up_ = true;
}

bool RunFigures::take(const Figures& figures, TimePoint now) {
  const bool knows_more = has_spoken_ ? figures.stored > last_.stored
                                      : any_has_spoken_ && figures.stored > sums_.stored;
  const bool progress = figures.fetched > last_.fetched || knows_more;
  last_ = figures;
  has_spoken_ = true;
  any_has_spoken_ = true;
  seconds_ = seconds_between(began_, now);
  sums_ = figures;
  sums_.requests += gone_.requests;
  sums_.retries += gone_.retries;
  sums_.fetched += gone_.fetched;
  sums_.listing_bound = mean_listing_bound();
  catching_up_ =
      catching_up_ && (sums_.listed < shown_.listed || sums_.settled() < shown_.settled());
  if (!catching_up_) {
    shown_ = sums_;
  } else {
    shown_.requests = sums_.requests;
    shown_.retries = sums_.retries;
    shown_.fetched = sums_.fetched;
  }
  return progress;
}

Figures RunFigures::settled() const {
  Figures figures = sums_;
  figures.listed = figures.settled();
  return figures;
}

double RunFigures::mean_listing_bound() const {
  const double seconds = gone_seconds_ + seconds_;
  if (seconds <= 0) return last_.listing_bound;
  return (gone_wait_ + seconds_ * last_.listing_bound) / seconds;
}

}  // namespace gigafetch::supervisor
