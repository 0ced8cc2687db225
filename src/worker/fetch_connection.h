// FetchConnection: one of a worker's connections, fetching files into the sink. Worker, loop thread
// only.
//
// The oldest request in flight is the one being answered. What its answer comes to is decided with
// its head, and carried out while its body passes:
//
//     waiting --head--> storing ----body ends----> stored, on probation
//                   \-> discarding --body ends---> failed, on probation, or again later
//
// What an answer came to counts when it is proven (worker/probation.h): at a quiet point, which
// each connection comes to now and then, or at an orderly end. What else may befall it:
//
//     bytes that begin no answer   the last answer is suspected, all others are unproven
//     an answer not asked for      all are suspected
//     the end, while requests that were sent ahead are outstanding: all are unproven
//
// A connection that ends gives back what it had in flight. At most the oldest request is charged
// with an attempt for it: the ones behind it were never begun.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/ring.h"
#include "http/content_coding.h"
#include "net/http_connection.h"
#include "net/timer.h"
#include "store/content_hash.h"
#include "store/sink.h"
#include "worker/batch.h"
#include "worker/body_rules.h"
#include "worker/probation.h"

namespace gigafetch::worker {

class FetchConnection final : private net::HttpConnection::Handler {
 public:
  static constexpr int kFollowed = 0;

  // What the connections ask of, and tell, the fetcher that owns them. None of these may destroy
  // the connection.
  class Owner {
   public:
    virtual ~Owner() = default;
    // Sends what there is to send on `connection`, which is open.
    virtual void fill(FetchConnection& connection) = 0;
    // Answers on `connection` have been read: time to fill it, at once or behind those of others.
    virtual void fill_again(FetchConnection& connection) = 0;
    virtual void on_connect_failed(FetchConnection& connection, int uv_error) = 0;
    virtual void on_connected(FetchConnection& connection) = 0;
    // The connection is closed; its requests have been given back or settled.
    virtual void on_disconnected(FetchConnection& connection) = 0;
    // Bytes of a body have come.
    virtual void on_received(size_t bytes) = 0;
    // One whole response has come in order, after the origin had let us wait for `waited`. `status`
    // is kFollowed when it led on to another, which is what counts.
    virtual void on_response(int status, Millis waited) = 0;
    // All of so many requests that were in flight at once have been answered in order.
    virtual void on_pipeline_answered(uint32_t requests) = 0;
    // The order of responses can no longer be trusted, or some were cut off, with up to so many
    // requests in flight at once: pipeline less.
    virtual void on_doubt(uint32_t pipelined) = 0;
    // The origin announced its close behind this many responses, with up to `cut` requests in
    // flight at once when any are left without an answer, else 0.
    virtual void on_announced_close(uint64_t responses, uint32_t cut) = 0;
    // The origin closed behind this many whole responses and said nothing of it, though requests
    // were in flight. True when that is where it usually closes: the pipeline is not to blame.
    virtual bool on_silent_close(uint64_t responses) = 0;

    // An answer has come whole; it counts when it is proven. Of a file: gives the part of the batch
    // that it is in.
    virtual Part* answered(const Task& task, uint64_t bytes, const store::Hash128& content) = 0;
    virtual void answered_without_file(const Answer& answer) = 0;
    virtual void proven(Answers& answers) = 0;
    // Answers that do not count, and were told of by answered(): to be asked for again.
    virtual void taken_back(Answers answers, Doubt doubt) = 0;
    // The same of one whose connection had nothing but its request.
    virtual void doubted_again(Answer answer, std::string_view why) = 0;
    // The answers' ends, or their order, cannot be trusted on this origin.
    virtual void on_misframed(Misframing kind) = 0;

    // A quiet point is due behind so many answers, or after so long; and shows after so long.
    virtual ProbationTerms probation_terms() const = 0;

    // An attempt was charged: again after a wait, or failed when it was the last.
    virtual void failed_attempt(Task task, FileFailure failure, Millis at_least) = 0;
    // A connection ended before it brought any answer: through the file, or the origin is away.
    virtual void unanswered(Task task, FileFailure failure) = 0;
    // It kept the connection waiting for too long for now: to another one, or another worker.
    virtual void gave_up_waiting(Task task) = 0;
    // Never begun: to be sent again, elsewhere.
    virtual void give_back(const Task& task) = 0;
    // The oldest answer leads to `location`: whether `task` will be asked for there, when it is
    // given back.
    virtual bool follow(Task& task, std::string_view location) = 0;
    // Not the file's fault, but no time for it either: to be sent again after a wait.
    virtual void put_off(const Task& task, std::string_view why) = 0;
    // Nothing can be stored any more.
    virtual void store_broken(std::string_view text) = 0;
  };

  // `loop`, `owner` and `sink` must outlive the connection.
  FetchConnection(net::Loop& loop, Owner& owner, store::Sink& sink, size_t max_in_flight,
                  const BodyRules& rules);

  // Closed to connecting to the owner's address `address_index`. When not even a try can be made,
  // stays closed and returns the error (negative, see uv_strerror).
  int connect(const net::SocketAddress& address, size_t address_index);
  const net::SocketAddress& address() const { return address_; }
  size_t address_index() const { return address_index_; }

  // Only when open. Adds a request to be sent with the next flush().
  void add(const Task& task) {
    if (in_flight_.empty()) {
      waiting_since_ = loop_.now();
      quiet_timer_.stop();
    }
    in_flight_.push(task);
    ++unsent_;
  }
  // The same on a connection that is fresh, for a name that is to be fetched with nothing behind
  // it.
  void add_alone(const Task& task) {
    alone_ = true;
    add(task);
  }

