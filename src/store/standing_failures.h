// Which of the failures in the log (store/failure_log.h) still stand, and which are to be tried
// again: the ledger's state says.
#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"
#include "store/failure_log.h"
#include "store/ledger_state.h"

namespace gigafetch::store {

// Whether the entry, which lies in the range, is one of those that its retry page tries again.
bool is_selected(const FailureEntry& entry, const RetryRange& range);

// Calls `on_failure` for the failures that stand: those of names that are not stored, and not being
// tried again. Bounded memory.
Result<void> read_standing_failures(
    int state_fd, uint64_t job_id, const LedgerState& state,
    const std::function<Result<void>(const FailureEntry& entry)>& on_failure);

}  // namespace gigafetch::store
