// The lock on a folder: one run at a time works in it.
//
// It is a flock(2) on the folder itself, which nobody can remove and make anew under a run, as they
// can a file in it; where a folder cannot be locked (NFS), and for versions that knew no other, a
// file in it is locked as well. Child processes inherit the descriptors on purpose: as long as one
// of them lives, nobody else writes.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace gigafetch::store {

// How long a new run waits for the lock of one that is dead: its children die with it, but not in
// the same instant.
inline constexpr Millis kLockPatience{10'000};

// Locks the folder, and the file `lock_fd` (-1: none), which names the run that holds it. Held
// until the last copy of both descriptors is closed. Fails with `busy` and the other run's pid when
// that one lives; `shown` is the folder's name, escaped.
Result<void> lock_folder(int folder_fd, int lock_fd, const std::string& shown);

}  // namespace gigafetch::store
