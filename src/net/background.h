// Background: runs one blocking function at a time off the loop (libuv's thread pool), and tells
// the loop when it is done. Loop thread only.
#pragma once

#include <functional>

#include "net/loop.h"
#include "net/thread_pool.h"

namespace gigafetch::net {

class Background {
 public:
  explicit Background(Loop& loop) : loop_(loop) {}
  // What is running goes on, and its end is told to nobody.
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // Before the first run(). Fails when the system makes no threads.
  Result<void> prepare() { return start_thread_pool(loop_); }
  // Runs `work` on another thread, which must touch nothing that the loop uses meanwhile, then
  // `on_done` on the loop's. Not while busy.
  void run(std::function<void()> work, std::function<void()> on_done);
  bool busy() const { return task_ != nullptr; }

 private:
  struct Task;
  Loop& loop_;
  Task* task_ = nullptr;  // freed when it is done
};

}  // namespace gigafetch::net
