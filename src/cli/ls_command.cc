#include <unistd.h>

#include "base/escape.h"
#include "cli/commands.h"
#include "cli/job.h"
#include "cli/summary.h"
#include "coordinator/list_names.h"
#include "supervisor/stop_signals.h"

namespace gigafetch::cli {
namespace {

constexpr size_t kOutputBytes = 16 * 1024;

}  // namespace

ExitStatus ls_command(const ListOptions& options) {
  init_log(options.report.log_level, "gigafetch");
  supervisor::exit_on_stop_signals();
  Result<coordinator::ListingSettings> settings = listing_settings(options.origin);
  if (!settings) return finish(settings.failure());
  // A terminal must be kept from whatever a name holds; a pipe gets the name as it is, but for what
  // would break the line.
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  std::string lines;
  const auto write = [&]() -> Result<void> {
    Result<void> printed = print_output(lines);
    lines.clear();
    return printed;
  };
  const auto print_name = [&](std::string_view name) -> Result<void> {
    if (terminal) {
      lines += printable(name, SIZE_MAX);
    } else {
      append_line_safe(lines, name);
    }
    lines += '\n';
    return terminal || lines.size() >= kOutputBytes ? write() : Result<void>();
  };
  Result<void> listed = coordinator::list_names(
      *settings, filter_of(options.filter), options.filter.limit.value_or(UINT64_MAX), print_name);
  // Also what was listed before the listing failed.
  if (Result<void> written = write(); listed && !written) listed = std::move(written);
  return listed ? ExitStatus::complete : finish(listed.failure());
}

}  // namespace gigafetch::cli
