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
//     an answer that breaks the framing, or is not taken: all before it are unproven
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
#include "worker/connection_owner.h"
#include "worker/probation.h"

namespace gigafetch::worker {

class FetchConnection final : private net::HttpConnection::Handler {
 public:
  using Owner = ConnectionOwner;

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
  void take_last_back();
  void judge_unproven(bool orderly);
  void judge_refused(bool first, bool fails);
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
