#include "cli/children.h"

#include <poll.h>

namespace gigafetch::cli {
namespace {

constexpr int kWatchPeriodMs = 100;
constexpr Millis kPatience{2000};

}  // namespace

Result<void> run_children(const std::vector<Child>& children, const std::function<void()>& on_watch,
                          supervisor::Accounts& accounts) {
  std::vector<pid_t> pids;
  Result<void> result;
  for (const Child& child : children) {
    Result<pid_t> pid = supervisor::fork_child(child.name, child.body);
    if (!pid) result = std::move(pid).failure();
    if (!result) break;
    pids.push_back(*pid);
  }
  while (!pids.empty() && result) {
    ::poll(nullptr, 0, kWatchPeriodMs);
    on_watch();
    std::erase_if(pids, [&](pid_t pid) {
      supervisor::Death death;
      if (!supervisor::reap_child(pid, death, accounts)) return false;
      if (death.wait_status != 0) {
        result = error(ErrorCode::io, "a process that was to help died: {}", death.text());
      }
      return true;
    });
  }
  supervisor::kill_and_reap(pids, kPatience, accounts);
  return result;
}

}  // namespace gigafetch::cli
