// Making the ledger durable, and a new one beside it: what a group commit does off the loop.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gigafetch::store {

// Made by Ledger::begin_sync, and given back to Ledger::finish_sync when it went well.
class SyncJob {
 public:
  // Blocks for as long as the devices need. Fails when anything could not be synced; then what was
  // written since the last good one may be lost, and trying again would prove nothing (fsync(2)).
  Result<void> run() const;

 private:
  friend class Ledger;
  Result<void> sync() const;
  Result<void> write_anew() const;
  uint64_t synced_before = 0;  // ledger bytes that were durable before
  bool had_records = false;    // else only the last SYNCED is made durable
  int output_fd = -1;          // -1: no syncfs
  int ledger_fd = -1;
  int failures_fd = -1;
  int state_fd = -1;
  bool sync_folder = false;  // the state folder has a new ledger since the last one
  uint64_t covered = 0;      // ledger bytes that this job makes durable
  // To write the ledger anew; empty: not this time.
  std::string new_base;
  std::string archive;
  uint64_t archive_offset = 0;
  size_t archived_pages = 0;
};

// Writes and syncs `ledger.new` in the state folder; it is open for more.
Result<UniqueFd> write_new_ledger(int state_fd, std::string_view bytes);

}  // namespace gigafetch::store