  // Whether nothing more should be sent until a quiet point has been made.
  bool is_quiet_due() const {
    const ProbationTerms terms = owner_.probation_terms();
    return probation_.is_due(loop_.now(), terms.most, terms.patience);
  }
  // Nothing is in flight, and nothing is to be sent (or must not be, as a quiet point is due): sees
  // to it that what is on probation is proven after a while.
  void rest();
  // The origin lets one request wait, the only one that has been in flight since the last quiet
  // point: a surplus would have been taken for its answer long since. Proves what is on probation.
  void prove_while_waiting(TimePoint since);
  // Nothing is in flight or on probation.
  bool is_at_rest() const { return in_flight_.empty() && probation_.empty(); }
  // Its one request is sent: nothing goes behind it.
  bool is_alone() const { return alone_; }
  // Closes an open connection that is at rest; the owner is not told.
  void retire();
  std::string& request_buffer() { return requests_; }
  void flush();

  // Ends a connection on which nothing happened for too long, in whatever state it is.
  void give_up_stalled();
  // Ends an open connection whose oldest answer may yet come, to ask elsewhere for it.
  void give_up_waiting();
  // The same of one that is open and must not hold up the end of the run.
  void cut_short();
  // Ends the connection and gives everything back, what is on probation unsaid; what was half
  // stored is removed.
  void abandon();

  bool is_closed() const { return connection_.is_closed(); }
  // Its end has been announced, and is awaited.
  bool is_ending() const { return connection_.is_ending(); }
  bool is_open() const { return connection_.is_open(); }
  size_t in_flight() const { return in_flight_.size(); }
  // Only when something is in flight.
  const Task& oldest() const { return in_flight_.front(); }
  uint64_t sent() const { return connection_.sent() + unsent_; }
  uint64_t responses() const { return connection_.responses(); }
  TimePoint last_activity() const { return connection_.last_activity(); }
  // Whether over the last `period`, or longer, bytes of answers have come more slowly than
  // `least_per_second`. To be asked now and then while something is in flight: periods are measured
  // from one call to the next.
  bool drips(TimePoint now, Millis period, uint64_t least_per_second);

 private:
  void on_open() override;
  bool on_head(const http::ResponseHead& head) override;
  bool on_body(std::string_view piece) override;
  void on_response() override;
  void on_read_end() override;
  void on_closed(const net::Closure& closure) override;

  // What the response being read comes to.
  enum class Verdict : uint8_t { waiting, storing, discarding };
  // Whether a file whose response is discarded is asked for again.
  enum class Retry : uint8_t { never, charged, uncharged, elsewhere };

  void begin_coded(std::string_view coding);
  bool decode(std::string_view piece);
  void decode_failed(http::DecodeFault fault);
  bool take_body(std::string_view piece);
  void copy_whole();
  void begin_discarding(FileFailure failure);
  bool store_failed(const store::StoreStatus& status);
  bool spill(std::string_view piece);
  store::StoreStatus append(std::string_view piece);
  void finish_stored();
  void settle_stored(const store::Hash128& content);
  void finish_refused(const store::StoreStatus& status);
  void finish_discarded();
  void reset_response();
  void tell_announced();
  void judge_closure(const net::Closure& closure);
  void charge_oldest(FailureClass cause, std::string text);
  void give_back_rest();
  void put_on_probation(Answer answer);
  void on_quiet();
  void prove_all();
  void prove(Answers answers);
  void take_all_back(Doubt doubt);
  void suspect_last();
  void judge_unproven(bool orderly);
  bool judge_misframing(const net::Closure& closure);

  net::Loop& loop_;
  Owner& owner_;
  store::Sink& sink_;
  net::HttpConnection connection_;
  const BodyRules rules_;
  net::SocketAddress address_;
  size_t address_index_ = 0;

  Ring<Task> in_flight_;    // oldest first
  std::string requests_;    // bytes not yet sent
  uint32_t unsent_ = 0;     // requests in them
  uint32_t pipelined_ = 0;  // requests in flight when last some were sent
  // The pipeline that is being measured: how many were in flight as its last request was sent, and
  // the responses on this connection with which it is answered.
  uint32_t measured_ = 0;
  uint64_t measured_end_ = 0;
  TimePoint waiting_since_;  // for the oldest in flight

  Probation probation_;
  net::Timer quiet_timer_;
  bool alone_ = false;
  bool announced_ = false;   // the owner knows of the announced end
  bool cut_ = false;         // and requests have been given back then
  TimePoint drip_since_;     // when the present measure of drips() began
  uint64_t drip_bytes_ = 0;  // received since

  Verdict verdict_ = Verdict::waiting;
  int status_ = 0;
  std::optional<uint64_t> length_;  // of the body, when the head says
  uint64_t body_bytes_ = 0;
  // The body so far, until it is stored: a view of the bytes just read when it lies in them whole,
  // a copy when it goes on, a writer when it is not small.
  std::string_view whole_;
  std::string partial_;
  std::unique_ptr<store::BodyWriter> writer_;
  std::string coding_;                           // Content-Encoding of the body, if it has one
  std::optional<http::ContentDecoder> decoder_;  // when that is undone
  std::optional<store::ContentHasher> hasher_;   // of what went to the writer
  // When discarding: what to report, and what comes after.
  FileFailure failure_;
  Retry retry_ = Retry::never;
  Millis at_least_{0};
};

}  // namespace gigafetch::worker
