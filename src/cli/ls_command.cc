#include <unistd.h>

#include <cstdio>

#include "base/escape.h"
#include "cli/commands.h"
#include "cli/job.h"
#include "cli/summary.h"
#include "coordinator/list_names.h"
#include "supervisor/stop_signals.h"

namespace gigafetch::cli {

ExitStatus ls_command(const ListOptions& options) {
  init_log(options.report.log_level, "gigafetch");
  supervisor::exit_on_stop_signals();
  Result<coordinator::ListingSettings> settings = listing_settings(options.origin);
  if (!settings) return finish(settings.failure());
  // A terminal must be kept from whatever a name holds; a pipe gets the name as it is, but for what
  // would break the line.
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  std::string line;
  bool reader_gone = false;
  const auto cannot_write = [&]() -> Error {
    reader_gone = errno == EPIPE;
    return errno_error(errno, "cannot write to standard output");
  };
  const auto print_name = [&](std::string_view name) -> Result<void> {
    line.clear();
    if (terminal) {
      line = printable(name, SIZE_MAX);
    } else {
      append_line_safe(line, name);
    }
    line += '\n';
    if (std::fwrite(line.data(), 1, line.size(), stdout) == line.size()) return {};
    return cannot_write();
  };
  Result<void> listed = coordinator::list_names(
      *settings, filter_of(options.filter), options.filter.limit.value_or(UINT64_MAX), print_name);
  if (std::fflush(stdout) != 0 && listed) {
    listed = cannot_write();
  }
  // Whoever read the names has seen enough of them.
  if (!listed && reader_gone) return ExitStatus::interrupted;
  return listed ? ExitStatus::complete : finish(listed.failure());
}

}  // namespace gigafetch::cli
