// Outbox: the batches that a worker holds, from the first answer to the last outcome. Worker, loop
// thread only.
//
// It sees to it that only what is proven is told, and, where the sink gathers, that it is committed
// before. A batch whose names are all answered gives its credit back at once, with an outcome that
// may say nothing yet: the proof takes its time, and the worker needs names meanwhile.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "store/sink.h"
#include "wire/messages.h"
#include "worker/batch.h"
#include "worker/probation.h"

namespace gigafetch::worker {

class Outbox {
 public:
  class Client {
   public:
    virtual ~Client() = default;
    virtual void send_outcome(wire::Outcome outcome) = 0;
    // Nothing can be stored any more: as far as something was, its outcome has been sent. The
    // batches stay, for requests in flight still name them.
    virtual void on_broken(std::string_view text) = 0;
  };

  // Both must outlive it.
  Outbox(store::Sink& sink, Client& client) : sink_(sink), client_(client) {}

  // Takes a batch. It is gone when its last outcome has been sent.
  Batch& add(const wire::BatchView& view);

  // What the fetcher tells (worker/fetcher.h).
  Part* on_answered(const Task& task, bool stored);
  void on_stored(std::span<const FileRun> files);
  void on_failed(const Task& task, FileFailure failure);
  void on_released(const Task& task);
  void on_taken_back(std::span<const Answer> answers);

  // To be called every kLookPeriod. A batch whose names have all been sent and that is still open
  // a while later tells what it has: its last names are slow, and its credit should be free for
  // others. `draining`: every batch does.
  // `patience` is how long an answer may take to be proven when all is well.
  void tell_parts(bool draining, Millis patience);
  static constexpr Millis kLookPeriod{100};
  // Sends the last outcome of a batch, with what is not settled released.
  void report(Batch& batch);
  // The same for all: nothing is in flight or on probation any more.
  void report_all();
  // Nothing can be stored any more.
  void end_broken(std::string_view text);
  bool is_broken() const { return broken_; }

 private:
  struct Held {
    Held(const wire::BatchView& view, bool gathers) : batch(view, gathers) {}
    Batch batch;
    bool has_credit = true;     // no outcome has given it back
    bool begun_before = false;  // all of its names were sent when last looked at
    bool told = false;          // some outcome was sent
    bool awaits_proof = false;  // all of its names are answered, and it has no credit any more
  };

  Held& held(const Batch& batch);
  void on_all_answered(Held& held);
  bool is_straggler(const Held& held) const {
    return !held.has_credit && held.batch.open_count() > 0;
  }
  // What is gathered of the batch. Afterwards the batch may be gone.
  void commit(Held& held);
  Part* commit_streamed(Batch& batch, uint32_t index);
  void tell_tellable();
  void tell(Held& held);
  void send(Held& held, wire::Outcome outcome);
  void erase(Held& held);
  void count_waiting(Held& held, bool waits);

  store::Sink& sink_;
  Client& client_;
  bool broken_ = false;
  std::vector<std::unique_ptr<Held>> batches_;
  size_t awaiting_ = 0;                                // batches that await proof
  size_t awaiting_bytes_ = 0;                          // of their names
  std::unordered_map<store::Receipt, Held*> commits_;  // not told yet
};

}  // namespace gigafetch::worker
