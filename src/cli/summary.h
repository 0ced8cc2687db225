// The summary of a run: for people, or as one JSON object.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "supervisor/supervisor.h"

namespace gigafetch::cli {

struct Summary {
  supervisor::Report report;
  uint32_t workers = 0;
  bool resumed = false;
  // verify only: files on disk that are not listed.
  std::optional<uint64_t> extra;
};

// One JSON object, without a line end. Its keys are a contract.
std::string summary_json(const Summary& summary);

// A few lines for people.
std::string summary_text(const Summary& summary);

// "1,234,567"
std::string with_commas(uint64_t number);
// "1.5 GiB"
std::string with_unit(uint64_t bytes);
// "1.5 s", "3 min 20 s", "5 h 3 min"
std::string as_duration(double seconds);

// Prints the summary to standard output, in one of both forms. Returns the run's exit status. When
// it cannot be written that is told, and a complete run whose summary is for a program is fatal
// then. Waits for the reader of standard output, but not when the run was interrupted.
ExitStatus print_summary(const Summary& summary, bool json);

// Prints to standard output, and waits for its reader.
Result<void> print_output(std::string_view text);

// Prints "gigafetch: TEXT" to standard error, which neither fails nor blocks.
void print_error(std::string_view text);

// The end of a command: prints the error, and gives the exit status that it has.
ExitStatus finish(const Error& failure);
// The same with a summary, which is printed.
ExitStatus finish(const Result<Summary>& summary, bool json);

}  // namespace gigafetch::cli
