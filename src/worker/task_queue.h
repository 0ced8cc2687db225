// TaskQueue: the names a worker has to fetch and has not sent. Pure; the caller brings the time.
//
// First come names to be replayed, where they may go; then names given back by a connection that
// ended, then those whose wait after a failure is
// over, then new ones in the order of their batches.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "worker/batch.h"

namespace gigafetch::worker {

class TaskQueue {
 public:
  // All names of `batch`, which must live until each of them is settled.
  void add(Batch& batch);
  // A name that was taken and must be sent again: now, or not before `due`.
  void put_back(const Task& task) {
    (task.alone ? alone_ : task.replayed ? replays_ : again_).push_back(task);
  }
  void put_back_at(const Task& task, TimePoint due);

  // The next name to send; nullopt when none is ready at `now`. Replays go out on fresh connections
  // only: the end of one more reused connection would say nothing about the name. There always is
  // one to come, in the place of the connection that ended.
  std::optional<Task> take(TimePoint now, bool fresh_connection);
  bool available(TimePoint now, bool fresh_connection) const;

  // Names that are to be fetched alone, each on a fresh connection of its own.
  size_t alone() const { return alone_.size(); }
  // Only when there are some.
  Task take_alone() {
    const Task task = alone_.back();
    alone_.pop_back();
    return task;
  }

  // Names that take() would give at `now`, counted up to `limit`.
  size_t ready(TimePoint now, size_t limit) const;
  // When the first waiting name becomes ready.
  std::optional<TimePoint> next_due() const;

  // Drops every name that has not been taken: they stay unsettled in their batches.
  void clear();

 private:
  struct Fresh {
    Batch* batch;
    uint32_t next;
  };
  struct Waiting {
    TimePoint due;
    Task task;
    bool operator>(const Waiting& other) const { return due > other.due; }
  };

  size_t due(TimePoint now, size_t root, size_t limit) const;

  std::vector<Task> alone_;
  std::vector<Task> replays_;
  std::vector<Task> again_;
  std::vector<Waiting> waiting_;  // a heap, the first that is due in front
  std::deque<Fresh> fresh_;
};

}  // namespace gigafetch::worker
