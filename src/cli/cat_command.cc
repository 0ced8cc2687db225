#include "base/escape.h"
#include "cli/commands.h"
#include "cli/job.h"
#include "cli/summary.h"
#include "store/ledger.h"
#include "store/output_folder.h"
#include "store/state_folder.h"
#include "store/stored_bodies.h"
#include "supervisor/stop_signals.h"

namespace gigafetch::cli {
namespace {

// Without the lock: a job that runs may be looked at.
Result<store::LedgerImage> read_ledger(const CatOptions& options, int output_fd) {
  Result<std::string> state_at = state_path(options.out, options.state);
  if (!state_at) return std::move(state_at).failure();
  Result<UniqueFd> state = store::open_existing_output_folder(*state_at);
  if (!state) {
    return error(ErrorCode::not_found,
                 "'{}' has no state folder '{}'; was it filled by gigafetch, and with --state?",
                 printable(options.out), printable(*state_at));
  }
  Result<std::optional<store::LedgerImage>> image =
      store::Ledger::read(state->get(), false, output_fd);
  if (!image) return std::move(image).failure();
  if (image->has_value()) return std::move(**image);
  return error(ErrorCode::not_found,
               "'{}' has no ledger; was it filled by gigafetch, and with --state?",
               printable(options.out));
}

Result<void> print(store::StoredBodies& stored, const std::string& name) {
  std::unique_ptr<store::BodyReader> reader;
  store::StoreStatus status = stored.open(name, reader);
  std::string_view piece;
  while (status.ok() && (status = reader->read(piece)).ok() && !piece.empty()) {
    if (Result<void> printed = print_output(piece); !printed) return printed;
  }
  if (status.ok()) return {};
  if (status.cause() == FailureClass::missing) {
    return error(ErrorCode::not_found, "'{}' is not stored there", printable(name));
  }
  return error(ErrorCode::io, "cannot read '{}': {}", printable(name), status.text());
}

Result<void> cat(const CatOptions& options) {
  Result<UniqueFd> output = store::open_existing_output_folder(options.out);
  if (!output) return std::move(output).failure();
  Result<store::LedgerImage> image = read_ledger(options, output->get());
  if (!image) return std::move(image).failure();
  Result<std::unique_ptr<store::StoredBodies>> stored = store::open_stored(output->get(), *image);
  if (!stored) return std::move(stored).failure();
  Result<void> printed = print(**stored, options.name);
  // A file is written where it stays, and the ledger has pages, not names: that of a batch under
  // way looks like any other. Members of shards are only read as far as the ledger says.
  if (printed && image->identity.sink != "tar" && !image->state.all_settled()) {
    print_error(
        fmt::format("the job is not finished: '{}' may not be whole yet, if it is among "
                    "the files that were on their way last",
                    printable(options.name)));
  }
  return printed;
}

}  // namespace

ExitStatus cat_command(const CatOptions& options) {
  init_log(LogLevel::warning, "gigafetch");
  supervisor::exit_on_stop_signals();
  const Result<void> printed = cat(options);
  return printed ? ExitStatus::complete : finish(printed.failure());
}

}  // namespace gigafetch::cli
