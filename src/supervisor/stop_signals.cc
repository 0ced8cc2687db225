#include "supervisor/stop_signals.h"

#include <signal.h>
#include <unistd.h>

#include "base/exit_status.h"
#include "base/standard_error.h"

namespace gigafetch::supervisor {
namespace {

constexpr std::array<int, 3> kAll = {SIGINT, SIGTERM, SIGHUP};

void exit_interrupted(int) {
  standard_error::write_now("gigafetch: stopped on request\n");
  ::_exit(static_cast<int>(ExitStatus::interrupted));
}

}  // namespace

std::vector<int> stop_signals() {
  std::vector<int> signals;
  for (const int signal : kAll) {
    struct sigaction action {};
    const bool ignored = ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
    if (!ignored) signals.push_back(signal);
  }
  return signals;
}

void exit_on_stop_signals() {
  for (const int signal : stop_signals())
    ::signal(signal, exit_interrupted);
}

StopSignalsIgnored::StopSignalsIgnored() {
  for (size_t i = 0; i < kAll.size(); ++i)
    before_[i] = ::signal(kAll[i], SIG_IGN);
}

StopSignalsIgnored::~StopSignalsIgnored() {
  for (size_t i = 0; i < kAll.size(); ++i)
    ::signal(kAll[i], before_[i]);
}

}  // namespace gigafetch::supervisor
