// DemoFolder: where a demo's files go, and that they go away again, whenever it is stopped.
//
// The demo proper runs in a child (run_in). This process waits for it and for SIGINT, SIGTERM and
// SIGHUP, which the child ignores: whatever the demo is doing, a signal kills it with all that it
// has started, and the folder is removed when the last of them is gone. Nothing of a demo is worth
// settling first.
#pragma once

#include <signal.h>

#include <functional>
#include <string>

#include "base/exit_status.h"
#include "base/result.h"

namespace gigafetch::cli {

class DemoFolder {
 public:
  // Takes the stop signals from here on, for the rest of the process. A folder that is `given` is
  // the operator's, and stays; else a temporary one is made. Says which. The process must be
  // single-threaded.
  static Result<DemoFolder> make(const std::string& given);

  const std::string& path() const { return path_; }

  // Runs `demo` in a child, to its end or to a stop signal, and then removes the folder if it is a
  // temporary one. Returns what `demo` returns; interrupted after a signal, also when it came
  // during the removal; fatal when the child died.
  ExitStatus run_in(const std::function<ExitStatus()>& demo);

 private:
  DemoFolder(std::string path, bool temporary, const sigset_t& signals)
      : path_(std::move(path)), temporary_(temporary), signals_(signals) {}

  ExitStatus wait_for(pid_t child);
  // Waits until all descendants are gone, but not for ever: one may hang in a disk.
  void wait_for_stragglers();
  // A stop signal during it is answered with how far it is, a second one with its end: `status` is
  // interrupted then.
  void remove(ExitStatus& status);

  std::string path_;
  bool temporary_;
  sigset_t signals_;  // to stop by, and SIGCHLD: blocked
};

}  // namespace gigafetch::cli
