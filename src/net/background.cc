#include "net/background.h"

#include <cassert>
#include <memory>
#include <utility>

namespace gigafetch::net {

struct Background::Task {
  uv_work_t request;
  std::function<void()> work;
  std::function<void()> on_done;
  Background* owner;
};

Background::~Background() {
  if (task_ != nullptr) task_->owner = nullptr;
}

void Background::run(std::function<void()> work, std::function<void()> on_done) {
  assert(!busy());
  auto task = std::make_unique<Task>();
  task->work = std::move(work);
  task->on_done = std::move(on_done);
  task->owner = this;
  task->request.data = task.get();
  task_ = task.release();
  // Fails only without a function to run.
  uv_queue_work(
      loop_.uv(), &task_->request,
      [](uv_work_t* request) { static_cast<Task*>(request->data)->work(); },
      [](uv_work_t* request, int) {
        const std::unique_ptr<Task> done(static_cast<Task*>(request->data));
        if (done->owner == nullptr) return;
        done->owner->task_ = nullptr;
        done->on_done();
      });
}

}  // namespace gigafetch::net
