// Reading a ledger's bytes back (store/ledger_format.h): which of its records count. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/job_identity.h"
#include "store/ledger_state.h"
#include "store/place.h"

namespace gigafetch::store {

struct LedgerImage {
  uint64_t job_id = 0;
  JobIdentity identity;
  LedgerState state;
  RunPlace last_run;      // of the last run that wrote to it
  uint64_t base_end = 0;  // behind the records that the file was made with
  uint64_t size = 0;      // bytes that count; what stands behind them is to be cut
  uint64_t cut = 0;       // bytes that stand behind them
  uint64_t synced = 0;    // of those that count, bytes that are known to be on the device
  uint32_t version = 0;   // of the format, as the header has it
  // Why only what was synced counts; none: all does.
  Distrust distrust = Distrust::none;
  bool repaired = false;  // damage below a synced offset was cut, because it was asked for
  // Files that valid records behind the cut call stored: they are fetched again.
  uint64_t lost_files = 0;
};

// Where distrust() has nothing against it every whole flush counts, since the page cache has
// outlived the processes; else what the last SYNCED covers. A torn end is cut. Fails (malformed,
// with the place) when there is damage below an offset that a SYNCED covers, or in what the file
// was made with; with `repair` the former is cut as well.
Result<LedgerImage> recover_ledger(std::string_view file, const Surroundings& now, bool repair);

}  // namespace gigafetch::store
