#include "store/ledger_recovery.h"

#include <algorithm>
#include <optional>

#include "base/byte_order.h"
#include "store/ledger_fields.h"
#include "store/ledger_format.h"
#include "store/record.h"

namespace gigafetch::store {
namespace {

Error damaged(uint64_t offset, std::string_view what_to_do) {
  return error(ErrorCode::malformed, "the ledger is damaged at byte {}; {}", offset, what_to_do);
}

// Behind damage no longer record is looked for: each byte there may look like a record's beginning.
constexpr size_t kMaxSearchedBytes = 16 * 1024;

constexpr std::string_view kBaseDamage = "--restart forgets it and fetches everything again";

// Applies one record behind the base to the state; false when it contradicts what came before.
bool apply(LedgerRecord type, std::string_view payload, LedgerState& state) {
  VarintReader in(payload);
  switch (type) {
    case LedgerRecord::page: {
      const PageFacts facts = take_facts(in);
      return in.ok_at_end() && state.add_page(facts);
    }
    case LedgerRecord::replace: {
      const uint64_t old_number = in.take();
      const PageFacts facts = take_facts(in);
      return in.ok_at_end() && state.replace_page(old_number, facts);
    }
    case LedgerRecord::known: {
      const PageFacts facts = take_facts(in);
      const uint64_t bytes = in.take();
      const Hash128 content = take_hash(in);
      return in.ok_at_end() && state.add_known_page(facts, bytes, content);
    }
    case LedgerRecord::retry: {
      const RetryRange range = take_retry(in);
      const auto names = static_cast<uint32_t>(in.take_up_to(UINT32_MAX));
      return in.ok_at_end() && state.add_retry_page(range, names);
    }
    case LedgerRecord::stored: {
      const uint64_t page = in.take();
      const std::vector<IndexRange> ranges = take_ranges(in);
      const uint64_t bytes = in.take();
      const Hash128 content = take_hash(in);
      return in.ok_at_end() && state.add_stored(page, ranges, bytes, content);
    }
    case LedgerRecord::fail: {
      const uint64_t page = in.take();
      const std::vector<IndexRange> ranges = take_ranges(in);
      const auto rejected = static_cast<uint32_t>(in.take_up_to(UINT32_MAX));
      const uint64_t log_end = in.take();
      return in.ok_at_end() && state.add_failed(page, ranges, rejected, log_end);
    }
    case LedgerRecord::shard: {
      const ShardEnd end = take_shard_end(in);
      return in.ok_at_end() && state.add_shard(end);
    }
    case LedgerRecord::epoch: {
      const auto first = static_cast<uint32_t>(in.take_up_to(UINT32_MAX));
      return in.ok_at_end() && state.add_epoch(first);
    }
    case LedgerRecord::relist:
      return payload.empty() && state.relist();
    case LedgerRecord::identity:
    case LedgerRecord::checkpoint:
    case LedgerRecord::run:
    case LedgerRecord::synced:
      return false;
  }
  return false;
}

// Walks the records from the first to the last that is valid, or to `limit`.
class Walk {
 public:
  explicit Walk(std::string_view file) : file_(file) {}

  // The header and the records that the file was made with.
  bool read_base(LedgerImage& image) {
    image.job_id = job_id_ = get_le<uint64_t>(file_.data() + 16);
    at_ = kLedgerHeaderBytes;
    Record record;
    if (!next(job_id_, LedgerRecord::identity, record)) return false;
    std::optional<JobIdentity> identity = decode_identity(record.payload);
    if (!identity) return false;
    image.identity = std::move(*identity);
    const bool has_trail = get_le<uint32_t>(file_.data() + kLedgerVersionOffset) >= 4;
    if (next(job_id_, LedgerRecord::checkpoint, record) &&
        !image.state.restore(record.payload, has_trail)) {
      return false;
    }
    if (!next(job_id_, LedgerRecord::run, record) || !take_run(record.payload)) return false;
    note_flushed();
    image.base_end = synced_ = at_;
    return true;
  }

  // The records behind the base, up to `limit`. Of a flush that is not whole some may have been
  // applied: then at() is not flushed().
  void read_rest(LedgerImage& image, uint64_t limit) {
    Record record;
    while (at_ < limit && read(at_, record)) {
      const LedgerRecord type = type_of(record.type);
      if (type == LedgerRecord::run) {
        if (!take_run(record.payload)) return;
      } else if (type == LedgerRecord::synced) {
        const std::optional<uint64_t> covered = covers(record);
        if (!covered || *covered > at_) return;
        synced_ = std::max(synced_, *covered);
      } else if (!apply(type, record.payload, image.state)) {
        return;
      }
      at_ = record.end;
      if (!flushes_are_marked_ || (record.type & kEndOfFlush) != 0) note_flushed();
    }
  }

  uint64_t at() const { return at_; }
  // Where the last whole flush ends.
  uint64_t flushed() const { return flushed_; }
  const RunPlace& last_run() const { return flushed_run_; }
  // What the last SYNCED read so far covers.
  uint64_t synced() const { return synced_; }

