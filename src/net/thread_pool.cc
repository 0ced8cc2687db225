#include "net/thread_pool.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/process_limit.h"

namespace gigafetch::net {
namespace {

constexpr int kDefaultThreads = 4;
constexpr int kMostThreads = 1024;

// As libuv reads it.
int pool_size() {
  const char* const given = std::getenv("UV_THREADPOOL_SIZE");
  return given != nullptr ? std::clamp(std::atoi(given), 1, kMostThreads) : kDefaultThreads;
}

// Makes as many threads as the pool has, and ends them. 0, or why there cannot be so many.
int try_threads(int count) {
  uv_sem_t gate;
  if (const int failed = uv_sem_init(&gate, 0); failed != 0) return failed;
  std::vector<uv_thread_t> threads;
  int failed = 0;
  for (int i = 0; i < count && failed == 0; ++i) {
    uv_thread_t thread;
    failed = uv_thread_create(
        &thread, [](void* sem) { uv_sem_wait(static_cast<uv_sem_t*>(sem)); }, &gate);
    if (failed == 0) threads.push_back(thread);
  }
  for (size_t i = 0; i < threads.size(); ++i)
    uv_sem_post(&gate);
  for (uv_thread_t& thread : threads)
    uv_thread_join(&thread);
  uv_sem_destroy(&gate);
  return failed;
}

}  // namespace

Result<void> start_thread_pool(Loop& loop) {
  static bool started = false;
  if (started) return {};
  if (const int failed = try_threads(pool_size()); failed != 0) {
    return process_error(-failed, "cannot start the threads that wait for disks and name servers");
  }
  // At once, before others take what there is.
  static uv_work_t nothing;
  uv_queue_work(
      loop.uv(), &nothing, [](uv_work_t*) {}, [](uv_work_t*, int) {});
  started = true;
  return {};
}

}  // namespace gigafetch::net
