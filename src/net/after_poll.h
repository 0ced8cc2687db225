// AfterPoll: calls a function once, behind the callbacks of all that the poll has found ready. Loop
// thread only.
//
// For what is cheaper to do for many streams together than for each as its turn comes.
#pragma once

#include <functional>

#include "net/loop.h"

namespace gigafetch::net {

class AfterPoll {
 public:
  AfterPoll(Loop& loop, std::function<void()> call);
  ~AfterPoll();
  AfterPoll(const AfterPoll&) = delete;
  AfterPoll& operator=(const AfterPoll&) = delete;

  // Asks for the call; asked for several times, it comes once. Asked for outside of a stream's
  // callback, it comes behind the next poll, which then does not wait.
  void request();

 private:
  void run();

  std::function<void()> call_;
  bool requested_ = false;
  uv_idle_t* idle_;    // keeps the poll from waiting
  uv_check_t* check_;  // runs behind the poll
};

}  // namespace gigafetch::net
