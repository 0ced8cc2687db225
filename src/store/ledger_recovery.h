// Reading a ledger's bytes back: which of its records count. Pure; the format is in store/ledger.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/job_identity.h"
#include "store/ledger_state.h"

namespace gigafetch::store {

inline constexpr std::string_view kLedgerMagic = "GFLEDGER";
inline constexpr uint32_t kLedgerVersion = 3;
inline constexpr size_t kLedgerHeaderBytes = 24;

enum class LedgerRecord : uint8_t {
  identity = 1,
  checkpoint = 2,
  run = 3,
  page = 4,
  stored = 5,
  fail = 6,
  synced = 7,
  replace = 8,
  known = 9,
  retry = 10,
  relist = 11,
  shard = 12,
};

// Whether such a record is seeded with the job's id wherever it stands.
constexpr bool is_of_job(LedgerRecord type) {
  return type == LedgerRecord::run || type == LedgerRecord::synced;
}

struct LedgerImage {
  uint64_t job_id = 0;
  JobIdentity identity;
  LedgerState state;
  std::string boot_id;    // of the last run that wrote to it
  uint64_t base_end = 0;  // behind the records that the file was made with
  uint64_t size = 0;      // bytes that count; what stands behind them is to be cut
  uint64_t cut = 0;       // bytes that stand behind them
  uint64_t synced = 0;    // of those that count, bytes that are known to be on the device
  bool rebooted = false;  // the host was started anew since: only what was synced counts
  bool repaired = false;  // damage below a synced offset was cut, because it was asked for
  // Files that valid records behind the cut call stored: they are fetched again.
  uint64_t lost_files = 0;
};

// `boot_id` is that of the running system. Under the same one every valid record counts, since the
// page cache has outlived the processes; under another one, what the last SYNCED covers. A torn end
// is cut. Fails (malformed, with the place) when there is damage below an offset that a SYNCED
// covers, or in what the file was made with; with `repair` the former is cut as well.
Result<LedgerImage> recover_ledger(std::string_view file, std::string_view boot_id, bool repair);

}  // namespace gigafetch::store
