#include "worker/task_queue.h"

#include <doctest/doctest.h>

#include "worker/batch_of.h"

using namespace gigafetch;
using namespace gigafetch::worker;
using namespace gigafetch::testing;

namespace {

constexpr TimePoint at(int64_t ms) {
  return TimePoint(Millis(ms));
}

std::string take_name(TaskQueue& queue, TimePoint now) {
  const std::optional<Task> task = queue.take(now, false);
  return task ? std::string(task->name()) : "nothing";
}

}  // namespace

TEST_CASE("an empty queue gives nothing, and nothing will become ready") {
  TaskQueue queue;
  CHECK_FALSE(queue.take(at(0), false).has_value());
  CHECK(queue.ready(at(0), 100) == 0);
  CHECK_FALSE(queue.next_due().has_value());
}

TEST_CASE("new names come in the order of their batches, each once, untried") {
  const auto first = batch_of({"a", "b"}), second = batch_of({"c"});
  TaskQueue queue;
  queue.add(*first);
  queue.add(*second);
  CHECK(queue.ready(at(0), 100) == 3);
  const std::optional<Task> task = queue.take(at(0), false);
  REQUIRE(task.has_value());
  CHECK(task->name() == "a");
  CHECK(task->batch == first.get());
  CHECK(task->index == 0);
  CHECK(task->attempts == 0);
  CHECK_FALSE(task->unanswered);
  CHECK_FALSE(task->replayed);
  CHECK_FALSE(task->moved);
  CHECK(take_name(queue, at(0)) == "b");
  CHECK(take_name(queue, at(0)) == "c");
  CHECK(take_name(queue, at(0)) == "nothing");
}

TEST_CASE("names given back come first, then those whose wait is over, then new ones") {
  const auto batch = batch_of({"given back", "waiting", "new"});
  TaskQueue queue;
  queue.add(*batch);
  const Task back = *queue.take(at(0), false);
  const Task waiting = *queue.take(at(0), false);
  queue.put_back_at(waiting, at(10));
  queue.put_back(back);
  CHECK(take_name(queue, at(10)) == "given back");
  CHECK(take_name(queue, at(10)) == "waiting");
  CHECK(take_name(queue, at(10)) == "new");
}

TEST_CASE("a waiting name is not given before its time, and keeps what it has been through") {
  const auto batch = batch_of({"a"});
  TaskQueue queue;
  queue.add(*batch);
  Task task = *queue.take(at(0), false);
  task.attempts = 3;
  task.replayed = true;
  queue.put_back_at(task, at(100));
  CHECK(queue.next_due() == at(100));
  CHECK(queue.ready(at(99), 10) == 0);
  CHECK_FALSE(queue.take(at(99), false).has_value());
  CHECK(queue.ready(at(100), 10) == 1);
  const std::optional<Task> again = queue.take(at(100), false);
  REQUIRE(again.has_value());
  CHECK(again->attempts == 3);
  CHECK(again->replayed);
  CHECK_FALSE(queue.next_due().has_value());
}

TEST_CASE("waiting names become ready in the order of their times") {
  const auto batch = batch_of({"a", "b", "c"});
  TaskQueue queue;
  queue.add(*batch);
  const Task a = *queue.take(at(0), false), b = *queue.take(at(0), false),
             c = *queue.take(at(0), false);
  queue.put_back_at(a, at(30));
  queue.put_back_at(b, at(10));
  queue.put_back_at(c, at(20));
  CHECK(queue.next_due() == at(10));
  CHECK(take_name(queue, at(15)) == "b");
  CHECK(take_name(queue, at(15)) == "nothing");
  CHECK(queue.next_due() == at(20));
  CHECK(take_name(queue, at(100)) == "c");
  CHECK(take_name(queue, at(100)) == "a");
}

