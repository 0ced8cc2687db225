// Waiting for a descriptor, in tests: for the event itself, with an end to the patience.
#pragma once

#include <poll.h>

namespace gigafetch::testing {

constexpr int kPatienceMs = 30'000;  // only what is broken is waited for as long

// Whether the other end says something or is closed; not whether it ever will.
inline bool readable(int fd, int patience_ms = kPatienceMs) {
  pollfd wait{fd, POLLIN, 0};
  return ::poll(&wait, 1, patience_ms) == 1;
}

}  // namespace gigafetch::testing
