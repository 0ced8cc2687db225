// fetch and verify as functions, for their commands and for demo.
#pragma once

#include "cli/options.h"
#include "cli/summary.h"

namespace gigafetch::cli {

// Runs a whole fetch. Fails when it could not start; how a run that started ended is in the
// summary, and has been explained on standard error. The log must be set up. The process must not
// have run an event loop.
Result<Summary> fetch(const FetchOptions& options);

// The same for verify. It ends by running an event loop when there are differences to be found.
Result<Summary> verify(const VerifyOptions& options);

}  // namespace gigafetch::cli