  // Looks behind damage for records that are still valid: the highest offset that one of them calls
  // synced, and the files they call stored.
  uint64_t search_behind(uint64_t& files) {
    uint64_t covered = 0;
    Record record;
    // A record that ends no flush may be valid; one that contradicts the others is passed over.
    for (uint64_t at = flushed_ < at_ ? flushed_ : at_ + 1; at < file_.size();) {
      if (!read(at, record, kMaxSearchedBytes)) {
        ++at;
        continue;
      }
      if (type_of(record.type) == LedgerRecord::run) take_run(record.payload);
      if (type_of(record.type) == LedgerRecord::synced) {
        covered = std::max(covered, covers(record).value_or(0));
      }
      files += files_in(record);
      at = record.end;
    }
    return covered;
  }

 private:
  bool read(uint64_t at, Record& record, size_t max_bytes = SIZE_MAX) const {
    const LedgerRecord type = type_of(static_cast<uint8_t>(file_[at]));
    return type <= LedgerRecord::epoch && read_record(file_.substr(at, max_bytes), at,
                                                      is_of_job(type) ? job_id_ : run_id_, record);
  }

  bool next(uint64_t seed, LedgerRecord type, Record& record) {
    const bool there = read_record(file_.substr(at_), at_, seed, record) &&
                       record.type == static_cast<uint8_t>(type);
    if (there) at_ = record.end;
    return there;
  }

  bool take_run(std::string_view payload) {
    std::optional<RunRecord> run = decode_run(payload);
    if (!run) return false;
    run_id_ = run->run_id;
    flushes_are_marked_ = run->flushes_are_marked;
    run_ = std::move(run->place);
    return true;
  }

  void note_flushed() {
    flushed_ = at_;
    if (flushed_run_ != run_) flushed_run_ = run_;
  }

  static std::optional<uint64_t> covers(const Record& record) {
    VarintReader in(record.payload);
    const uint64_t covered = in.take();
    return in.ok_at_end() ? std::optional(covered) : std::nullopt;
  }

  static uint64_t files_in(const Record& record) {
    if (type_of(record.type) != LedgerRecord::stored) return 0;
    VarintReader in(record.payload);
    in.take();
    uint64_t files = 0;
    for (const IndexRange& range : take_ranges(in))
      files += range.count();
    return files;
  }

  std::string_view file_;
  uint64_t job_id_ = 0;
  uint64_t run_id_ = 0;
  bool flushes_are_marked_ = false;
  RunPlace run_;          // of the last RUN read
  RunPlace flushed_run_;  // of the last one in a whole flush
  uint64_t at_ = 0;
  uint64_t flushed_ = 0;
  uint64_t synced_ = 0;
};

// What the records up to `limit` say, where a whole flush ends.
void take_state_at(std::string_view file, uint64_t limit, LedgerImage& image) {
  LedgerImage read;
  Walk walk(file);
  walk.read_base(read);
  walk.read_rest(read, limit);
  if (walk.flushed() < walk.at()) return take_state_at(file, walk.flushed(), image);
  image.state = std::move(read.state);
  image.size = walk.flushed();
}

Result<void> check_header(std::string_view file) {
  const std::string_view magic = file.substr(0, kLedgerMagic.size());
  if (file.size() < kLedgerHeaderBytes || magic != kLedgerMagic) return damaged(0, kBaseDamage);
  const auto version = get_le<uint32_t>(file.data() + kLedgerVersionOffset);
  if (version < kOldestLedgerVersion || version > kLedgerVersion) {
    return error(
        ErrorCode::malformed,
        "the ledger has format {}, this program reads formats {} to {}; use the program that began "
        "the job, or --restart",
        version, kOldestLedgerVersion, kLedgerVersion);
  }
  if (get_le<uint32_t>(file.data() + 12) != 0) return damaged(12, kBaseDamage);
  return {};
}

}  // namespace

Result<LedgerImage> recover_ledger(std::string_view file, const Surroundings& now, bool repair) {
  if (Result<void> checked = check_header(file); !checked) return std::move(checked).failure();
  LedgerImage image;
  image.version = get_le<uint32_t>(file.data() + kLedgerVersionOffset);
  Walk walk(file);
  if (!walk.read_base(image)) return damaged(walk.at(), kBaseDamage);
  walk.read_rest(image, file.size());
  image.size = walk.flushed();
  if (image.size < file.size()) {
    uint64_t lost_files = 0;
    const bool was_synced = walk.search_behind(lost_files) > image.size;
    if (was_synced && !repair) {
      return damaged(image.size,
                     fmt::format("it was whole once: something has changed it. --repair "
                                 "cuts it there; the {} or more files that are recorded "
                                 "behind it are fetched again",
                                 lost_files));
    }
    image.repaired = was_synced;
    image.lost_files = lost_files;
  }
  if (walk.flushed() < walk.at()) take_state_at(file, walk.flushed(), image);
  image.last_run = walk.last_run();
  image.synced = std::min(walk.synced(), image.size);
  image.distrust = distrust(image.last_run, now);
  if (image.distrust != Distrust::none) {
    const uint64_t stored = image.state.totals().stored;
    take_state_at(file, image.synced, image);
    image.lost_files += stored - std::min(stored, image.state.totals().stored);
  }
  image.cut = file.size() - image.size;
  return image;
}

}  // namespace gigafetch::store
