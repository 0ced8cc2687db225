#include "store/standing_failures.h"

#include <map>

namespace gigafetch::store {

bool is_selected(const FailureEntry& entry, const RetryRange& range) {
  if (is_rejection(entry.failure.cause)) return false;
  return entry.offset >= (is_passing(entry.failure) ? range.passing_begin : range.permanent_begin);
}

Result<void> read_standing_failures(
    int state_fd, uint64_t job_id, const LedgerState& state,
    const std::function<Result<void>(const FailureEntry& entry)>& on_failure) {
  const FailureSpan& span = state.failures();
  // How many names of each open retry page have been met.
  std::map<uint64_t, uint32_t> met;
  Result<void> taken;
  const auto take = [&](const FailureEntry& entry) {
    const bool rejected = is_rejection(entry.failure.cause);
    bool stands = rejected || entry.offset >= (is_passing(entry.failure) ? span.passing_done
                                                                         : span.permanent_done);
    for (const auto& [number, page] : state.open()) {
      if (!page.retry || entry.offset < page.retry->begin || entry.offset >= page.retry->end ||
          !is_selected(entry, *page.retry)) {
        continue;
      }
      stands |= !page.settled.contains(met[number]++);
    }
    if (stands) taken = on_failure(entry);
    return taken.ok();
  };
  Result<void> read = read_failures(state_fd, job_id, span.begin, span.end, take);
  return read ? taken : read;
}

}  // namespace gigafetch::store
