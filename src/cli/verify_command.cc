#include <unistd.h>

#include <algorithm>

#include "base/escape.h"
#include "base/name_list.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/job.h"
#include "cli/own_work.h"
#include "cli/packed_difference.h"
#include "cli/packed_sums.h"
#include "cli/progress.h"
#include "cli/stored_names.h"
#include "coordinator/list_names.h"
#include "store/dead_letters.h"
#include "store/ledger.h"
#include "store/output_folder.h"
#include "store/set_difference.h"
#include "store/set_hash.h"
#include "store/standing_failures.h"
#include "supervisor/stop_signals.h"

namespace gigafetch::cli {
namespace {

constexpr char kFindings[] = "verify.jsonl";
constexpr size_t kShownExtras = 10;

// What is on disk.
struct Found {
  store::SetHash names;    // files whose path belongs to a name
  uint64_t strangers = 0;  // links, devices, and files whose path belongs to no name
};

store::SetHash names_of(const Figures& figures) {
  return {{figures.set_hash_low, figures.set_hash_high}, figures.stored};
}

void show_extra(std::string_view path, uint64_t& shown) {
  if (shown++ < kShownExtras)
    print_error(fmt::format("not listed, but on disk: '{}'", printable(path)));
}

Result<Found> count_found(const StoredNames& stored) {
  Found found;
  Result<void> walked = stored.walk(
      [&](std::string_view, const std::string& name) -> Result<void> {
        found.names.add(store::hash_of_name(name));
        return {};
      },
      [&](std::string_view) { ++found.strangers; });
  if (!walked) return std::move(walked).failure();
  return found;
}

// Lists once more and compares, to tell extra files from names that are listed more than once.
Result<uint64_t> find_extras(const supervisor::Job& job, const StoredNames& stored,
                             const Found& found) {
  Result<store::SetDifference> sets = store::SetDifference::create(job.state_fd, found.names.count);
  if (!sets) return std::move(sets).failure();
  Result<void> walked = stored.walk(
      [&](std::string_view, const std::string& name) {
        return sets->add_found(store::hash_of_name(name));
      },
      [](std::string_view) {});
  if (!walked) return std::move(walked).failure();
  Result<void> listed = coordinator::list_names(
      job.coordinator.listing, job.coordinator.filter, UINT64_MAX,
      [&](std::string_view name) { return sets->add_listed(store::hash_of_name(name)); });
  if (!listed) return std::move(listed).failure();
  Result<store::SetDifference::Report> difference = sets->finish();
  if (!difference) return std::move(difference).failure();

  uint64_t shown = 0;
  const std::vector<store::Hash128>& examples = difference->examples;
  walked = stored.walk(
      [&](std::string_view path, const std::string& name) -> Result<void> {
        const store::Hash128 hash = store::hash_of_name(name);
        if (std::binary_search(examples.begin(), examples.end(), hash)) show_extra(path, shown);
        return {};
      },
      [&](std::string_view path) { show_extra(path, shown); });
  if (!walked) return std::move(walked).failure();
  return difference->extra + found.strangers;
}

// Entries on disk that are not listed. The listing of the run suffices when both sets are the same.
Result<uint64_t> count_extras(const supervisor::Job& job, const StoredNames& stored,
                              const Figures& figures) {
  Result<Found> found = count_found(stored);
  if (!found) return std::move(found).failure();
  if (found->strangers == 0 && found->names == names_of(figures)) return uint64_t{0};
  return find_extras(job, stored, *found);
}

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
  if (failures->names != names_of(figures)) return false;
  Result<store::DeadLetters> findings = store::DeadLetters::append_to(job.state_fd, kFindings);
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
void count_damage(const PackedSums& read, supervisor::Report& report) {
  if (read.damages.empty() || report.exit != ExitStatus::complete) return;
  print_error(
      "every listed name is there, but not all of the shards can be read: copies that were "
      "stored later may be lost");
  report.exit = ExitStatus::failures;
}

Result<PackedSums> read_shards(const supervisor::Job& job, const StoredNames& stored,
                               store::MemberTableBuilder* table, const VerifyOptions& options) {
  Progress reading(options.report.progress);
  return sum_shards(job.output_fd, stored.shards(), stored.layout(), job.workers, table, reading);
}

// The same, with a table by which the workers of `job` find each name's member.
struct ReadForWorkers {
  PackedSums shards;
  std::unique_ptr<const store::MemberTable> table;  // the job's workers borrow it
};

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

// Shards are read from end to end, and their names all together compared with the listing's: a look
// for each name would take far longer. Only when they differ are names compared one by one. How
// many entries are not listed.
Result<uint64_t> verify_shards(supervisor::Job& job, const store::LedgerImage& image,
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
    return uint64_t{0};
  show_damage(*read);
  const store::ShardSums& sums = read->sums;
  report.figures.bytes = sums.bytes;
  report.figures.content_low = sums.content.low;
  report.figures.content_high = sums.content.high;
  // A member that is damaged is in no sum: an older one of its name may be there in its stead.
  if (sums.strangers == 0 && read->damages.empty()) {
    if (sums.names == names_of(report.figures)) return uint64_t{0};
    Result<bool> explained = explained_by_failures(job, image, sums.names, report);
    if (!explained) return std::move(explained).failure();
    if (*explained) return uint64_t{0};
  }
  print_error("the shards do not hold what is listed; comparing name by name");
  Result<store::DeadLetters> findings = store::DeadLetters::append_to(job.state_fd, kFindings);
  if (!findings) return std::move(findings).failure();
  Result<uint64_t> extra = compare_names(job, stored, *read, &*findings, options, report);
  count_damage(*read, report);
  return extra;
}

// Fetches each file again and compares it with its member. How many members are not listed.
Result<uint64_t> compare_bodies(supervisor::Job& job, const StoredNames& stored,
                                const VerifyOptions& options, supervisor::Report& report) {
  supervisor::Report before;
  Result<ReadForWorkers> read = read_shards_for_workers(job, stored, options, before);
  if (!read) return std::move(read).failure();
  Progress progress(options.report.progress);
  report = supervisor::supervise(job, progress);
  add_use(report, {before.cpu_seconds, before.peak_rss_bytes}, before.seconds);
  if (report.exit != ExitStatus::complete && report.exit != ExitStatus::failures)
    return uint64_t{0};
  show_damage(read->shards);
  const store::ShardSums& sums = read->shards.sums;
  const bool same = sums.strangers == 0 && sums.names == names_of(report.figures);
  Result<uint64_t> extra = same
                               ? Result<uint64_t>(0)
                               : compare_names(job, stored, read->shards, nullptr, options, report);
  count_damage(read->shards, report);
  return extra;
}

// The job that filled the output folder.
Result<store::LedgerImage> recorded_job(int state_fd, const coordinator::ListingSettings& listing,
                                        const std::string& out, const std::string& state) {
  Result<std::optional<store::LedgerImage>> recorded = store::Ledger::read(state_fd);
  if (!recorded) return std::move(recorded).failure();
  if (!recorded->has_value()) {
    return error(ErrorCode::not_found, "'{}' has no ledger: it was not filled by gigafetch",
                 printable(out));
  }
  store::JobIdentity wanted = (*recorded)->identity;
  wanted.url = listing.origin.canonical();
  wanted.api = listing.api;
  wanted.output = recorded_output(out, state);
  if (const std::string other = difference((*recorded)->identity, wanted); !other.empty()) {
    return error(ErrorCode::exists, "'{}' holds another job: {}", printable(out), other);
  }
  return std::move(**recorded);
}

// Compares the files on disk, together, with what the ledger says was stored. When they differ, a
// second walk finds the pages where. Of a job that is not complete, or of which files are missing,
// nothing can be told.
Result<void> compare_contents(supervisor::Job& job, const store::LedgerImage& image,
                              const StoredNames& stored_names, const VerifyOptions& options,
                              supervisor::Report& report) {
  if (options.content) return {};
  const store::LedgerTotals& stored = image.state.totals();
  const Figures found = report.figures;
  const bool comparable =
      image.state.open().empty() && found.stored == stored.stored && found.listed == stored.listed;
  if (!comparable && report.exit == ExitStatus::complete) {
    print_error(
        "what was stored and what is listed are not the same names: contents were not "
        "compared; --content compares each file");
  }
  if (!comparable || store::Hash128{found.content_low, found.content_high} == stored.content)
    return {};
  print_error("every file is there, but not as it was stored; looking for the pages");
  std::unique_ptr<const store::MemberTable> table;
  if (stored_names.packed()) {
    Result<ReadForWorkers> read = read_shards_for_workers(job, stored_names, options, report);
    if (!read) return std::move(read).failure();
    table = std::move(read->table);
  }
  job.coordinator.locate = true;
  Progress progress(options.report.progress);
  const supervisor::Report located = supervisor::supervise(job, progress);
  if (located.exit != ExitStatus::complete && located.exit != ExitStatus::failures) {
    print_error(located.text);
    report.exit = located.exit;
    return {};
  }
  report.exit = ExitStatus::failures;
  print_error(
      fmt::format("{} bytes were stored, {} are on disk: '{}' in the state folder names the "
                  "pages, if the names on them are still the same; --content compares each file",
                  with_commas(stored.bytes), with_commas(found.bytes), kFindings));
  return {};
}

}  // namespace

Result<Summary> verify(const VerifyOptions& options) {
  Result<coordinator::ListingSettings> listing = listing_settings(options.origin);
  if (!listing) return std::move(listing).failure();
  Result<supervisor::Job> made = make_job(*listing, options.origin, options.worker, options.report);
  if (!made) return std::move(made).failure();
  supervisor::Job& job = made.value();

  Result<UniqueFd> output_fd = store::open_existing_output_folder(options.out);
  if (!output_fd) return std::move(output_fd).failure();
  Result<std::string> state_at = state_path(options.out, options.state);
  if (!state_at) return std::move(state_at).failure();
  if (::access(state_at->c_str(), F_OK) != 0) {
    return error(ErrorCode::not_found,
                 "'{}' has no state folder '{}'; was it filled by gigafetch, and with --state?",
                 printable(options.out), printable(*state_at));
  }
  Result<store::StateFolder> state = store::StateFolder::open_and_lock(*state_at);
  if (!state) return std::move(state).failure();
  Result<store::LedgerImage> image = recorded_job(state->fd(), *listing, options.out, *state_at);
  if (!image) return std::move(image).failure();
  const store::JobIdentity& identity = image->identity;

  job.output_fd = output_fd->get();
  job.state_fd = state->fd();
  job.coordinator.filter = {identity.include, identity.exclude};
  job.coordinator.findings = kFindings;
  job.worker.mode = options.content ? worker::Mode::compare : worker::Mode::check;
  Result<StoredNames> stored = StoredNames::open(job.output_fd, *image);
  if (!stored) return std::move(stored).failure();
  job.worker.layout = stored->layout();
  job.worker.pack = stored->packed();

  Summary summary;
  summary.workers = job.workers;
  supervisor::Report& report = summary.report;
  summary.extra = 0;
  if (stored->packed()) {
    Result<uint64_t> extra = options.content ? compare_bodies(job, *stored, options, report)
                                             : verify_shards(job, *image, *stored, options, report);
    if (!extra) return std::move(extra).failure();
    summary.extra = *extra;
  } else {
    Progress progress(options.report.progress);
    report = supervisor::supervise(job, progress);
  }
  if (report.exit != ExitStatus::complete && report.exit != ExitStatus::failures) {
    summary.extra.reset();
    print_error(report.text);
    return summary;
  }
  const Figures& figures = report.figures;
  // Before anything is listed in this process, which must not fork afterwards.
  if (Result<void> compared = compare_contents(job, *image, *stored, options, report); !compared)
    return std::move(compared).failure();
  if (!stored->packed()) {
    const OwnWork counted(report);
    Result<uint64_t> extra = count_extras(job, *stored, figures);
    if (!extra) return std::move(extra).failure();
    summary.extra = *extra;
  }
  if (figures.failed + figures.rejected > 0) {
    print_error(fmt::format("{} listed names are not stored as they should be; '{}/{}' names them",
                            with_commas(figures.failed + figures.rejected),
                            printable(state->path()), kFindings));
  }
  if (*summary.extra > 0) {
    print_error(fmt::format("{} entries on disk are not listed", with_commas(*summary.extra)));
    report.exit = ExitStatus::failures;
  }
  return summary;
}

ExitStatus verify_command(const VerifyOptions& options) {
  init_log(options.report.log_level, "gigafetch");
  supervisor::exit_on_stop_signals();
  return finish(verify(options), options.report.json);
}

}  // namespace gigafetch::cli
