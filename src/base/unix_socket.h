// Unix-domain stream sockets inside a folder that is known by its descriptor.
//
// A socket address has room for 108 bytes only (unix(7)), less than many a path. Going through the
// descriptor (/proc/self/fd/N/NAME) keeps the address short wherever the folder is.
#pragma once

#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gigafetch {

// Binds and listens on `name` in `folder_fd`, mode 0600, replacing a socket left by an earlier run.
// The folder must be the caller's alone (0700 and locked).
Result<UniqueFd> listen_in_folder(int folder_fd, std::string_view name);

// Connects to `name` in `folder_fd`; blocks no longer than the listener's backlog makes it.
Result<UniqueFd> connect_in_folder(int folder_fd, std::string_view name);

}  // namespace gigafetch
