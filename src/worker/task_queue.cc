#include "worker/task_queue.h"

#include <algorithm>

namespace gigafetch::worker {

void TaskQueue::add(Batch& batch) {
  fresh_.push_back({&batch, 0});
}

std::optional<Task> TaskQueue::take(TimePoint now) {
  if (!again_.empty()) {
    const Task task = again_.back();
    again_.pop_back();
    return task;
  }
  if (!waiting_.empty() && waiting_.top().due <= now) {
    const Task task = waiting_.top().task;
    waiting_.pop();
    return task;
  }
  if (fresh_.empty()) return std::nullopt;
  Fresh& fresh = fresh_.front();
  const Task task{fresh.batch, fresh.next++};
  if (fresh.next == fresh.batch->count()) fresh_.pop_front();
  return task;
}

size_t TaskQueue::ready(TimePoint now, size_t limit) const {
  size_t count = again_.size();
  for (const Fresh& fresh : fresh_) {
    if (count >= limit) return limit;
    count += fresh.batch->count() - fresh.next;
  }
  if (count < limit && !waiting_.empty() && waiting_.top().due <= now) ++count;
  return std::min(count, limit);
}

std::optional<TimePoint> TaskQueue::next_due() const {
  if (waiting_.empty()) return std::nullopt;
  return waiting_.top().due;
}

void TaskQueue::clear() {
  again_.clear();
  fresh_.clear();
  waiting_ = {};
}

}  // namespace gigafetch::worker
