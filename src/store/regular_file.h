// Opening files that others may have put there: what is no regular file is refused, and never
// waited for.
#pragma once

#include <sys/types.h>

#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gigafetch::store {

// Opens `file` of a folder as openat(2) does, with O_NONBLOCK (a pipe would hold up whoever opens
// it), O_NOFOLLOW and O_CLOEXEC on top of `flags`. When it fails, errno says why: EISDIR for a
// folder, ENXIO for a pipe, a device or a socket.
UniqueFd open_regular(int folder_fd, const char* file, int flags, mode_t mode = 0);

// What to say when that failed: "WHAT: why".
Error not_opened(int error_number, std::string_view what);

}  // namespace gigafetch::store
