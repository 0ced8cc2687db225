#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace gigafetch {
namespace {

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::off:
      return spdlog::level::off;
  }
  return spdlog::level::off;
}

// Never destroyed: children leave through _exit(2), and a log line must be possible until then.
spdlog::logger*& current_logger() {
  static spdlog::logger* logger = nullptr;
  return logger;
}

}  // namespace

void init_log(LogLevel level, std::string_view role) {
  delete current_logger();
  auto* logger =
      new spdlog::logger(std::string(role), std::make_shared<spdlog::sinks::stderr_sink_st>());
  logger->set_pattern("%H:%M:%S.%e %l [%n] %v");
  logger->set_level(spdlog_level(level));
  logger->flush_on(spdlog::level::trace);
  current_logger() = logger;
}

bool log_enabled(LogLevel level) {
  return current_logger() != nullptr && current_logger()->should_log(spdlog_level(level));
}

void log_line(LogLevel level, std::string_view text) {
  if (current_logger() != nullptr) current_logger()->log(spdlog_level(level), text);
}

}  // namespace gigafetch
