#include "cli/verify_shards.h"

#include <algorithm>

#include "base/escape.h"
#include "base/name_list.h"
#include "cli/own_work.h"
#include "cli/packed_difference.h"
#include "cli/progress.h"
#include "cli/summary.h"
#include "store/dead_letters.h"
#include "store/set_hash.h"
#include "store/standing_failures.h"

namespace gigafetch::cli {
namespace {

// The failures that stand of a job, but for names that are too long for a batch: those were counted
// as they were listed.
struct Failures {
  store::SetHash names;
  uint64_t failed = 0;
  uint64_t rejected = 0;
};

Result<Failures> standing_failures(const supervisor::Job& job, const store::LedgerImage& image) {
  Failures failures;
  Result<void> read = store::read_standing_failures(
      job.state_fd, image.job_id, image.state, [&](const store::FailureEntry& entry) {
        if (entry.name.size() <= kMaxNameBytes) {
          failures.names.add(store::hash_of_name(entry.name));
          ++(is_rejection(entry.failure.cause) ? failures.rejected : failures.failed);
        }
        return Result<void>();
      });
  if (!read) return std::move(read).failure();
  return failures;
}

// Whether `names`, with those that the ledger has as failed, are what was listed. If so, the
// figures tell of these, and the findings name them.
Result<bool> explained_by_failures(const supervisor::Job& job, const store::LedgerImage& image,
                                   const store::SetHash& names, supervisor::Report& report) {
  Result<Failures> failures = standing_failures(job, image);
  if (!failures) return std::move(failures).failure();
  Figures& figures = report.figures;
  failures->names.add_sum(names.sum, names.count);
  if (failures->names != stored_names(figures)) return false;
  Result<store::DeadLetters> findings =
      store::DeadLetters::append_to(job.state_fd, job.coordinator.findings);
  if (!findings) return std::move(findings).failure();
  Result<void> read = store::read_standing_failures(
      job.state_fd, image.job_id, image.state, [&](const store::FailureEntry& entry) {
        if (entry.name.size() > kMaxNameBytes) return Result<void>();
        return findings->add(entry.name, entry.failure);
      });
  if (!read) return std::move(read).failure();
  figures.stored -= failures->failed + failures->rejected;
  figures.failed += failures->failed;
  figures.rejected += failures->rejected;
  report.exit = ExitStatus::failures;
  if (Result<void> flushed = findings->flush(); !flushed) return std::move(flushed).failure();
  return true;
}

// Adds what other processes have used to the report.
void add_use(supervisor::Report& report, const supervisor::Accounts& accounts, double seconds) {
  report.seconds += seconds;
  report.cpu_seconds += accounts.cpu_seconds;
  report.peak_rss_bytes = std::max(report.peak_rss_bytes, accounts.peak_rss_bytes);
}

// Compares name by name what is listed and what is in the shards, which differ. How many entries
// are not listed.
Result<uint64_t> compare_names(const supervisor::Job& job, const StoredNames& stored,
                               const PackedSums& sums, store::DeadLetters* findings,
                               const VerifyOptions& options, supervisor::Report& report) {
  const OwnWork compared(report);
  Progress progress(options.report.progress);
  Result<PackedDifference> difference = find_difference(job, stored, sums, findings, progress);
  if (!difference) return std::move(difference).failure();
  add_use(report, difference->accounts, 0);
  for (const std::string& path : difference->examples)
    print_error(fmt::format("not listed, but on disk: '{}'", printable(path)));
  // Names that were fetched again because the listing had changed, say.
  if (difference->again > 0) {
    print_error(
        fmt::format("the shards hold {} files that also stand there again: of each, the one "
                    "stored last counts",
                    with_commas(difference->again)));
  }
  if (findings == nullptr) return difference->extra;
  Figures& figures = report.figures;
  // They may be others by now than those that were counted.
  figures.listed += difference->listed - figures.stored;
  figures.stored = difference->listed - difference->failed - difference->rejected;
  figures.failed += difference->failed;
  figures.rejected += difference->rejected;
  figures.bytes = difference->bytes;
  figures.content_low = difference->content.low;
  figures.content_high = difference->content.high;
  if (figures.failed + figures.rejected > 0) report.exit = ExitStatus::failures;
  return difference->extra;
}

void show_damage(const PackedSums& read) {
  for (const std::string& damage : read.damages)
    print_error(damage);
}

// Shards that are damaged are no success, though it may have cost no listed name.
ShardFindings with_damage(uint64_t extra, const PackedSums& read, supervisor::Report& report) {
  const bool damaged = !read.damages.empty();
  if (damaged && report.exit == ExitStatus::complete) report.exit = ExitStatus::failures;
  return {extra, damaged};
}

Result<PackedSums> read_shards(const supervisor::Job& job, const StoredNames& stored,
                               store::MemberTableBuilder* table, const VerifyOptions& options) {
  Progress reading(options.report.progress);
  return sum_shards(job.output_fd, stored.shards(), stored.layout(), job.workers, table, reading);
}

}  // namespace

Result<ReadForWorkers> read_shards_for_workers(supervisor::Job& job, const StoredNames& stored,
                                               const VerifyOptions& options,
                                               supervisor::Report& report) {
  const OwnWork sorted(report);
  Result<store::MemberTableBuilder> builder = store::MemberTableBuilder::create(job.state_fd);
  if (!builder) return std::move(builder).failure();
  Result<PackedSums> read = read_shards(job, stored, &*builder, options);
  if (!read) return std::move(read).failure();
  add_use(report, read->accounts, 0);
  std::vector<store::ShardId> shards;
  for (const store::CountedShard& shard : stored.shards())
    shards.push_back(shard.name.id);
  std::optional<Error> lost;
  if (read->lost) lost = Error{ErrorCode::malformed, *read->lost};
  Result<std::unique_ptr<const store::MemberTable>> table =
      builder->finish(std::move(shards), std::move(lost));
  if (!table) return std::move(table).failure();
  job.worker.members = table->get();
  return ReadForWorkers{std::move(*read), std::move(*table)};
}

Result<ShardFindings> verify_shards(supervisor::Job& job, const store::LedgerImage& image,
                                    const StoredNames& stored, const VerifyOptions& options,
                                    supervisor::Report& report) {
  Result<PackedSums> read = read_shards(job, stored, nullptr, options);
  if (!read) return std::move(read).failure();
  Progress listing(options.report.progress);
  job.worker.mode = worker::Mode::count;
  report = supervisor::supervise(job, listing);
  job.worker.mode = worker::Mode::check;
  add_use(report, read->accounts, read->seconds);
  if (report.exit != ExitStatus::complete && report.exit != ExitStatus::failures)
    return ShardFindings{};
  show_damage(*read);
  const store::ShardSums& sums = read->sums;
  report.figures.bytes = sums.bytes;
  report.figures.content_low = sums.content.low;
  report.figures.content_high = sums.content.high;
  // A member that is damaged is in no sum: an older one of its name may be there in its stead.
  if (sums.strangers == 0 && read->damages.empty()) {
    if (sums.names == stored_names(report.figures)) return ShardFindings{};
    Result<bool> explained = explained_by_failures(job, image, sums.names, report);
    if (!explained) return std::move(explained).failure();
    if (*explained) return ShardFindings{};
    print_error("the shards do not hold exactly what is listed; comparing name by name");
  } else if (!read->damages.empty()) {
    print_error("not all of the shards can be read; comparing name by name what that has cost");
  } else {
    print_error("the shards hold what no name leads to; comparing name by name");
  }
  Result<store::DeadLetters> findings =
      store::DeadLetters::append_to(job.state_fd, job.coordinator.findings);
  if (!findings) return std::move(findings).failure();
  Result<uint64_t> extra = compare_names(job, stored, *read, &*findings, options, report);
  if (!extra) return std::move(extra).failure();
  return with_damage(*extra, *read, report);
}

Result<ShardFindings> compare_bodies(supervisor::Job& job, const StoredNames& stored,
                                     const VerifyOptions& options, supervisor::Report& report) {
  supervisor::Report before;
  Result<ReadForWorkers> read = read_shards_for_workers(job, stored, options, before);
  if (!read) return std::move(read).failure();
  Progress progress(options.report.progress);
  report = supervisor::supervise(job, progress);
  add_use(report, {before.cpu_seconds, before.peak_rss_bytes}, before.seconds);
  if (report.exit != ExitStatus::complete && report.exit != ExitStatus::failures)
    return ShardFindings{};
  show_damage(read->shards);
  const store::ShardSums& sums = read->shards.sums;
  const bool same = sums.strangers == 0 && sums.names == stored_names(report.figures);
  Result<uint64_t> extra = same
                               ? Result<uint64_t>(0)
                               : compare_names(job, stored, read->shards, nullptr, options, report);
  if (!extra) return std::move(extra).failure();
  return with_damage(*extra, read->shards, report);
}

}  // namespace gigafetch::cli
