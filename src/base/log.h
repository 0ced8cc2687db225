// The log: lines for the operator on standard error.
//
// Each process of a job logs with its role ("worker 3"), one write(2) a line, so that lines of
// several processes do not mix. Logging never blocks and never fails: what standard error does not
// take is lost and counted (base/standard_error.h). One thread only. Texts must be printable
// (base/escape.h) and free of credentials.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

namespace gigafetch {

enum class LogLevel { debug, info, warning, error, off };

// Sets the level and how this process signs its lines, and opens standard error. Called at start,
// and by each child once after fork(2).
void init_log(LogLevel level, std::string_view role);

bool log_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view text);

template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::debug)) {
    log_line(LogLevel::debug, fmt::format(format, std::forward<Args>(args)...));
  }
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::info)) {
    log_line(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
  }
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace gigafetch
