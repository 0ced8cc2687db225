#include "worker/task_queue.h"

#include <algorithm>

namespace gigafetch::worker {

void TaskQueue::add(Batch& batch) {
  fresh_.push_back({&batch, 0});
}

std::optional<Task> TaskQueue::take(TimePoint now, bool fresh_connection) {
  if (fresh_connection && !replays_.empty()) {
    const Task task = replays_.back();
    replays_.pop_back();
    return task;
  }
  if (!again_.empty()) {
    const Task task = again_.back();
    again_.pop_back();
    return task;
  }
  if (!waiting_.empty() && waiting_.front().due <= now) {
    std::pop_heap(waiting_.begin(), waiting_.end(), std::greater<>());
    const Task task = waiting_.back().task;
    waiting_.pop_back();
    return task;
  }
  if (fresh_.empty()) return std::nullopt;
  Fresh& fresh = fresh_.front();
  const Task task{fresh.batch, fresh.next++, fresh.batch->earlier_attempts()};
  if (fresh.next == fresh.batch->count()) {
    fresh.batch->set_all_begun();
    fresh_.pop_front();
  }
  return task;
}

bool TaskQueue::available(TimePoint now, bool fresh_connection) const {
  return (fresh_connection && !replays_.empty()) || !again_.empty() || !fresh_.empty() ||
         (!waiting_.empty() && waiting_.front().due <= now);
}

size_t TaskQueue::ready(TimePoint now, size_t limit) const {
  size_t count = replays_.size() + again_.size();
  for (const Fresh& fresh : fresh_) {
    if (count >= limit) return limit;
    count += fresh.batch->count() - fresh.next;
  }
  if (count < limit) count += due(now, 0, limit - count);
  return std::min(count, limit);
}

// No name below one that is not due is due: the heap's order spares looking at the others.
size_t TaskQueue::due(TimePoint now, size_t root, size_t limit) const {
  if (limit == 0 || root >= waiting_.size() || waiting_[root].due > now) return 0;
  size_t count = 1;
  for (const size_t child : {2 * root + 1, 2 * root + 2})
    count += due(now, child, limit - count);
  return count;
}

void TaskQueue::put_back_at(const Task& task, TimePoint due) {
  waiting_.push_back({due, task});
  std::push_heap(waiting_.begin(), waiting_.end(), std::greater<>());
}

std::optional<TimePoint> TaskQueue::next_due() const {
  if (waiting_.empty()) return std::nullopt;
  return waiting_.front().due;
}

void TaskQueue::clear() {
  alone_.clear();
  replays_.clear();
  again_.clear();
  fresh_.clear();
  waiting_.clear();
}

}  // namespace gigafetch::worker
