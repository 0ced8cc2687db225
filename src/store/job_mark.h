// The mark of a job: the file `job` in OUT/.gigafetch, and in the state folder where that is
// another one. It says whose files are in OUT, so that a folder that is empty because its volume is
// not mounted, or that has been replaced, is not taken for one in which everything is stored. No
// name leads to it: names that begin with .gigafetch are stored elsewhere (store/layout.h).
//
//     gigafetch job 0123456789abcdef
//
// Rejected: the files themselves (a name on disk says little, and reading back costs an hour where
// there are a billion); a file beside them (whoever reads all files of OUT would meet it).
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gigafetch::store {

// The id that stands in the mark; nullopt when there is none, or it cannot be read as one.
std::optional<uint64_t> mark_in_state(int state_fd);
std::optional<uint64_t> mark_in_output(int output_fd);

// Puts the mark into both folders, and syncs it.
Result<void> write_marks(int state_fd, int output_fd, uint64_t job_id);

}  // namespace gigafetch::store
