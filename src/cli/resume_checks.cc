#include "cli/resume_checks.h"

#include "base/escape.h"
#include "cli/stored_names.h"
#include "cli/summary.h"
#include "store/job_mark.h"
#include "store/own_files.h"
#include "store/shard_recovery.h"

namespace gigafetch::cli {
namespace {

// In what way the folders are not those that were left; empty when they are.
std::string doubt_of_folders(const ResumedFolders& folders, const store::LedgerImage& image) {
  const std::optional<uint64_t> mark = store::mark_in_output(folders.output_fd);
  // Format 3 knew no marks; what is in the folder is all there is to go by.
  const bool knows_marks = image.last_run.state.known();
  if (mark != image.job_id && (mark || knows_marks)) {
    return fmt::format(
        "'{}' does not have the mark of this job (.gigafetch/job){}: mount the volume that it is "
        "on, or put the folder back; --repair accepts it if it holds as many files as are recorded",
        printable(folders.output), mark ? ", but that of another" : "");
  }
  if (image.distrust == store::Distrust::copied) {
    return fmt::format(
        "'{}' or its state folder '{}' is a copy, or has been put back: what has become of the "
        "original since is not known here. Use the original, or put its folders in their place "
        "with mv; --repair accepts the copy if it holds as many files as are recorded",
        printable(folders.output), printable(folders.state));
  }
  return {};
}

// Whether there are as many files as are recorded.
Result<void> count_stored(const ResumedFolders& folders, const store::LedgerImage& image) {
  Result<StoredNames> stored = StoredNames::open(folders.output_fd, image);
  if (!stored) return std::move(stored).failure();
  uint64_t found = 0, wanted = image.state.totals().stored;
  if (stored->packed()) {
    const store::ShardEnds& ends = image.state.shards();
    found = stored->shards().size();
    wanted = ends.finished_count();
    for (const auto& [id, end] : ends.open())
      wanted += end > 0 ? 1 : 0;
  } else {
    Result<void> walked = stored->walk(
        [&](std::string_view, const std::string&) {
          ++found;
          return Result<void>();
        },
        [](std::string_view) {});
    if (!walked) return walked;
  }
  if (found >= wanted) return {};
  return error(ErrorCode::exists,
               "'{}' holds {} {}, and {} are recorded: it is not whole. Copy it again, or use "
               "--restart to fetch everything again",
               printable(folders.output), with_commas(found), stored->packed() ? "shards" : "files",
               with_commas(wanted));
}

// Finished shards may be moved away, but for the operator to say so when none is left.
Result<void> check_not_emptied(const ResumedFolders& folders, const store::LedgerImage& image,
                               bool repair) {
  if (image.state.totals().stored == 0) return {};
  const std::string shown = printable(folders.output);
  if (image.identity.sink != "tar") {
    if (!folders.output_is_empty) return {};
    return error(ErrorCode::exists,
                 "'{}' is empty, and {} files are recorded as stored in it: mount the volume that "
                 "they are on, or put them back; --restart fetches everything again",
                 shown, with_commas(image.state.totals().stored));
  }
  Result<bool> shards = store::has_shards(folders.output_fd);
  if (!shards) return std::move(shards).failure();
  if (*shards || repair) return {};
  return error(
      ErrorCode::exists,
      "'{}' holds none of the job's shards (worker-*.tar, .idx): mount the volume that they "
      "are on, or put them back; --repair goes on without them, if they were moved away on "
      "purpose; --restart fetches everything again",
      shown);
}

Result<void> check_links(const ResumedFolders& folders, bool repair) {
  Result<std::optional<std::string>> shared = store::shared_file(folders.state_fd);
  if (!shared) return std::move(shared).failure();
  if (!*shared) return {};
  if (repair) return store::unshare_files(folders.state_fd);
  return error(ErrorCode::exists,
               "the file '{}' in '{}' has another link (a copy made with cp -l?), through which it "
               "could be changed: --repair gives this folder a file of its own, if this is the "
               "folder that the job was left in",
               **shared, printable(folders.state));
}

}  // namespace

Result<void> check_resumed(const ResumedFolders& folders, const store::LedgerImage& image,
                           bool repair) {
  if (image.state.next_page() > 0) {
    if (Result<void> there = check_not_emptied(folders, image, repair); !there) return there;
    const std::string doubt = doubt_of_folders(folders, image);
    if (!doubt.empty()) {
      if (!repair) {
        return error(ErrorCode::exists, "{}; --restart fetches everything again", doubt);
      }
      if (Result<void> counted = count_stored(folders, image); !counted) return counted;
      print_error(
          fmt::format("'{}' is accepted as the job's folder, for it holds as many files as are "
                      "recorded; verify tells whether they are the right ones",
                      printable(folders.output)));
    }
  }
  if (Result<void> own = check_links(folders, repair); !own) return own;
  return store::write_marks(folders.state_fd, folders.output_fd, image.job_id);
}

}  // namespace gigafetch::cli
