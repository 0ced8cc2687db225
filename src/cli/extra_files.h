// Of a job that is not packed: what stands on disk and nobody lists.
#pragma once

#include "base/figures.h"
#include "base/result.h"
#include "cli/stored_names.h"
#include "supervisor/supervisor.h"

namespace gigafetch::cli {

// How many entries that are, the first of which are shown; `figures` are those of a run that has
// listed. Walks the output folder once, and when that is not the same set of names as was listed,
// lists again in this process, which must not fork afterwards, with temporary files in the state
// folder. Fails when one of these does.
Result<uint64_t> count_extra_files(const supervisor::Job& job, const StoredNames& stored,
                                   const Figures& figures);

}  // namespace gigafetch::cli
