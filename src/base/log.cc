#include "base/log.h"

#include <spdlog/details/null_mutex.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "base/standard_error.h"

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

class StandardErrorSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
  void sink_it_(const spdlog::details::log_msg& message) override {
    line_.clear();
    formatter_->format(message, line_);
    standard_error::write({line_.data(), line_.size()});
  }
  void flush_() override {}

  spdlog::memory_buf_t line_;
};

// Never destroyed: children leave through _exit(2), and a log line must be possible until then.
spdlog::logger*& current_logger() {
  static spdlog::logger* logger = nullptr;
  return logger;
}

}  // namespace

void init_log(LogLevel level, std::string_view role) {
  standard_error::open(role);
  delete current_logger();
  auto* logger = new spdlog::logger(std::string(role), std::make_shared<StandardErrorSink>());
  logger->set_pattern("%H:%M:%S.%e %l [%n] %v");
  logger->set_level(spdlog_level(level));
  current_logger() = logger;
}

bool log_enabled(LogLevel level) {
  return current_logger() != nullptr && current_logger()->should_log(spdlog_level(level));
}

void log_line(LogLevel level, std::string_view text) {
  if (current_logger() != nullptr) current_logger()->log(spdlog_level(level), text);
}

}  // namespace gigafetch
