// Fetcher: a worker's pool of connections, and the rules by which names go through them. Worker,
// loop thread only.
//
// Connections are opened when there is work for them and stay open. While the origin accepts no
// connection, one of them keeps trying with growing waits, and no file is charged for it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "base/rate_limit.h"
#include "listing/dialect.h"
#include "net/address.h"
#include "net/timer.h"
#include "worker/fetch_connection.h"
#include "worker/pipelining.h"
#include "worker/settings.h"
#include "worker/task_queue.h"

namespace gigafetch::worker {

class Fetcher final : private FetchConnection::Owner {
 public:
  class Client {
   public:
    virtual ~Client() = default;
    virtual void on_stored(const Task& task, uint64_t bytes) = 0;
    virtual void on_failed(const Task& task, FileFailure failure) = 0;
    // Nothing can be stored any more; no further call follows.
    virtual void on_store_broken(std::string_view text) = 0;
    // After drain(): nothing is in flight any more.
    virtual void on_drained() = 0;
  };

  // Everything given must outlive the fetcher. `worker_index` spreads the workers over the origin's
  // addresses.
  Fetcher(net::Loop& loop, const Settings& settings, const listing::Dialect& dialect,
          store::Sink& sink, Client& client, size_t worker_index);

  // Starts on the names of `batch`, which must live until each is settled, or until abandon().
  void add(Batch& batch);
  // Sends nothing new; calls on_drained when what is in flight has settled. Names not sent stay
  // unsettled.
  void drain();
  // Ends every connection. What was in flight stays unsettled; half-stored files are removed.
  void abandon();

  const wire::WorkerCounters& counters() const { return counters_; }
  // Why no connection can be made at present; empty when all is well.
  const std::string& trouble() const { return trouble_; }

 private:
  void fill(FetchConnection& connection) override;
  void on_connect_failed(FetchConnection& connection, int uv_error) override;
  void on_connected(FetchConnection& connection) override;
  void on_disconnected(FetchConnection& connection) override;
  void on_received(size_t bytes) override { counters_.received += bytes; }
  void on_response() override;
  void on_doubt() override { depth_.on_doubt(); }
  void on_announced_close(uint64_t responses) override {
    request_limit_.on_announced_close(responses);
  }
  void stored(const Task& task, uint64_t bytes) override;
  void failed(const Task& task, FileFailure failure) override;
  void failed_attempt(Task task, FileFailure failure, Millis at_least) override;
  void give_back(const Task& task) override { queue_.put_back(task); }
  void put_off(const Task& task, std::string_view why) override;
  void store_broken(std::string_view text) override;

  void resolve();
  void pump();
  void open_connections();
  void connect(FetchConnection& connection);
  void hold_connecting(std::string trouble, Millis wait);
  void send_task(FetchConnection& connection, const Task& task);
  void arm_wake_timer();
  void sweep(TimePoint since);
  void check_drained();
  size_t in_flight() const;

  // running: sends what there is. draining: sends nothing new. stopped: does nothing.
  enum class State : uint8_t { running, draining, stopped };

  net::Loop& loop_;
  const Settings& settings_;
  const listing::Dialect& dialect_;
  store::Sink& sink_;
  Client& client_;
  size_t worker_index_;
  http::RequestWriter request_writer_;
  Random random_;
  Backoff retry_backoff_;
  Backoff away_backoff_;

  State state_ = State::running;
  TaskQueue queue_;
  Depth depth_;
  RequestLimit request_limit_;
  RateLimit rate_limit_;
  wire::WorkerCounters counters_;
  std::string trouble_;
  uint64_t put_offs_ = 0;
  uint32_t away_failures_ = 0;  // in a row, while no address accepts connections

  net::Resolver resolver_;
  net::AddressRing addresses_;
  std::vector<std::unique_ptr<FetchConnection>> connections_;
  net::Timer hold_timer_;  // while active, no connection is opened
  net::Timer wake_timer_;  // a waiting name, or the rate, lets something be sent
  TimePoint wake_at_;
  net::StallSweep sweep_;
};

}  // namespace gigafetch::worker
