// SIGINT, SIGTERM and SIGHUP: the operator's wish to stop. A signal that was ignored when the
// program was started (nohup, a shell's background job) stays ignored.
#pragma once

#include <array>
#include <vector>

namespace gigafetch::supervisor {

// Those of the three that are not ignored at present.
std::vector<int> stop_signals();

// From now on a stop signal ends the process at once with ExitStatus::interrupted; for work without
// workers, which has nothing to settle. supervise() judges the signals itself while it runs.
void exit_on_stop_signals();

// While it lives, stop signals are ignored: for the last steps of a run that is complete.
class StopSignalsIgnored {
 public:
  StopSignalsIgnored();
  ~StopSignalsIgnored();
  StopSignalsIgnored(const StopSignalsIgnored&) = delete;
  StopSignalsIgnored& operator=(const StopSignalsIgnored&) = delete;

 private:
  using Handler = void (*)(int);
  std::array<Handler, 3> before_;
};

}  // namespace gigafetch::supervisor
