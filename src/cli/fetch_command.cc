#include <sys/stat.h>

#include "base/escape.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/job.h"
#include "cli/own_work.h"
#include "cli/progress.h"
#include "store/output_folder.h"
#include "supervisor/stop_signals.h"

namespace gigafetch::cli {
namespace {

// The folders of a job, opened and locked.
struct Folders {
  UniqueFd output_fd;
  store::StateFolder state;
};

Error not_empty(const std::string& out) {
  return error(ErrorCode::exists,
               "'{}' is not empty and was not filled by gigafetch; choose another folder, or use "
               "--force to write into it",
               printable(out));
}

// Opens OUT and its state folder, and sees that they are free for this job.
Result<Folders> open_folders(const FetchOptions& options, const std::string& state_at,
                             const store::JobIdentity& identity) {
  Result<UniqueFd> output_fd = store::open_output_folder(options.out);
  if (!output_fd) return std::move(output_fd).failure();
  if (Result<void> usable = store::check_kernel(output_fd->get()); !usable) {
    return std::move(usable).failure();
  }
  Result<bool> empty = store::is_empty_output(output_fd->get());
  if (!empty) return std::move(empty).failure();
  // Before anything is made in a folder that may be somebody else's.
  struct stat there;
  const bool fresh = ::lstat(state_at.c_str(), &there) != 0;
  if (fresh && !*empty && !options.force) return not_empty(options.out);

  Result<store::StateFolder> state = store::StateFolder::open_and_lock(state_at);
  if (!state) return std::move(state).failure();
  Result<std::optional<store::JobIdentity>> recorded = store::read_ledger(state->fd());
  if (!recorded && !options.restart) return std::move(recorded).failure();
  const bool known = recorded && recorded->has_value();
  const bool of_other_folder = known && (*recorded)->output != identity.output;
  if ((of_other_folder || (recorded && !known)) && !*empty && !options.force) {
    return not_empty(options.out);
  }
  const std::string other = known ? difference(**recorded, identity) : "";
  // As long as nothing is stored, a command that was mistyped may be put right.
  const bool settled = of_other_folder || !*empty;
  if (!other.empty() && settled && !options.restart) {
    return error(ErrorCode::exists,
                 "'{}' holds another job: {}; choose another folder, or use --restart to forget "
                 "that job",
                 printable(of_other_folder ? state->path() : options.out), other);
  }
  if (!known || !other.empty() || options.restart) {
    if (Result<void> written = store::write_ledger(state->fd(), identity); !written) {
      return std::move(written).failure();
    }
  }
  return Folders{std::move(output_fd).value(), std::move(state).value()};
}

bool is_finished(ExitStatus exit) {
  return exit == ExitStatus::complete || exit == ExitStatus::failures;
}

// Says how a run ended that did not store everything.
void explain(const supervisor::Report& report, const std::string& state) {
  switch (report.exit) {
    case ExitStatus::complete:
      return;
    case ExitStatus::failures:
      return print_error(
          fmt::format("some files failed; '{}/failed.jsonl' names them", printable(state)));
    case ExitStatus::interrupted:
      return print_error(report.text + "; run the same command again to finish");
    case ExitStatus::fatal:
    case ExitStatus::usage:
      return print_error(report.text);
  }
}

}  // namespace

Result<Summary> fetch(const FetchOptions& options) {
  Result<coordinator::ListingSettings> listing = listing_settings(options.origin);
  if (!listing) return std::move(listing).failure();
  Result<supervisor::Job> made = make_job(*listing, options.origin, options.worker, options.report);
  if (!made) return std::move(made).failure();
  supervisor::Job& job = made.value();
  job.coordinator.filter = filter_of(options.filter);
  job.coordinator.limit = options.filter.limit.value_or(UINT64_MAX);
  job.worker.layout = store::layout_of(options.layout).value_or(store::Layout::tree);
  job.worker.sync_files = options.durability == "file";
  job.worker.max_file_size = options.max_file_size.value_or(UINT64_MAX);

  Result<std::string> state_at = state_path(options.out, options.state);
  if (!state_at) return std::move(state_at).failure();
  const store::JobIdentity identity{listing->origin.canonical(),
                                    options.origin.api,
                                    options.sink,
                                    options.layout,
                                    options.filter.include,
                                    options.filter.exclude,
                                    recorded_output(options.out, *state_at)};
  Result<Folders> folders = open_folders(options, *state_at, identity);
  if (!folders) return std::move(folders).failure();
  job.output_fd = folders->output_fd.get();
  job.state_fd = folders->state.fd();

  Summary summary;
  summary.workers = job.workers;
  {
    Progress progress(options.report.progress);
    summary.report = supervisor::supervise(job, progress);
  }
  if (options.durability != "process" && is_finished(summary.report.exit)) {
    const OwnWork counted(summary.report);
    const supervisor::StopSignalsIgnored undisturbed;
    if (Result<void> synced = store::sync_output(job.output_fd, options.out); !synced) {
      summary.report.exit = ExitStatus::fatal;
      summary.report.text = synced.failure().text + "; what was written may be lost";
    }
  }
  explain(summary.report, folders->state.path());
  return summary;
}

ExitStatus fetch_command(const FetchOptions& options) {
  init_log(options.report.log_level, "gigafetch");
  supervisor::exit_on_stop_signals();
  return finish(fetch(options), options.report.json);
}

}  // namespace gigafetch::cli
