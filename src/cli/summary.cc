#include "cli/summary.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <iterator>

#include "base/io.h"
#include "base/standard_error.h"

namespace gigafetch::cli {
namespace {

// For the summary of a run that was stopped.
constexpr Millis kStoppedPatience{500};

double per_second(const supervisor::Report& report) {
  return report.seconds > 0 ? static_cast<double>(report.figures.fetched) / report.seconds : 0;
}

double cpu_us_per_file(const supervisor::Report& report) {
  if (report.figures.fetched == 0) return 0;
  return report.cpu_seconds * 1e6 / static_cast<double>(report.figures.fetched);
}

}  // namespace

std::string with_commas(uint64_t number) {
  std::string digits = std::to_string(number);
  for (size_t at = digits.size(); at > 3; at -= 3)
    digits.insert(at - 3, 1, ',');
  return digits;
}

std::string with_unit(uint64_t bytes) {
  constexpr std::array<const char*, 6> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  constexpr double kRoundsUp = 1024 - 0.05;  // would be shown as 1024.0
  if (bytes < 1024) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= kRoundsUp && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string as_duration(double seconds) {
  if (seconds < 60 - 0.05) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<uint64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  if (whole < 48 * 3600) return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
  return fmt::format("{:.1f} days", seconds / 86'400);
}

std::string summary_json(const Summary& summary) {
  const supervisor::Report& report = summary.report;
  const Figures& figures = report.figures;
  std::string out = fmt::format(
      "{{\"listed\":{},\"stored\":{},\"failed\":{},\"rejected\":{},\"duplicates\":{},"
      "\"filtered\":{},\"bytes\":{},\"pages\":{},\"requests\":{},\"retries\":{},\"workers\":{},"
      "\"resumed\":{},\"seconds\":{:.3f},\"files_per_second\":{:.1f},\"cpu_seconds\":{:.3f},"
      "\"cpu_us_per_file\":{:.3f},\"peak_rss_bytes\":{},\"listing_bound\":{:.4f}",
      figures.listed, figures.stored, figures.failed, figures.rejected, figures.duplicates,
      figures.filtered, figures.bytes, figures.pages, figures.requests, figures.retries,
      summary.workers, summary.resumed, report.seconds, per_second(report), report.cpu_seconds,
      cpu_us_per_file(report), report.peak_rss_bytes, figures.listing_bound);
  if (summary.extra) fmt::format_to(std::back_inserter(out), ",\"extra\":{}", *summary.extra);
  fmt::format_to(std::back_inserter(out), ",\"exit\":{}}}", static_cast<int>(report.exit));
  return out;
}

std::string summary_text(const Summary& summary) {
  const supervisor::Report& report = summary.report;
  const Figures& figures = report.figures;
  std::string out = fmt::format("listed {}: stored {}, failed {}, rejected {}, duplicates {}",
                                with_commas(figures.listed), with_commas(figures.stored),
                                with_commas(figures.failed), with_commas(figures.rejected),
                                with_commas(figures.duplicates));
  if (figures.filtered > 0) out += fmt::format("; filtered {}", with_commas(figures.filtered));
  if (summary.extra) out += fmt::format("; extra on disk {}", with_commas(*summary.extra));
  out += fmt::format("\n{} in {}: {} files/s, {} worker{}\n", with_unit(figures.bytes),
                     as_duration(report.seconds),
                     with_commas(static_cast<uint64_t>(std::llround(per_second(report)))),
                     summary.workers, summary.workers == 1 ? "" : "s");
  out += fmt::format(
      "{} requests, {} of them retries; {} pages; {:.0f}% of the time spent waiting for names\n",
      with_commas(figures.requests), with_commas(figures.retries), with_commas(figures.pages),
      figures.listing_bound * 100);
  out += fmt::format("CPU {:.1f} s, {:.1f} us a file; largest process {}\n", report.cpu_seconds,
                     cpu_us_per_file(report), with_unit(report.peak_rss_bytes));
  return out;
}

ExitStatus print_summary(const Summary& summary, bool json) {
  const std::string text = json ? summary_json(summary) + "\n" : summary_text(summary);
  const ExitStatus exit = summary.report.exit;
  // Who reads results may take long; but who asked for the end is not to wait for a reader.
  const int failed = exit == ExitStatus::interrupted
                         ? write_within(STDOUT_FILENO, text, kStoppedPatience)
                         : write_all(STDOUT_FILENO, text);
  if (failed == 0) return exit;
  print_error(errno_error(failed, "cannot write the summary to standard output").text);
  return json && exit == ExitStatus::complete ? ExitStatus::fatal : exit;
}

ExitStatus finish(const Error& failure) {
  print_error(failure.text);
  return exit_status_of(failure.code);
}

ExitStatus finish(const Result<Summary>& summary, bool json) {
  if (!summary) return finish(summary.failure());
  return print_summary(summary.value(), json);
}

Result<void> print_output(std::string_view text) {
  const int failed = write_all(STDOUT_FILENO, text);
  return failed == 0 ? Result<void>() : errno_error(failed, "cannot write to standard output");
}

void print_error(std::string_view text) {
  standard_error::write(fmt::format("gigafetch: {}\n", text));
}

}  // namespace gigafetch::cli
