// libuv's threads, for work that blocks: looking up hosts, waiting for disks.
#pragma once

#include "base/result.h"
#include "net/loop.h"

namespace gigafetch::net {

// Starts them, once a process. libuv does so by itself with the first work, but ends the process
// when the system makes no more threads; this fails instead, and says what the limit is. To be
// called before any work is given to them.
Result<void> start_thread_pool(Loop& loop);

}  // namespace gigafetch::net
