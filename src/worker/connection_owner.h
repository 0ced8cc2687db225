// ConnectionOwner: what the connections of a worker ask of, and tell, the fetcher that owns them.
// Worker, loop thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/failure.h"
#include "worker/answers.h"
#include "worker/probation.h"

namespace gigafetch::worker {

class FetchConnection;

// None of these may destroy the connection.
class ConnectionOwner {
 public:
  // In place of the status of an answer that leads to another one.
  static constexpr int kFollowed = 0;

  virtual ~ConnectionOwner() = default;
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

}  // namespace gigafetch::worker
