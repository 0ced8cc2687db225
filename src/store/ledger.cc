#include "store/ledger.h"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/byte_order.h"
#include "base/io.h"
#include "store/dead_letters.h"
#include "store/ledger_fields.h"
#include "store/page_archive.h"
#include "store/record.h"
#include "store/regular_file.h"
#include "store/standing_failures.h"

namespace gigafetch::store {
namespace {

// The ledger is written anew when so much has gathered behind its base.
constexpr uint64_t kCheckpointBytes = 256 * 1024;
// But long before it is as large as one may be.
constexpr uint64_t kMaxGrowth = kMaxLedgerBytes / 8;

Error too_large() {
  return error(
      ErrorCode::too_large,
      "the ledger would be over {} bytes, more than a later run would read: too many pages "
      "are open, or their markers are too long. What is recorded is kept: run the same "
      "command again",
      kMaxLedgerBytes);
}

Result<uint64_t> random_id() {
  uint64_t id = 0;
  if (::getrandom(&id, sizeof id, 0) != sizeof id) return errno_error(errno, "no random numbers");
  return id;
}

// What the RUN of this process is to say.
Result<RunRecord> new_run(RunPlace place) {
  Result<uint64_t> id = random_id();
  if (!id) return std::move(id).failure();
  return RunRecord{*id, std::move(place), true};
}

// Of one that an earlier version of this program has made.
Result<void> set_format(int state_fd) {
  const UniqueFd fd = open_regular(state_fd, kLedgerFile, O_WRONLY);
  std::string version;
  put_le<uint32_t>(version, kLedgerVersion);
  if (!fd || ::pwrite(fd.get(), version.data(), version.size(), kLedgerVersionOffset) !=
                 static_cast<ssize_t>(version.size())) {
    return errno_error(errno, "cannot write the ledger");
  }
  return {};
}

}  // namespace

// --- opening ---

Ledger::Ledger(int state_fd, LedgerImage image, UniqueFd fd, FailureLog failures, RunRecord run)
    : state_fd_(state_fd),
      image_(std::move(image)),
      fd_(std::move(fd)),
      failures_(std::move(failures)),
      run_(std::move(run)),
      size_(image_.size),
      covered_(image_.synced) {}

Result<Ledger> Ledger::create(int state_fd, const JobIdentity& identity, int output_fd) {
  Result<uint64_t> job_id = random_id();
  if (!job_id) return std::move(job_id).failure();
  Result<Surroundings> now = surroundings(state_fd, output_fd);
  if (!now) return std::move(now).failure();
  Result<RunRecord> run = new_run(std::move(now->here));
  if (!run) return std::move(run).failure();
  const std::string bytes = ledger_base(*job_id, identity, std::nullopt, encode_run(*run));
  Result<UniqueFd> fd = write_new_ledger(state_fd, bytes);
  if (!fd) return std::move(fd).failure();
  if (::renameat(state_fd, kNewLedgerFile, state_fd, kLedgerFile) != 0) {
    return errno_error(errno, "cannot put the ledger in place");
  }
  Result<FailureLog> failures = FailureLog::create(state_fd, *job_id);
  if (!failures) return std::move(failures).failure();
  ::unlinkat(state_fd, kArchiveFile, 0);
  remove_io_error_note(state_fd);
  if (::fsync(state_fd) != 0) return errno_error(errno, "cannot sync the state folder");
  LedgerImage image;
  image.job_id = *job_id;
  image.identity = identity;
  image.last_run = run->place;
  image.base_end = image.synced = image.size = bytes.size();
  return Ledger(state_fd, std::move(image), std::move(fd).value(), std::move(failures).value(),
                std::move(run).value());
}

namespace {

Result<std::optional<LedgerImage>> read_under(int state_fd, const Surroundings& now, bool repair) {
  const UniqueFd fd = open_regular(state_fd, kLedgerFile, O_RDONLY);
  if (!fd && errno == ENOENT) return std::optional<LedgerImage>();
  if (!fd) return not_opened(errno, "cannot open the ledger");
  Result<std::string> bytes = read_to_end(fd.get(), kMaxLedgerBytes, "the ledger");
  if (!bytes) return std::move(bytes).failure();
  Result<LedgerImage> image = recover_ledger(*bytes, now, repair);
  if (!image) return std::move(image).failure();
  return std::optional<LedgerImage>(std::move(image).value());
}

}  // namespace

Result<std::optional<LedgerImage>> Ledger::read(int state_fd, bool repair, int output_fd) {
  Result<Surroundings> now = surroundings(state_fd, output_fd);
  if (!now) return std::move(now).failure();
  return read_under(state_fd, *now, repair);
}

Result<std::optional<Ledger>> Ledger::open(int state_fd, bool repair, int output_fd) {
  Result<Surroundings> now = surroundings(state_fd, output_fd);
  if (!now) return std::move(now).failure();
  Result<std::optional<LedgerImage>> image = read_under(state_fd, *now, repair);
  if (!image) return std::move(image).failure();
  if (!image->has_value()) return std::optional<Ledger>();
  Result<RunRecord> run = new_run(std::move(now->here));
  if (!run) return std::move(run).failure();
  Result<Ledger> ledger = attach(state_fd, std::move(**image), std::move(run).value());
  if (!ledger) return std::move(ledger).failure();
  return std::optional<Ledger>(std::move(ledger).value());
}

Result<Ledger> Ledger::attach(int state_fd, LedgerImage image, RunRecord run) {
  UniqueFd fd = open_regular(state_fd, kLedgerFile, O_RDWR | O_APPEND);
  if (!fd) return not_opened(errno, "cannot open the ledger");
  // Synced, so that what is cut cannot come back behind what is written now.
  if (image.cut > 0 &&
      (::ftruncate(fd.get(), static_cast<off_t>(image.size)) != 0 || ::fdatasync(fd.get()) != 0)) {
    return errno_error(errno, "cannot cut the ledger");
  }
  if (image.version != kLedgerVersion) {
    if (Result<void> set = set_format(state_fd); !set) return std::move(set).failure();
  }
  Result<FailureLog> failures =
      FailureLog::open(state_fd, image.job_id, image.state.failures().end);
  if (!failures) return std::move(failures).failure();
  Ledger ledger(state_fd, std::move(image), std::move(fd), std::move(failures).value(),
                std::move(run));
  ledger.append(LedgerRecord::run, encode_run(ledger.run_));
  const bool was_cut = ledger.image_.distrust != Distrust::none;
  // All that is left was synced by an earlier run; the record that said so is cut.
  if (was_cut) ledger.append_synced();
  if (Result<void> written = ledger.flush(); !written) return std::move(written).failure();
  // Else a second power loss would find neither this record nor the one that was cut.
  if (was_cut && ::fdatasync(ledger.fd_.get()) != 0) {
    return errno_error(errno, "cannot sync the ledger");
  }
  if (was_cut) remove_io_error_note(state_fd);
  return ledger;
}

// --- records ---

void Ledger::append(LedgerRecord type, std::string_view payload) {
  last_begin_ = buffer_.size();
  append_record(buffer_, size_, is_of_job(type) ? job_id() : run_.run_id,
                static_cast<uint8_t>(type), payload);
  size_ += buffer_.size() - last_begin_;
  if (type != LedgerRecord::synced) dirty_ = true;
}

// Lets what is in the buffer count, as one.
void Ledger::end_flush() {
  if (buffer_.empty()) return;
  const auto type = static_cast<uint8_t>(buffer_[last_begin_]);
  const uint64_t offset = size_ - (buffer_.size() - last_begin_);
  const uint64_t seed = is_of_job(type_of(type)) ? job_id() : run_.run_id;
  change_type(buffer_, last_begin_, offset, seed, type | kEndOfFlush);
}

void Ledger::append_synced() {
  std::string payload;
  put_varint(payload, covered_);
  append(LedgerRecord::synced, payload);
}

uint64_t Ledger::add_page(const PageFacts& facts) {
  append_pending();
  std::string payload;
  put_facts(payload, facts);
  append(LedgerRecord::page, payload);
  const uint64_t number = state().next_page();
  check(image_.state.add_page(facts));
  return number;
}

uint64_t Ledger::replace_page(uint64_t old_number, const PageFacts& facts) {
  append_pending();
  std::string payload;
  put_varint(payload, old_number);
  put_facts(payload, facts);
  append(LedgerRecord::replace, payload);
  const uint64_t number = state().next_page();
  check(image_.state.replace_page(old_number, facts));
  return number;
}

void Ledger::add_known_page(const PageFacts& facts, uint64_t bytes, const Hash128& content) {
  append_pending();
  std::string payload;
  put_facts(payload, facts);
  put_varint(payload, bytes);
  put_hash(payload, content);
  append(LedgerRecord::known, payload);
  check(image_.state.add_known_page(facts, bytes, content));
}

uint64_t Ledger::add_retry_page(const RetryRange& range, uint32_t names) {
  append_pending();
  std::string payload;
  put_retry(payload, range);
  put_varint(payload, names);
  append(LedgerRecord::retry, payload);
  const uint64_t number = state().next_page();
  check(image_.state.add_retry_page(range, names));
  return number;
}

void Ledger::relist() {
  append_pending();
  append(LedgerRecord::relist, {});
  check(image_.state.relist());
}

void Ledger::begin_shard_epoch() {
  append_pending();
  const uint32_t first = state().shards().next_number();
  if (first == state().shards().epoch_begin()) return;
  std::string payload;
  put_varint(payload, first);
  append(LedgerRecord::epoch, payload);
  check(image_.state.add_epoch(first));
}

void Ledger::add_stored(uint64_t page, IndexRange range) {
  check(pending_[page].stored.add(range));
}

void Ledger::add_content(uint64_t page, uint64_t bytes, const Hash128& content) {
  Pending& pending = pending_[page];
  pending.bytes += bytes;
  pending.content = pending.content + content;
}

void Ledger::add_shard(const ShardEnd& end) {
  ShardEnd& last = pending_shards_[{end.worker, end.number}];
  check(!last.finished && end.end >= last.end);
  last = end;
}

// The entries of one FAIL stand together in the log, so that a torn end leaves none that belongs to
// no record.
void Ledger::add_failed(uint64_t page, uint32_t index, std::string_view name,
                        const FileFailure& failure) {
  if (pending_failures_of_ != UINT64_MAX && pending_failures_of_ != page) append_pending();
  pending_failures_of_ = page;
  Pending& pending = pending_[page];
  check(pending.failed.add({index, index + 1}));
  if (is_rejection(failure.cause)) ++pending.rejected;
  failures_.add(name, failure);
}

void Ledger::log_failure(std::string_view name, const FileFailure& failure) {
  append_pending();
  failures_.add(name, failure);
}

void Ledger::append_pending() {
  std::string payload;
  for (const auto& [id, end] : pending_shards_) {
    payload.clear();
    put_shard_end(payload, end);
    append(LedgerRecord::shard, payload);
    check(image_.state.add_shard(end));
  }
  pending_shards_.clear();
  for (const auto& [page, pending] : pending_) {
    if (pending.failed.count() > 0) {
      payload.clear();
      put_varint(payload, page);
      put_ranges(payload, pending.failed.ranges());
      put_varint(payload, pending.rejected);
      put_varint(payload, failures_.size());
      append(LedgerRecord::fail, payload);
      check(image_.state.add_failed(page, pending.failed.ranges(), pending.rejected,
                                    failures_.size()));
    }
    if (pending.stored.count() > 0) {
      payload.clear();
      put_varint(payload, page);
      put_ranges(payload, pending.stored.ranges());
      put_varint(payload, pending.bytes);
      put_hash(payload, pending.content);
      append(LedgerRecord::stored, payload);
      check(image_.state.add_stored(page, pending.stored.ranges(), pending.bytes, pending.content));
    }
  }
  pending_.clear();
  pending_failures_of_ = UINT64_MAX;
}

Result<void> Ledger::flush() {
  if (written_) written_ = write();
  return written_;
}

Result<void> Ledger::write() {
  append_pending();
  if (contradicted_) {
    return error(ErrorCode::malformed, "internal error: a record contradicts the ledger");
  }
  if (Result<void> logged = failures_.flush(); !logged) return logged;
  if (buffer_.empty()) return {};
  if (size_ > kMaxLedgerBytes) return too_large();
  end_flush();
  if (const int failed = write_all(fd_.get(), buffer_); failed != 0) {
    return errno_error(failed, "cannot write the ledger");
  }
  buffer_.clear();
  return {};
}

// --- group commit ---

bool Ledger::has_unsynced() const {
  return dirty_ || synced_is_volatile_ || !pending_.empty() || !pending_shards_.empty();
}

bool Ledger::wants_checkpoint() const {
  const uint64_t base_bytes = image_.base_end;
  return size_ - base_bytes > std::clamp(4 * base_bytes, kCheckpointBytes, kMaxGrowth);
}

Result<SyncJob> Ledger::begin_sync(int output_fd) {
  if (Result<void> flushed = flush(); !flushed) return std::move(flushed).failure();
  SyncJob job;
  job.had_records = dirty_;
  if (dirty_) {
    job.output_fd = output_fd;
    job.failures_fd = failures_.fd();
  }
  job.ledger_fd = fd_.get();
  job.state_fd = state_fd_;
  job.sync_folder = folder_is_volatile_;
  job.covered = size_;
  job.synced_before = covered_;
  if (wants_checkpoint()) {
    const LedgerState& now = state();
    job.archive = archive_records(now.done(), now.archive_bytes(), job_id());
    job.archive_offset = now.archive_bytes();
    job.archived_pages = now.done().size();
    job.new_base =
        ledger_base(job_id(), identity(), now.checkpoint(job.archive_offset + job.archive.size()),
                    encode_run(run_));
    if (job.new_base.size() > kMaxLedgerBytes) return too_large();
  }
  dirty_ = false;
  return job;
}

Result<void> Ledger::finish_sync(SyncJob& job) {
  synced_is_volatile_ = false;
  if (job.sync_folder) folder_is_volatile_ = false;
  if (!job.new_base.empty()) return switch_to_new(job);
  if (!job.had_records) return {};
  covered_ = job.covered;
  append_synced();
  synced_is_volatile_ = true;
  return flush();
}

// The records behind `covered`, as they stand in a file where they begin at `new_offset`.
Result<std::string> Ledger::copy_since(uint64_t covered, uint64_t new_offset) const {
  std::string old(size_ - covered, '\0');
  for (size_t had = 0; had < old.size();) {
    const ssize_t got =
        ::pread(fd_.get(), old.data() + had, old.size() - had, static_cast<off_t>(covered + had));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return errno_error(got < 0 ? errno : EIO, "cannot read the ledger");
    had += static_cast<size_t>(got);
  }
  std::string out;
  Record record;
  for (size_t at = 0; at < old.size(); at = record.end - covered) {
    if (!read_record(std::string_view(old).substr(at), covered + at, run_.run_id, record)) {
      return error(ErrorCode::malformed, "the ledger was changed while it was in use");
    }
    append_record(out, new_offset + out.size(), run_.run_id, record.type, record.payload);
  }
  return out;
}

Result<void> Ledger::switch_to_new(SyncJob& job) {
  if (Result<void> flushed = flush(); !flushed) return flushed;
  Result<std::string> since = copy_since(job.covered, job.new_base.size());
  if (!since) return std::move(since).failure();
  if (job.new_base.size() + since->size() > kMaxLedgerBytes) return too_large();
  UniqueFd fd = open_regular(state_fd_, kNewLedgerFile, O_RDWR | O_APPEND);
  if (!fd) return not_opened(errno, "cannot open the new ledger");
  if (const int failed = write_all(fd.get(), *since); failed != 0) {
    return errno_error(failed, "cannot write the ledger");
  }
  if (::renameat(state_fd_, kNewLedgerFile, state_fd_, kLedgerFile) != 0) {
    return errno_error(errno, "cannot put the new ledger in place");
  }
  fd_ = std::move(fd);
  image_.state.archived(job.archived_pages, job.archive_offset + job.archive.size());
  image_.base_end = covered_ = job.new_base.size();
  size_ = covered_ + since->size();
  folder_is_volatile_ = true;
  dirty_ = true;
  return {};
}

Result<void> Ledger::take_back_unsynced() {
  buffer_.clear();
  pending_.clear();
  pending_shards_.clear();
  if (::ftruncate(fd_.get(), static_cast<off_t>(covered_)) != 0) {
    return errno_error(errno, "cannot cut the ledger");
  }
  size_ = covered_;
  // The record that said so was cut too. When it cannot be written either, the next run only
  // fetches more than it must.
  append_synced();
  end_flush();
  write_all(fd_.get(), buffer_);
  buffer_.clear();
  return {};
}

// --- failures ---

Result<void> Ledger::write_dead_letters(const std::string& file) const {
  const std::string new_file = file + ".new";
  Result<DeadLetters> letters = DeadLetters::create(state_fd_, new_file);
  if (!letters) return std::move(letters).failure();
  Result<void> written = read_standing_failures(
      state_fd_, job_id(), state(),
      [&](const FailureEntry& entry) { return letters->add(entry.name, entry.failure); });
  if (!written) return written;
  if (Result<void> flushed = letters->flush(); !flushed) return flushed;
  if (::renameat(state_fd_, new_file.c_str(), state_fd_, file.c_str()) != 0) {
    return errno_error(errno, fmt::format("cannot put {} in place", file));
  }
  return {};
}

Result<void> Ledger::read_retry_names(
    const RetryRange& range,
    const std::function<bool(uint32_t index, std::string_view name)>& on_name) const {
  uint32_t index = 0;
  return read_failures(state_fd_, job_id(), range.begin, range.end, [&](const FailureEntry& entry) {
    return !is_selected(entry, range) || on_name(index++, entry.name);
  });
}

Result<std::optional<Ledger::RetryPlan>> Ledger::plan_retry(bool permanent, uint64_t log_limit,
                                                            uint32_t names) const {
  const FailureSpan& span = state().failures();
  RetryPlan plan;
  plan.range.passing_begin = span.passing_done;
  plan.range.permanent_begin = permanent ? span.permanent_done : log_limit;
  plan.range.begin = std::min(plan.range.passing_begin, plan.range.permanent_begin);
  plan.range.end = log_limit;
  Result<void> read = read_failures(state_fd_, job_id(), plan.range.begin, log_limit,
                                    [&](const FailureEntry& entry) {
                                      if (!is_selected(entry, plan.range)) return true;
                                      if (++plan.names < names) return true;
                                      plan.range.end = entry.end;
                                      return false;
                                    });
  if (!read) return std::move(read).failure();
  if (plan.names == 0) return std::optional<RetryPlan>();
  return std::optional<RetryPlan>(plan);
}

Result<void> read_done_pages(int state_fd, uint64_t job_id, const LedgerState& state,
                             const std::function<void(const DonePage& page)>& on_page) {
  Result<void> read = read_archive(state_fd, job_id, state.archive_bytes(), on_page);
  for (const DonePage& page : state.done())
    on_page(page);
  return read;
}

}  // namespace gigafetch::store
