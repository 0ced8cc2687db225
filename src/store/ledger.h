// The ledger: the file `ledger` in the state folder, which says what of the job is done. A file
// that was fetched counts when its STORED record says so, not when its name is there. The records,
// and which of them count, are in store/ledger_format.h.
//
// Once enough has gathered behind the base, the ledger is written anew: a checkpoint of what has
// just been synced, then the records since, then a rename. So its size, and the time to read it, do
// not depend on how much is done; the pages that are done go to `pages` (store/page_archive.h),
// failures are in `failures` (store/failure_log.h).
//
// Rejected: a database (its commits cost more than a batch, and the group commit would be its, not
// ours); one bit a name in a bitmap (needs the listing's order to stay); a record a file (25 bytes
// times a billion, for nothing that a page and a range do not say); SYNCED as a rewritten header
// (torn, it would take all with it); JSON lines (no checksum, ten times the size).
//
// Coordinator, loop thread only, but for SyncJob::run.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "store/failure_log.h"
#include "store/job_identity.h"
#include "store/ledger_format.h"
#include "store/ledger_recovery.h"
#include "store/ledger_state.h"
#include "store/ledger_sync.h"

namespace gigafetch::store {

// Calls `on_page` for each page that is done, in the archive or since, in the order in which they
// were. Bounded memory.
Result<void> read_done_pages(int state_fd, uint64_t job_id, const LedgerState& state,
                             const std::function<void(const DonePage& page)>& on_page);

class Ledger {
 public:
  // Replaces whatever is there with the ledger of a new job, and syncs it.
  // `output_fd`: the output folder, whose place is recorded (store/place.h); -1: not at hand.
  static Result<Ledger> create(int state_fd, const JobIdentity& identity, int output_fd = -1);
  // Opens the one that is there to write to it; nullopt when there is none. `repair`: see
  // recover_ledger.
  static Result<std::optional<Ledger>> open(int state_fd, bool repair, int output_fd = -1);
  // Only looks; nothing is changed.
  static Result<std::optional<LedgerImage>> read(int state_fd, bool repair = false,
                                                 int output_fd = -1);

  const LedgerState& state() const { return image_.state; }
  const JobIdentity& identity() const { return image_.identity; }
  uint64_t job_id() const { return image_.job_id; }
  // What opening found.
  const LedgerImage& found() const { return image_; }

  // Records. They are in the file after the next flush, and so are SHARD, STORED and FAIL part of
  // the state, which are gathered until then, shard by shard and page by page. What is recorded
  // must fit the state: a page that is open, names that are not settled; what does not makes the
  // next flush fail.
  uint64_t add_page(const PageFacts& facts);
  uint64_t replace_page(uint64_t old_number, const PageFacts& facts);
  void add_known_page(const PageFacts& facts, uint64_t bytes, const Hash128& content);
  uint64_t add_retry_page(const RetryRange& range, uint32_t names);
  void add_stored(uint64_t page, IndexRange range);
  void add_content(uint64_t page, uint64_t bytes, const Hash128& content);
  void add_shard(const ShardEnd& end);
  void add_failed(uint64_t page, uint32_t index, std::string_view name, const FileFailure& failure);
  // A name that fails as it is listed; PageFacts::rejected counts it, with log_end behind it.
  void log_failure(std::string_view name, const FileFailure& failure);
  uint64_t log_end() const { return failures_.size(); }
  void relist();
  // Shards from now on count as stored later than all there are, which nobody writes to any more.
  void begin_shard_epoch();

  // Writes what is recorded: a later run finds all of it or nothing. After a failure every further
  // flush fails and writes nothing: what had been written in part must stay the file's end.
  Result<void> flush();

  // Group commit. begin_sync flushes and gives what is to be run off the loop; one at a time.
  // `output_fd` -1 leaves the files out (when each was synced by itself).
  Result<SyncJob> begin_sync(int output_fd);
  // The job is done, well: records that it is, and puts a ledger that was written anew in place.
  Result<void> finish_sync(SyncJob& job);
  // The job failed: takes back every record that no good one covered, so that no run trusts them.
  Result<void> take_back_unsynced();

  // Whether there is something that a sync would make durable.
  bool has_unsynced() const;
  // Whether so much has gathered behind the base that it should be written anew at the next sync.
  bool wants_checkpoint() const;

  // Replaces `failed.jsonl` by the failures that stand. Bounded memory.
  Result<void> write_dead_letters(const std::string& file) const;
  // Calls `on_name` for the names of a retry page, in order, until it returns false.
  Result<void> read_retry_names(
      const RetryRange& range,
      const std::function<bool(uint32_t index, std::string_view name)>& on_name) const;
  // The next names of the log to be tried again, behind all that was; nullopt when there are none.
  // At most some `names` of them, so that a retry page stays small.
  struct RetryPlan {
    RetryRange range;
    uint32_t names = 0;
  };
  Result<std::optional<RetryPlan>> plan_retry(bool permanent, uint64_t log_limit,
                                              uint32_t names) const;

 private:
  // Of one page, not yet a record.
  struct Pending {
    RangeSet stored;
    uint64_t bytes = 0;
    Hash128 content;
    RangeSet failed;
    uint32_t rejected = 0;
  };

  Ledger(int state_fd, LedgerImage image, UniqueFd fd, FailureLog failures, RunRecord run);
  static Result<Ledger> attach(int state_fd, LedgerImage image, RunRecord run);
  void append(LedgerRecord type, std::string_view payload);
  void end_flush();
  void append_synced();
  void append_pending();
  Result<void> write();
  void check(bool fits) { contradicted_ |= !fits; }
  Result<void> switch_to_new(SyncJob& job);
  Result<std::string> copy_since(uint64_t covered, uint64_t new_offset) const;

  int state_fd_;
  LedgerImage image_;
  UniqueFd fd_;
  FailureLog failures_;
  RunRecord run_;
  std::string buffer_;               // records not yet written
  size_t last_begin_ = 0;            // of the last of them
  uint64_t size_ = 0;                // of the file, with them
  uint64_t covered_ = 0;             // by the last SYNCED
  bool dirty_ = true;                // something but a SYNCED is recorded since the last begin_sync
  bool synced_is_volatile_ = false;  // the last SYNCED may not be on the device
  bool folder_is_volatile_ = false;  // nor the name of a ledger written anew
  bool contradicted_ = false;        // something was recorded that does not fit the state
  Result<void> written_;             // of the last flush
  uint64_t pending_failures_of_ = UINT64_MAX;  // the page whose failures are gathered
  std::map<uint64_t, Pending> pending_;
  std::map<ShardId, ShardEnd> pending_shards_;
};

}  // namespace gigafetch::store