TEST_CASE("ready counts new names and those given back, up to its limit") {
  const auto batch = batch_of(numbered(10));
  TaskQueue queue;
  queue.add(*batch);
  CHECK(queue.ready(at(0), 100) == 10);
  CHECK(queue.ready(at(0), 4) == 4);
  CHECK(queue.ready(at(0), 0) == 0);
  const Task task = *queue.take(at(0), false);
  CHECK(queue.ready(at(0), 100) == 9);
  queue.put_back(task);
  CHECK(queue.ready(at(0), 100) == 10);
}

TEST_CASE("a name to be replayed goes out on a fresh connection, and there first") {
  const auto batch = batch_of(numbered(2));
  TaskQueue queue;
  queue.add(*batch);
  Task replayed = *queue.take(at(0), false);
  replayed.replayed = true;
  queue.put_back(replayed);
  CHECK(queue.ready(at(0), 100) == 2);
  CHECK(queue.take(at(0), false)->index == 1);
  CHECK_FALSE(queue.available(at(0), false));
  CHECK_FALSE(queue.take(at(0), false).has_value());
  CHECK(queue.available(at(0), true));
  CHECK(queue.take(at(0), true)->index == 0);
  CHECK_FALSE(queue.available(at(0), true));
}

TEST_CASE("ready counts every waiting name whose time has come") {
  const auto batch = batch_of(numbered(5));
  TaskQueue queue;
  queue.add(*batch);
  for (int i = 0; i < 5; ++i) {
    queue.put_back_at(*queue.take(at(0), false), at(10 * i));
  }
  CHECK(queue.ready(at(0), 100) == 1);
  CHECK(queue.ready(at(20), 100) == 3);
  CHECK(queue.ready(at(100), 100) == 5);
  CHECK(queue.ready(at(100), 2) == 2);
}

TEST_CASE("a batch is begun when each of its names has been taken once, also when some came back") {
  const auto first = batch_of(numbered(2)), second = batch_of(numbered(1));
  TaskQueue queue;
  queue.add(*first);
  queue.add(*second);
  const Task task = *queue.take(at(0), false);
  CHECK_FALSE(first->all_begun());
  queue.put_back(task);
  CHECK(queue.take(at(0), false)->index == 0);
  CHECK_FALSE(first->all_begun());
  CHECK(queue.take(at(0), false)->index == 1);
  CHECK(first->all_begun());
  CHECK_FALSE(second->all_begun());
  queue.put_back(task);
  CHECK(first->all_begun());
  CHECK(queue.take(at(0), false)->batch == first.get());
  CHECK(queue.take(at(0), false)->batch == second.get());
  CHECK(second->all_begun());
}

TEST_CASE("a batch that is dropped before its end is not begun") {
  const auto batch = batch_of(numbered(2));
  TaskQueue queue;
  queue.add(*batch);
  (void)queue.take(at(0), false);
  queue.clear();
  CHECK_FALSE(batch->all_begun());
}

TEST_CASE("a name given back keeps what it has been through") {
  const auto batch = batch_of({"a"});
  TaskQueue queue;
  queue.add(*batch);
  Task task = *queue.take(at(0), false);
  task.moved = true;
  task.unanswered = true;
  queue.put_back(task);
  const std::optional<Task> again = queue.take(at(0), false);
  REQUIRE(again.has_value());
  CHECK(again->moved);
  CHECK(again->unanswered);
}

TEST_CASE("clear drops what was not taken, and what was given back or waits") {
  const auto batch = batch_of(numbered(5));
  TaskQueue queue;
  queue.add(*batch);
  queue.put_back(*queue.take(at(0), false));
  const Task a = *queue.take(at(0), false), b = *queue.take(at(0), false);
  queue.put_back(a);
  queue.put_back_at(b, at(0));
  queue.clear();
  CHECK(queue.ready(at(1000), 100) == 0);
  CHECK_FALSE(queue.take(at(1000), false).has_value());
  CHECK_FALSE(queue.next_due().has_value());
}
