#include "store/dead_letters.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <iterator>

#include "base/escape.h"
#include "base/io.h"
#include "store/regular_file.h"

namespace gigafetch::store {
namespace {

constexpr size_t kFlushBytes = 64 * 1024;

}  // namespace

Result<DeadLetters> DeadLetters::create(int state_fd, std::string_view file) {
  return open(state_fd, file, O_TRUNC);
}

Result<DeadLetters> DeadLetters::append_to(int state_fd, std::string_view file) {
  return open(state_fd, file, 0);
}

Result<DeadLetters> DeadLetters::open(int state_fd, std::string_view file, int flags) {
  const std::string name(file);
  UniqueFd fd = open_regular(state_fd, name.c_str(), O_WRONLY | O_CREAT | O_APPEND | flags, 0600);
  if (!fd) return not_opened(errno, fmt::format("cannot make {} in the state folder", name));
  return DeadLetters(std::move(fd));
}

Result<void> DeadLetters::add(std::string_view name, const FileFailure& failure) {
  buffer_ += "{\"name\":";
  append_json_string(buffer_, name);
  fmt::format_to(std::back_inserter(buffer_),
                 ",\"class\":\"{}\",\"status\":{},\"attempts\":{},\"error\":",
                 name_of(failure.cause), failure.status, failure.attempts);
  append_json_string(buffer_, failure.text);
  buffer_ += "}\n";
  return buffer_.size() >= kFlushBytes ? flush() : Result<void>();
}

Result<void> DeadLetters::flush() {
  if (const int failed = write_all(fd_.get(), buffer_); failed != 0) {
    return errno_error(failed, "cannot record a failed file in the state folder");
  }
  buffer_.clear();
  return {};
}

}  // namespace gigafetch::store
