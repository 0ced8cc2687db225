// Progress: a run's figures on standard error while it goes on.
#pragma once

#include "cli/options.h"
#include "supervisor/supervisor.h"

namespace gigafetch::cli {

class Progress final : public supervisor::Observer {
 public:
  // automatic: one line that is written over on a terminal, else a plain line now and then.
  // plain: a line every few seconds. json: an object a second.
  explicit Progress(ProgressMode mode);
  // Ends the line that is written over.
  ~Progress() override;

  void on_figures(const Figures& figures, double seconds) override;

 private:
  ProgressMode mode_;
  bool overwrites_ = false;
  bool line_open_ = false;
  double period_ = 0;  // seconds between two lines
  double next_ = 0;
  double last_seconds_ = 0;
  uint64_t last_fetched_ = 0;
};

}  // namespace gigafetch::cli
