// Fetcher: a worker's pool of connections, and the rules by which names go through them. Worker,
// loop thread only.
//
// Connections are opened when there is work for them and stay open. While the origin is away one of
// them keeps trying (worker/absence.h), and no file is charged for it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/backoff.h"
#include "base/rate_limit.h"
#include "listing/dialect.h"
#include "net/address.h"
#include "net/after_poll.h"
#include "net/timer.h"
#include "worker/absence.h"
#include "worker/answer_times.h"
#include "worker/fetch_connection.h"
#include "worker/pipelining.h"
#include "worker/redirects.h"
#include "worker/settings.h"
#include "worker/task_queue.h"

namespace gigafetch::worker {

class Fetcher final : private FetchConnection::Owner {
 public:
  class Client {
   public:
    virtual ~Client() = default;
    // Its answer is on probation: a file that the sink has taken, or (not `stored`) a failure. What
    // follows of on_stored, on_failed and on_taken_back says whether it counts.
    // Gives the part of the batch that the file is in; null when it is in none.
    virtual Part* on_answered(const Task& task, bool stored) = 0;
    // It is proven that the files are the ones that were asked for.
    virtual void on_stored(std::span<const FileRun> files) = 0;
    virtual void on_failed(const Task& task, FileFailure failure) = 0;
    // What the sink has of these files may not be theirs. They are fetched again (or fail).
    virtual void on_taken_back(std::span<const Answer> answers) = 0;
    virtual void on_misframed(Misframing kind) = 0;
    // The origin keeps this worker waiting for it: another one should try.
    virtual void on_released(const Task& task) = 0;
    // The origin has asked for less; see take_retry_after().
    virtual void on_pushback() = 0;
    // Nothing can be stored any more; no further call follows.
    virtual void on_store_broken(std::string_view text) = 0;
    // After drain(): nothing is in flight any more. (Not on_drained, which is what a stream tells
    // who is also its handler: one override would serve both.)
    virtual void on_fetcher_drained() = 0;
  };

  // Everything given must outlive the fetcher. `worker_index` spreads the workers over the origin's
  // addresses.
  Fetcher(net::Loop& loop, const Settings& settings, const listing::Dialect& dialect,
          store::Sink& sink, Client& client, size_t worker_index);

  // Starts on the names of `batch`, which must live until each is settled, or until abandon().
  void add(Batch& batch);
  // Sends nothing new; calls on_fetcher_drained when what is in flight has settled. Names not sent
  // stay unsettled.
  void drain();
  // Sends nothing more and calls nobody; what is in flight is read and dropped.
  void halt() { state_ = State::stopped; }
  // Ends every connection. What was in flight stays unsettled; half-stored files are removed.
  void abandon();

  // This worker's share of what the origin bears, from now on.
  void set_pace(const wire::Pace& pace);
  // What has been found of how much may be pipelined, and what another worker has, before the first
  // batch.
  wire::Pipelining pipelining() const;
  void learn(const wire::Pipelining& found);
  // The longest Retry-After since the last call; 0 when there was none.
  Millis take_retry_after() { return std::exchange(retry_after_, Millis(0)); }

  // How long it takes an answer to be proven when all is well.
  Millis proof_patience() const { return probation_terms().patience; }

  const wire::WorkerCounters& counters() const { return counters_; }
  // Why nothing can be asked of the origin at present; empty when all is well.
  const std::string& trouble() const { return absence_.trouble(); }

 private:
  void fill(FetchConnection& connection) override;
  void fill_again(FetchConnection& connection) override;
  void on_connect_failed(FetchConnection& connection, int uv_error) override;
  void on_connected(FetchConnection& connection) override;
  void on_disconnected(FetchConnection& connection) override;
  void on_received(size_t bytes) override { counters_.received += bytes; }
  void on_response(int status, Millis waited) override;
  void on_pipeline_answered(uint32_t requests) override { depth_.on_answered(requests); }
  void on_doubt(uint32_t pipelined) override { depth_.on_doubt(pipelined); }
  void on_announced_close(uint64_t responses, uint32_t cut) override;
  bool on_silent_close(uint64_t responses) override { return request_limit_.on_close(responses); }
  Part* answered(const Task& task, uint64_t bytes, const store::Hash128& content) override;
  void answered_without_file(const Answer& answer) override;
  void proven(Answers& answers) override;
  void taken_back(Answers answers, Doubt doubt) override;
  void doubted_again(Answer answer, std::string_view why) override;
  void on_misframed(Misframing kind) override;
  ProbationTerms probation_terms() const override;
  void failed_attempt(Task task, FileFailure failure, Millis at_least) override;
  void unanswered(Task task, FileFailure failure) override;
  void gave_up_waiting(Task task) override;
  void give_back(const Task& task) override;
  bool follow(Task& task, std::string_view location) override;
  void put_off(const Task& task, std::string_view why) override;
  void store_broken(std::string_view text) override;

  void resolve();
  void fill_answered();
  void pump();
  void open_connections();
  void connect(FetchConnection& connection);
  void hold_connecting(Millis wait);
  void send_more(FetchConnection& connection);
  bool send_task(FetchConnection& connection, const Task& task);
  void append_request(FetchConnection& connection, const Task& task);
  void append_target(std::string& out, const Task& task) const;
  void send_alone(FetchConnection& connection);
  void prove(Answer answer);
  void take_back(std::span<const Answer> answers);
  void arm_wake_timer();
  void fail(const Task& task, FileFailure failure);
  uint32_t tries_allowed() const;
  size_t room() const;
  bool is_paused() const { return paused_until_ > loop_.now(); }
  void sweep(TimePoint since);
  void sweep_tail(TimePoint since);
  bool may_give_up_early(const Task& task) const;
  void check_drained();
  void cut_drain_short();

  // running: sends what there is. draining: sends nothing new. stopped: does nothing.
  enum class State : uint8_t { running, draining, stopped };

  net::Loop& loop_;
  const Settings& settings_;
  const listing::Dialect& dialect_;
  store::Sink& sink_;
  Client& client_;
  size_t worker_index_;
  http::RequestWriter request_writer_;
  Redirects redirects_;
  Random random_;
  Backoff retry_backoff_;
  Absence absence_;

  State state_ = State::running;
  TaskQueue queue_;
  Depth depth_;
  RequestLimit request_limit_;
  RateLimit rate_limit_;
  wire::WorkerCounters counters_;
  uint64_t put_offs_ = 0;
  size_t in_flight_ = 0;  // on all connections
  size_t on_probation_ = 0;
  size_t open_tasks_ = 0;  // names of batches that are not settled
  size_t max_in_flight_;   // the coordinator's word
  TimePoint paused_until_;
  Millis retry_after_{0};
  double recovery_ = 0;  // of the recent names that had failed, those that arrived in the end
  AnswerTimes answer_times_;
  uint64_t unanswered_at_ = 0;  // responses when a connection last ended without any

  net::Resolver resolver_;
  net::AddressRing addresses_;
  std::vector<std::unique_ptr<FetchConnection>> connections_;
  std::vector<FetchConnection*> answered_;  // to be filled behind the poll
  net::AfterPoll after_poll_;
  net::Timer drain_timer_;
  net::Timer hold_timer_;  // while active, no connection is opened
  net::Timer wake_timer_;  // a waiting name, or the rate, lets something be sent
  TimePoint wake_at_;
  net::StallSweep sweep_;
};

}  // namespace gigafetch::worker
