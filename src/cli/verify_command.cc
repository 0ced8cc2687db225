#include <unistd.h>

#include "base/escape.h"
#include "cli/commands.h"
#include "cli/extra_files.h"
#include "cli/fetch.h"
#include "cli/job.h"
#include "cli/own_work.h"
#include "cli/progress.h"
#include "cli/stored_names.h"
#include "cli/verify_shards.h"
#include "store/ledger.h"
#include "store/name_rules.h"
#include "store/output_folder.h"
#include "supervisor/stop_signals.h"

namespace gigafetch::cli {
namespace {

constexpr char kFindings[] = "verify.jsonl";

// The job that filled the output folder.
Result<store::LedgerImage> recorded_job(int state_fd, int output_fd,
                                        const coordinator::ListingSettings& listing,
                                        const std::string& out, const std::string& state) {
  Result<std::optional<store::LedgerImage>> recorded =
      store::Ledger::read(state_fd, false, output_fd);
  if (!recorded) return std::move(recorded).failure();
  if (!recorded->has_value()) {
    return error(ErrorCode::not_found,
                 "'{}' has no ledger; was it filled by gigafetch, and with --state?",
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

// The last word on what was found, after what led to it.
void tell(const Figures& figures, const ShardFindings& found, const std::string& state) {
  const uint64_t lost = figures.failed + figures.rejected;
  if (lost > 0) {
    print_error(fmt::format("{} listed names are not stored as they should be; '{}/{}' names them",
                            with_commas(lost), printable(state), kFindings));
  }
  if (found.extra > 0)
    print_error(fmt::format("{} entries on disk are not listed", with_commas(found.extra)));
  if (!found.damaged) return;
  print_error(lost > 0
                  ? "not all of the shards can be read: the listed names that this has cost are "
                    "among those, and copies that were stored later may be lost"
                  : "every listed name is there, but not all of the shards can be read: copies "
                    "that were stored later may be lost");
}

Result<Summary> compare(supervisor::Job& job, const store::LedgerImage& image,
                        const StoredNames& stored, const std::string& state,
                        const VerifyOptions& options) {
  Summary summary;
  summary.workers = job.workers;
  supervisor::Report& report = summary.report;
  ShardFindings found;
  if (stored.packed()) {
    Result<ShardFindings> shards = options.content
                                       ? compare_bodies(job, stored, options, report)
                                       : verify_shards(job, image, stored, options, report);
    if (!shards) return std::move(shards).failure();
    found = *shards;
  } else {
    Progress progress(options.report.progress);
    report = supervisor::supervise(job, progress);
  }
  if (report.exit != ExitStatus::complete && report.exit != ExitStatus::failures) {
    print_error(report.text);
    return summary;
  }
  const Figures& figures = report.figures;
  // Before anything is listed in this process, which must not fork afterwards.
  if (Result<void> compared = compare_contents(job, image, stored, options, report); !compared)
    return std::move(compared).failure();
  if (!stored.packed()) {
    const OwnWork counted(report);
    Result<uint64_t> extra = count_extra_files(job, stored, figures);
    if (!extra) return std::move(extra).failure();
    found.extra = *extra;
  }
  summary.extra = found.extra;
  if (found.extra > 0 && report.exit == ExitStatus::complete) report.exit = ExitStatus::failures;
  tell(figures, found, state);
  return summary;
}

// What to do about a full disk: all that verify writes is in the state folder.
Error with_advice(Error failure, const std::string& state) {
  if (failure.code == ErrorCode::no_space) {
    failure.text += fmt::format(
        "; what is stored was not touched: verify again when there is room in '{}', up to 70 bytes "
        "and the name for each file",
        printable(state));
  }
  return failure;
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
  Result<store::LedgerImage> image =
      recorded_job(state->fd(), output_fd->get(), *listing, options.out, *state_at);
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
  job.worker.body.content_encoding = worker::content_encoding_of(identity.content_encoding)
                                         .value_or(worker::ContentEncoding::refuse);
  job.worker.pack = stored->packed();
  job.worker.names = store::rules_for_reading(job.output_fd, identity);

  Result<Summary> summary = compare(job, *image, *stored, state->path(), options);
  if (!summary) return with_advice(std::move(summary).failure(), state->path());
  return summary;
}

ExitStatus verify_command(const VerifyOptions& options) {
  init_log(options.report.log_level, "gigafetch");
  supervisor::exit_on_stop_signals();
  return finish(verify(options), options.report.json);
}

}  // namespace gigafetch::cli
