// Workforce: the workers as the coordinator sees them: their links, which of them are gone for
// good, who has fallen silent, what they count, and what one has found out that the next one need
// not. Loop thread only.
//
// A worker is gone when its link has ended and its process has been reaped: only then can nothing
// of it touch a file any more, and its names may be handed to others.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "coordinator/worker_link.h"
#include "net/timer.h"
#include "net/unix_listener.h"

namespace gigafetch::coordinator {

class Workforce final : private WorkerLink::Client {
 public:
  class Client {
   public:
    virtual ~Client() = default;
    // A worker is here and wants names.
    virtual void on_worker(WorkerLink& link) = 0;
    virtual void on_outcome(WorkerLink& link, const wire::Outcome& outcome) = 0;
    // All outcomes that have come by now have been told.
    virtual void on_read_end() {}
    virtual void on_pulse(const wire::Pulse& pulse) = 0;
    // What a worker counts has grown from `before` to `now`.
    virtual void on_counters(const wire::WorkerCounters& before,
                             const wire::WorkerCounters& now) = 0;
    // What all workers together have found of it has changed.
    virtual void on_pipelining(const wire::Pipelining&) {}
    virtual void on_fatal(const WorkerLink& link, const std::string& text) = 0;
    // What the operator should know; each text once.
    virtual void on_warning(const std::string&) {}
    // This worker must be ended; on_reaped follows.
    virtual void kill(const WorkerLink& link) = 0;
    // It is gone for good.
    virtual void on_gone(HolderId holder) = 0;
  };

  Workforce(net::Loop& loop, uint64_t run_id, Client& client);

  // Starts to listen on a socket that is bound.
  Result<void> open(UniqueFd listen_fd);
  // The supervisor has reaped this process.
  void on_reaped(pid_t pid);
  // Tells every worker, now and later ones too.
  void drain();
  // Tells every worker to leave. Nothing is reported after this.
  void stop();

  // Workers that are at work.
  const std::vector<WorkerLink*>& links() const { return at_work_; }
  // Over all workers of this coordinator, also those that are gone.
  uint64_t requests() const;
  uint64_t retries() const;

 private:
  bool on_hello(WorkerLink& link, const wire::Hello& hello) override;
  void on_outcome(WorkerLink& link, wire::Outcome outcome) override;
  void on_pulse(WorkerLink& link, wire::Pulse pulse) override;
  void on_pipelining(WorkerLink& link, const wire::Pipelining& found) override;
  void on_fatal(WorkerLink& link, const wire::Fatal& fatal) override;
  void on_warning(WorkerLink& link, const wire::Warning& warning) override;
  void on_read_end() override;
  void on_link_ended(WorkerLink& link, const std::string& why) override;

  void accept();
  void take_counters(HolderId holder, const wire::WorkerCounters& counters);
  void check_silence(TimePoint since);
  void gone(HolderId holder);

  net::Loop& loop_;
  uint64_t run_id_;
  Workforce::Client& client_;
  bool draining_ = false;
  bool stopped_ = false;
  HolderId next_holder_ = 1;
  net::UnixListener listener_;
  std::string spare_;  // of the links
  std::vector<std::unique_ptr<WorkerLink>> links_;
  std::vector<WorkerLink*> at_work_;  // those that have said hello and have not ended
  std::unordered_map<HolderId, wire::WorkerCounters> counters_;
  wire::Pipelining pipelining_;                   // what all of them have found
  wire::WorkerCounters of_gone_;                  // what those that are gone had counted
  std::unordered_map<pid_t, HolderId> orphaned_;  // link ended, process not yet reaped
  std::set<std::string> warned_;                  // texts, up to a number
  std::set<pid_t> reaped_;                        // process reaped, end of its link not yet seen
  net::Timer reaper_;  // destroys links that have ended, outside their callbacks
  net::StallSweep silence_;
};

}  // namespace gigafetch::coordinator
