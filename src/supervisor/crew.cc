#include "supervisor/crew.h"

#include <signal.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/unix_socket.h"
#include "supervisor/limits.h"

namespace gigafetch::supervisor {
namespace {

constexpr char kSocketName[] = "socket";

}  // namespace

Crew::Crew(const Job& job, const Roles& roles, const UniqueFd& signals, Accounts& accounts)
    : job_(job),
      roles_(roles),
      signals_(signals),
      accounts_(accounts),
      cpus_(allowed_cpus()),
      workers_(job.workers) {
  coordinator_.name = "the coordinator";
  for (size_t i = 0; i < workers_.size(); ++i)
    workers_[i].name = fmt::format("worker {}", i);
}

Result<void> Crew::start() {
  // A message of another crew must not be taken for one of this.
  if (::getrandom(&run_id_, sizeof run_id_, 0) != sizeof run_id_) {
    return errno_error(errno, "no random numbers");
  }
  return fork_coordinator();
}

void Crew::leave_supervisor(const std::string& role) {
  control_.close();
  ::close(signals_.get());
  init_log(job_.log_level, role);
}

Result<void> Crew::fork_member(Member& member, const std::string& process,
                               const std::function<int()>& body) {
  Result<pid_t> pid = fork_child(process, body);
  if (!pid) return std::move(pid).failure();
  member.pid = *pid;
  member.forked_at = monotonic_now();
  member.killed_at.reset();
  return {};
}

Result<void> Crew::fork_coordinator() {
  // Bound before the first worker is forked, so that no start order matters. Our copy is closed
  // when this returns: held open, it would keep workers waiting whom no coordinator will accept.
  Result<UniqueFd> listener = listen_in_folder(job_.state_fd, kSocketName);
  if (!listener) return std::move(listener).failure();
  Result<UniqueFd> coordinator_end = control_.open();
  if (!coordinator_end) return std::move(coordinator_end).failure();
  return fork_member(coordinator_, "gigafetch:coord", [&] {
    leave_supervisor("coordinator");
    coordinator::Place place;
    place.run_id = run_id_;
    place.state_fd = job_.state_fd;
    place.output_fd = job_.output_fd;
    place.listen_fd = listener->release();
    place.control_fd = coordinator_end->release();
    return roles_.coordinator(place);
  });
}

Result<void> Crew::fork_worker(uint32_t index) {
  return fork_member(workers_[index], fmt::format("gigafetch:w{:02}", index), [&] {
    leave_supervisor(workers_[index].name);
    if (Result<void> pinned = pin_to_cpu(cpus_[index % cpus_.size()]); !pinned) {
      log_warning("{}", pinned.failure().text);
    }
    worker::Place place;
    place.index = index;
    place.run_id = run_id_;
    place.state_fd = job_.state_fd;
    place.output_fd = job_.output_fd;
    return roles_.worker(place);
  });
}

bool Crew::is_gone() const {
  return coordinator_.pid == 0 && std::all_of(workers_.begin(), workers_.end(),
                                              [](const Member& worker) { return worker.pid == 0; });
}

void Crew::kill(Member& member) {
  if (member.pid == 0 || member.killed_at) return;
  ::kill(member.pid, SIGKILL);
  member.killed_at = monotonic_now();
}

void Crew::kill_all() {
  kill(coordinator_);
  for (Member& worker : workers_)
    kill(worker);
}

bool Crew::reap(Member& member, Death& death) {
  if (member.pid == 0 || !reap_child(member.pid, death, accounts_)) return false;
  member.pid = 0;
  return true;
}

const Member* Crew::killed_before(TimePoint moment) const {
  const auto is_late = [moment](const Member& member) {
    return member.pid != 0 && member.killed_at && *member.killed_at < moment;
  };
  if (is_late(coordinator_)) return &coordinator_;
  const auto late = std::find_if(workers_.begin(), workers_.end(), is_late);
  return late != workers_.end() ? &*late : nullptr;
}

void Crew::disband(Millis patience) {
  std::vector<pid_t> left;
  if (coordinator_.pid != 0) left.push_back(coordinator_.pid);
  for (const Member& worker : workers_) {
    if (worker.pid != 0) left.push_back(worker.pid);
  }
  for (const pid_t pid : kill_and_reap(std::move(left), patience, accounts_)) {
    log_warning(
        "process {} was killed but does not end, it waits for the disk perhaps; until it does, "
        "nobody else can use the state folder",
        pid);
  }
  ::unlinkat(job_.state_fd, kSocketName, 0);
}

}  // namespace gigafetch::supervisor
