#include <unistd.h>

#include <cstdio>

#include "base/escape.h"
#include "cli/commands.h"
#include "cli/job.h"
#include "cli/summary.h"
#include "coordinator/list_names.h"

namespace gigafetch::cli {

ExitStatus ls_command(const ListOptions& options) {
  init_log(options.report.log_level, "gigafetch");
  Result<coordinator::ListingSettings> settings = listing_settings(options.origin);
  if (!settings) return finish(settings.failure());
  // A terminal must be kept from whatever a name holds; a pipe gets the name as it is, but for what
  // would break the line.
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  std::string line;
  const auto print_name = [&](std::string_view name) -> Result<void> {
    line.clear();
    if (terminal) {
      line = printable(name, SIZE_MAX);
    } else {
      append_line_safe(line, name);
    }
    line += '\n';
    if (std::fwrite(line.data(), 1, line.size(), stdout) == line.size()) return {};
    return errno_error(errno, "cannot write to standard output");
  };
  Result<void> listed = coordinator::list_names(
      *settings, filter_of(options.filter), options.filter.limit.value_or(UINT64_MAX), print_name);
  if (std::fflush(stdout) != 0 && listed) {
    listed = errno_error(errno, "cannot write to standard output");
  }
  return listed ? ExitStatus::complete : finish(listed.failure());
}

}  // namespace gigafetch::cli
