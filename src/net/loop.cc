#include "net/loop.h"

#include <signal.h>

#include <cstdlib>

namespace gigafetch::net {
namespace {

constexpr int kClosingTurns = 10;

}  // namespace

Loop::Loop() : loop_(new uv_loop_t), read_buffer_(new char[kReadBufferBytes]) {
  // A peer that is gone shows as EPIPE where it was written to.
  ::signal(SIGPIPE, SIG_IGN);
  if (uv_loop_init(uv()) != 0) std::abort();  // only without memory or descriptors at start
}

Loop::~Loop() {
  // Owners have detached; what is left are close callbacks that free the handles. More than one
  // turn when a stop() was not yet seen.
  int status = UV_EBUSY;
  for (int turn = 0; turn < kClosingTurns && (status = uv_loop_close(uv())) == UV_EBUSY; ++turn)
    uv_run(uv(), UV_RUN_NOWAIT);
  // Only what another thread is still at takes longer, and will tell the loop of its end.
  if (status == UV_EBUSY) (void)loop_.release();
}

void Loop::run() {
  uv_run(uv(), UV_RUN_DEFAULT);
}

void Loop::stop() {
  uv_stop(uv());
}

}  // namespace gigafetch::net
