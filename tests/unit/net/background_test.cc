#include "net/background.h"

#include <doctest/doctest.h>
#include <malloc.h>

#include <array>
#include <atomic>
#include <memory>
#include <semaphore>
#include <thread>

#include "base/temp_folder.h"
#include "net/drive.h"

using namespace gigafetch;
using namespace gigafetch::net;
using namespace gigafetch::testing;

TEST_CASE("work runs on another thread, and its end is told on the loop's, once") {
  Loop loop;
  Background background(loop);
  const std::thread::id ours = std::this_thread::get_id();
  std::thread::id worked_on, told_on;
  int told = 0;
  CHECK_FALSE(background.busy());
  background.run([&] { worked_on = std::this_thread::get_id(); },
                 [&] {
                   told_on = std::this_thread::get_id();
                   ++told;
                 });
  CHECK(background.busy());
  CHECK_MESSAGE(told == 0, "not from within run()");
  loop.run();  // returns when nothing is left to wait for
  CHECK(told == 1);
  CHECK(told_on == ours);
  CHECK(worked_on != std::thread::id());
  CHECK(worked_on != ours);
  CHECK_FALSE(background.busy());
}

TEST_CASE("what the work has written is there when its end is told") {
  Loop loop;
  Background background(loop);
  std::string result;
  bool told = false;
  background.run([&] { result = "written on the other thread"; },
                 [&] {
                   told = true;
                   CHECK(result == "written on the other thread");
                 });
  REQUIRE(run_until(loop, [&] { return told; }));
}

TEST_CASE("the loop goes on while work is under way") {
  Loop loop;
  Background background(loop);
  std::binary_semaphore go_on{0};
  bool told = false;
  background.run([&] { go_on.acquire(); }, [&] { told = true; });
  int fired = 0;
  Timer timer(loop, [&] { ++fired; });
  timer.start(Millis(1), Millis(1));
  REQUIRE(run_until(loop, [&] { return fired >= 3; }));
  CHECK_FALSE(told);
  CHECK(background.busy());
  go_on.release();
  REQUIRE(run_until(loop, [&] { return told; }));
}

TEST_CASE("when the end is told it is not busy any more, and can run the next") {
  Loop loop;
  Background background(loop);
  int runs = 0;
  std::function<void()> again = [&] {
    CHECK_FALSE(background.busy());
    if (++runs < 5) background.run([] {}, again);
  };
  background.run([] {}, again);
  loop.run();
  CHECK(runs == 5);
}

TEST_CASE("it may be destroyed where its end is told") {
  Loop loop;
  auto background = std::make_unique<Background>(loop);
  bool told = false;
  background->run([] {},
                  [&] {
                    background.reset();
                    told = true;
                  });
  loop.run();
  CHECK(told);
}

TEST_CASE("work whose background is gone goes on to its end, which is told to nobody") {
  Loop loop;
  std::binary_semaphore begun{0}, go_on{0};
  std::atomic<bool> ended = false;
  bool told = false;
  auto background = std::make_unique<Background>(loop);
  background->run(
      [&] {
        begun.release();
        go_on.acquire();
        ended = true;
      },
      [&] { told = true; });
  begun.acquire();
  background.reset();
  go_on.release();
  loop.run();
  CHECK(ended);
  CHECK_FALSE(told);
}

TEST_CASE("work may outlive the loop that it was begun on") {
  // In a process of its own: such a loop is never freed.
  const int status = in_child([] {
    ::mallopt(M_PERTURB, 0xA5);  // memory that is freed is overwritten, and so not used unnoticed
    std::binary_semaphore begun{0}, go_on{0};
    {
      Loop loop;
      Background background(loop);
      background.run(
          [&] {
            begun.release();
            go_on.acquire();
          },
          [] { ::_exit(2); });
      begun.acquire();
    }
    go_on.release();
    // When as many works run at once as libuv has threads, the one before has ended.
    constexpr size_t kThreads = 4;
    Loop loop;
    std::array<std::unique_ptr<Background>, kThreads> all;
    std::atomic<size_t> here = 0;
    for (auto& one : all) {
      one = std::make_unique<Background>(loop);
      one->run(
          [&] {
            ++here;
            while (here < kThreads)
              std::this_thread::yield();
          },
          [] {});
    }
    loop.run();
    return 0;
  });
  CHECK(status == 0);
}
