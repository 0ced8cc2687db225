// Whether the files of a state folder are its own. They are written in place: through a second link
// (cp -l, a snapshot made of links) the copy would get what the original records, and lose what it
// does not.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"

namespace gigafetch::store {

// A file of the state folder that has another link; nullopt when there is none.
Result<std::optional<std::string>> shared_file(int state_fd);

// Gives the folder files of its own in place of those. Done again after a death in the middle of
// it, it comes to the same.
Result<void> unshare_files(int state_fd);

}  // namespace gigafetch::store
