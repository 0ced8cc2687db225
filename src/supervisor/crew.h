// Crew: one coordinator and its workers, from their forks until they are reaped.
//
// A crew is of one piece: its members find each other by a socket and a run id that no other crew
// has. The coordinator comes first, then the workers, one by one; when the coordinator is gone all
// of them are ended, and only when the last one is reaped may another crew be started: what is not
// reaped may still write.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/coordinator.h"
#include "supervisor/child.h"
#include "supervisor/control.h"
#include "supervisor/supervisor.h"
#include "worker/worker.h"

namespace gigafetch::supervisor {

struct Member {
  std::string name;  // "worker 3"
  pid_t pid = 0;     // 0 while there is no process
  TimePoint forked_at;
  std::optional<TimePoint> killed_at;  // by us
};

class Crew {
 public:
  // What is given must outlive the crew. Children close `signals`, which is the supervisor's.
  Crew(const Job& job, const Roles& roles, const UniqueFd& signals, Accounts& accounts);

  // Forks the coordinator, with a fresh socket, run id and control. Nobody of an earlier crew may
  // be left.
  Result<void> start();
  // Forks a worker that is not there.
  Result<void> fork_worker(uint32_t index);

  Member& coordinator() { return coordinator_; }
  std::vector<Member>& workers() { return workers_; }
  Control& control() { return control_; }
  bool is_gone() const;

  // Sends SIGKILL; the death is to be reaped.
  static void kill(Member& member);
  // To everybody who is left.
  void kill_all();
  // Takes the member's death if it is dead.
  bool reap(Member& member, Death& death);
  // A member that was killed before `moment` and is not dead yet, if there is one.
  const Member* killed_before(TimePoint moment) const;

  // Kills whoever is left, waits up to `patience` until they are reaped, and removes the socket.
  // Who is in an uninterruptible wait, for a disk say, is left behind with a warning; what it used
  // is not accounted for.
  void disband(Millis patience);

 private:
  Result<void> fork_coordinator();
  // In a child: closes what is the supervisor's. What stays open in a sibling would hide the
  // coordinator's end from everybody.
  void leave_supervisor(const std::string& role);
  Result<void> fork_member(Member& member, const std::string& process,
                           const std::function<int()>& body);

  const Job& job_;
  const Roles& roles_;
  const UniqueFd& signals_;
  Accounts& accounts_;
  std::vector<int> cpus_;

  uint64_t run_id_ = 0;
  Control control_;
  Member coordinator_;
  std::vector<Member> workers_;
};

}  // namespace gigafetch::supervisor
