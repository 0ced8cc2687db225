#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "base/standard_error.h"
#include "cli/summary.h"

namespace gigafetch::cli {
namespace {

constexpr double kTerminalPeriod = 0.25;
constexpr double kPlainPeriod = 5;
constexpr double kQuietPeriod = 30;  // automatic, not on a terminal: for logs
constexpr double kJsonPeriod = 1;

}  // namespace

Progress::Progress(ProgressMode mode) : mode_(mode) {
  switch (mode) {
    case ProgressMode::automatic:
      overwrites_ = ::isatty(STDERR_FILENO) == 1;
      period_ = overwrites_ ? kTerminalPeriod : kQuietPeriod;
      break;
    case ProgressMode::plain:
      period_ = kPlainPeriod;
      break;
    case ProgressMode::json:
      period_ = kJsonPeriod;
      break;
    case ProgressMode::none:
      break;
  }
  next_ = period_;
}

Progress::~Progress() {
  if (line_open_) standard_error::show("\n");
}

void Progress::on_figures(const Figures& figures, double seconds) {
  if (mode_ == ProgressMode::none || seconds < next_) return;
  next_ = seconds + period_;
  const double span = seconds - last_seconds_;
  // A coordinator that was started anew may know of less than the one before had said.
  const uint64_t more = figures.fetched - std::min(figures.fetched, last_fetched_);
  const double pace = span > 0 ? static_cast<double>(more) / span : 0;
  last_seconds_ = seconds;
  last_fetched_ = figures.fetched;
  if (mode_ == ProgressMode::json) {
    standard_error::write(fmt::format(
        "{{\"seconds\":{:.1f},\"listed\":{},\"stored\":{},\"failed\":{},\"rejected\":{},"
        "\"bytes\":{},\"files_per_second\":{:.0f}}}\n",
        seconds, figures.listed, figures.stored, figures.failed, figures.rejected, figures.bytes,
        pace));
    return;
  }
  std::string line =
      fmt::format("{}  {} stored of {} listed  {} files/s  {}", as_duration(seconds),
                  with_commas(figures.stored), with_commas(figures.listed),
                  with_commas(static_cast<uint64_t>(std::llround(pace))), with_unit(figures.bytes));
  const uint64_t failed = figures.failed + figures.rejected;
  if (failed > 0) line += fmt::format("  {} failed", with_commas(failed));
  if (overwrites_) {
    standard_error::show(fmt::format("\r{}\033[K", line));
    line_open_ = true;
  } else {
    standard_error::write(line + "\n");
  }
}

}  // namespace gigafetch::cli
