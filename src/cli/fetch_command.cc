#include <sys/stat.h>

#include "base/escape.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/job.h"
#include "cli/progress.h"
#include "cli/resume_checks.h"
#include "store/coding_log.h"
#include "store/folder_lock.h"
#include "store/job_mark.h"
#include "store/ledger.h"
#include "store/name_rules.h"
#include "store/output_folder.h"
#include "store/room.h"
#include "store/shard_recovery.h"
#include "supervisor/stop_signals.h"

namespace gigafetch::cli {
namespace {

constexpr uint64_t kShardSize = uint64_t{1} << 30;

// The folders of a job, opened and locked.
struct Folders {
  UniqueFd output_fd;
  store::StateFolder state;
  bool resumed = false;  // an earlier run has listed something
  store::NameRules names = {};
};

// `output_fd` is OUT.
Error not_empty(const std::string& out, int output_fd) {
  if (store::mark_in_output(output_fd)) {
    return error(
        ErrorCode::exists,
        "'{}' holds a job whose state folder is elsewhere: give it with --state, or choose "
        "another folder",
        printable(out));
  }
  return error(ErrorCode::exists,
               "'{}' is not empty and was not filled by gigafetch; choose another folder, or use "
               "--force to write into it",
               printable(out));
}

Result<void> begin_ledger(const Folders& folders, const store::JobIdentity& identity) {
  const int state_fd = folders.state.fd(), output_fd = folders.output_fd.get();
  if (Result<void> removed = store::CodingLog::remove(state_fd); !removed) return removed;
  Result<store::Ledger> made = store::Ledger::create(state_fd, identity, output_fd);
  if (!made) return std::move(made).failure();
  return store::write_marks(state_fd, output_fd, made->job_id());
}

std::string_view cause_of(store::Distrust distrust) {
  switch (distrust) {
    case store::Distrust::none:
      break;
    case store::Distrust::reboot:
      return "the host was started anew since the last run";
    case store::Distrust::remount:
      return "the file system of the output folder was mounted anew since the last run";
    case store::Distrust::io_error:
      return "the device of the output folder failed in the last run";
    case store::Distrust::copied:
      return "the output folder or the state folder is a copy";
  }
  return "";
}

// Says what of the ledger does not count, if anything. A torn end is cut by the coordinator. What
// was whole once is cut here: what was asked for is known here, and so is what became of the
// folders, before this run makes them its own.
Result<void> continue_ledger(const Folders& folders, const store::LedgerImage& image,
                             const FetchOptions& options) {
  const bool is_distrusted = image.distrust != store::Distrust::none;
  if (image.repaired) {
    print_error(
        fmt::format("the ledger was damaged at byte {} and is cut there; the {} or more "
                    "files that were recorded behind it are fetched again",
                    image.size, with_commas(image.lost_files)));
  } else if (is_distrusted && image.lost_files > 0) {
    print_error(fmt::format("{}; {} files that had not been synced are fetched again",
                            cause_of(image.distrust), with_commas(image.lost_files)));
  }
  if (!image.repaired && !is_distrusted) return {};
  Result<std::optional<store::Ledger>> opened =
      store::Ledger::open(folders.state.fd(), options.repair, folders.output_fd.get());
  return opened ? Result<void>() : Result<void>(std::move(opened).failure());
}

// Shards of another job would be taken for this one's.
Result<void> check_for_shards(int output_fd, const FetchOptions& options) {
  if (options.sink != "tar") return {};
  Result<bool> there = store::has_shards(output_fd);
  if (!there) return std::move(there).failure();
  if (!*there) return {};
  return error(ErrorCode::exists,
               "'{}' holds shards (worker-*.tar) of another job; move them away, or choose another "
               "folder",
               printable(options.out));
}

// Whether a ledger that cannot be read is of the job whose files are in OUT.
bool is_of_damaged_job(const Folders& folders, const std::string& state_at,
                       const std::string& out) {
  if (recorded_output(out, state_at).empty()) return true;  // it lies in OUT
  const std::optional<uint64_t> mark = store::mark_in_state(folders.state.fd());
  return mark && mark == store::mark_in_output(folders.output_fd.get());
}

// Opens OUT and its state folder, and sees that they are free for this job.
Result<Folders> open_folders(const FetchOptions& options, const std::string& state_at,
                             store::JobIdentity identity) {
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
  if (fresh && !*empty && !options.force) return not_empty(options.out, output_fd->get());

  Result<store::StateFolder> state = store::StateFolder::open_and_lock(state_at);
  if (!state) return std::move(state).failure();
  // A run with another state folder, or with one that was removed under it, may be at work there.
  Result<void> locked = store::lock_folder(output_fd->get(), -1, printable(options.out));
  if (!locked) return std::move(locked).failure();
  Result<std::optional<store::LedgerImage>> recorded =
      store::Ledger::read(state->fd(), options.repair, output_fd->get());
  if (!recorded && !options.restart) return std::move(recorded).failure();
  const bool known = recorded && recorded->has_value();
  const bool of_other_folder = known && (*recorded)->identity.output != identity.output;
  if ((of_other_folder || (recorded && !known)) && !*empty && !options.force) {
    return not_empty(options.out, output_fd->get());
  }
  store::NameRules names;
  if (options.sink == "files") {
    Result<store::NameRules> probed = store::probe_names(output_fd->get());
    if (!probed) return std::move(probed).failure();
    names = *probed;
    identity.names = encode_rules(names);
  }
  const std::string other = known ? difference((*recorded)->identity, identity) : "";
  // As long as nothing is stored, a command that was mistyped may be put right.
  const bool settled = of_other_folder || !*empty;
  if (!other.empty() && settled && !options.restart) {
    return error(ErrorCode::exists,
                 "'{}' holds another job: {}; choose another folder, or use --restart to forget "
                 "that job",
                 printable(of_other_folder ? state->path() : options.out), other);
  }
  Folders folders{std::move(output_fd).value(), std::move(state).value()};
  const bool anew = !known || !other.empty() || options.restart;
  // The shards of the job that is forgotten go with it, and only those.
  const bool had_shards = known ? !of_other_folder && (*recorded)->identity.sink == "tar"
                                : !recorded && is_of_damaged_job(folders, state_at, options.out);
  const bool drops_shards = options.restart && had_shards;
  if (anew && !drops_shards) {
    Result<void> free = check_for_shards(folders.output_fd.get(), options);
    if (!free) return std::move(free).failure();
  }
  if (!anew) {
    const ResumedFolders resumed{folders.output_fd.get(), folders.state.fd(), options.out,
                                 folders.state.path(), *empty};
    if (Result<void> same = check_resumed(resumed, **recorded, options.repair); !same) {
      return std::move(same).failure();
    }
  }
  Result<void> ready =
      anew ? begin_ledger(folders, identity) : continue_ledger(folders, **recorded, options);
  // Not before: a ledger must not speak of shards that are gone.
  if (ready && drops_shards) ready = store::remove_shards(folders.output_fd.get());
  if (!ready) return std::move(ready).failure();
  folders.names = std::move(names);
  store::mark_cache(folders.output_fd.get());
  folders.resumed = !anew && (*recorded)->state.next_page() > 0;
  return folders;
}

coordinator::Durability durability_of(const std::string& level) {
  if (level == "process") return coordinator::Durability::process;
  return level == "file" ? coordinator::Durability::file : coordinator::Durability::batch;
}

// Says which codings are stored, if any.
void tell_codings(const store::StateFolder& state) {
  const Result<std::map<std::string, uint64_t>> counts = store::CodingLog::count(state.fd());
  if (!counts) return print_error(counts.failure().text);
  if (counts.value().empty()) return;
  std::string list;
  for (const auto& [coding, files] : counts.value())
    list += fmt::format("{}{} {}", list.empty() ? "" : ", ", printable(coding), with_commas(files));
  print_error(
      fmt::format("files are stored in the content coding in which they were sent: {}; "
                  "'{}/encodings.jsonl' names them",
                  list, printable(state.path())));
}

// Says how a run ended that did not store everything.
void explain(const Summary& summary, const std::string& state) {
  const supervisor::Report& report = summary.report;
  const bool had_nothing_to_do = summary.resumed && report.figures.requests == 0;
  switch (report.exit) {
    case ExitStatus::complete:
      if (had_nothing_to_do) print_error("nothing was left to do: every file is stored");
      return;
    case ExitStatus::failures:
      return print_error(fmt::format("{}some files failed; '{}/failed.jsonl' names them{}",
                                     had_nothing_to_do ? "nothing was left to do; " : "",
                                     printable(state),
                                     had_nothing_to_do ? ", --retry-failed tries them again" : ""));
    case ExitStatus::interrupted:
      return print_error(report.text + "; run the same command again to finish");
    case ExitStatus::fatal:
    case ExitStatus::usage:
      return print_error(report.text);
  }
}

}  // namespace

Result<Summary> fetch(const FetchOptions& options) {
  if (options.zstd > 0 && options.sink != "tar") {
    return error(ErrorCode::usage, "--zstd compresses archives: it needs --sink tar");
  }
  if (options.shard_size && options.sink != "tar") {
    return error(ErrorCode::usage, "--shard-size is that of archives: it needs --sink tar");
  }
  Result<coordinator::ListingSettings> listing = listing_settings(options.origin);
  if (!listing) return std::move(listing).failure();
  Result<supervisor::Job> made = make_job(*listing, options.origin, options.worker, options.report);
  if (!made) return std::move(made).failure();
  supervisor::Job& job = made.value();
  job.coordinator.filter = filter_of(options.filter);
  job.coordinator.limit = options.filter.limit.value_or(UINT64_MAX);
  job.worker.layout = store::layout_of(options.layout).value_or(store::Layout::tree);
  job.worker.pack = job.coordinator.pack = options.sink == "tar";
  job.worker.shard_size = options.shard_size.value_or(kShardSize);
  job.worker.zstd_level = options.zstd;
  job.worker.sync_files = options.durability == "file";
  job.coordinator.durability = durability_of(options.durability);
  job.coordinator.retry_failed = options.retry_failed;
  job.worker.body.max_file_size = options.max_file_size.value_or(UINT64_MAX);
  job.worker.body.content_encoding = worker::content_encoding_of(options.content_encoding)
                                         .value_or(worker::ContentEncoding::refuse);
  job.worker.sync_codings = options.durability != "process";

  Result<std::string> state_at = state_path(options.out, options.state);
  if (!state_at) return std::move(state_at).failure();
  const store::JobIdentity identity{listing->origin.canonical(),
                                    options.origin.api,
                                    options.sink,
                                    options.layout,
                                    options.filter.include,
                                    options.filter.exclude,
                                    recorded_output(options.out, *state_at),
                                    {},  // what names are is known when OUT is open
                                    options.content_encoding};
  Result<Folders> folders = open_folders(options, *state_at, identity);
  if (!folders) return std::move(folders).failure();
  job.output_fd = folders->output_fd.get();
  job.state_fd = folders->state.fd();
  job.worker.names = folders->names;
  if (const std::string said = describe(folders->names); !said.empty()) print_error(said);
  job.worker.min_free = options.min_free.value_or(store::Room::usual_line(job.output_fd));

  Summary summary;
  summary.workers = job.workers;
  {
    Progress progress(options.report.progress);
    summary.report = supervisor::supervise(job, progress);
  }
  summary.resumed = folders->resumed;
  tell_codings(folders->state);
  explain(summary, folders->state.path());
  return summary;
}

ExitStatus fetch_command(const FetchOptions& options) {
  init_log(options.report.log_level, "gigafetch");
  supervisor::exit_on_stop_signals();
  return finish(fetch(options), options.report.json);
}

}  // namespace gigafetch::cli
