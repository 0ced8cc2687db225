#include "store/failure_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/io.h"
#include "base/varint.h"
#include "store/record.h"
#include "store/regular_file.h"

namespace gigafetch::store {
namespace {

constexpr uint8_t kEntry = 1;
constexpr int kFlags = O_RDWR | O_CREAT | O_APPEND;

Error damaged(uint64_t offset) {
  return error(ErrorCode::malformed,
               "the record of failed files is damaged at byte {}; --restart forgets the job and "
               "fetches everything again",
               offset);
}

Result<UniqueFd> open_log(int state_fd, int flags) {
  UniqueFd fd = open_regular(state_fd, kFailuresFile, flags, 0600);
  if (!fd) return not_opened(errno, "cannot open the record of failed files");
  return fd;
}

bool decode(std::string_view payload, FailureEntry& entry) {
  VarintReader in(payload);
  const auto cause = failure_class_of(static_cast<uint8_t>(in.take_up_to(UINT8_MAX)));
  entry.failure.status = static_cast<uint16_t>(in.take_up_to(UINT16_MAX));
  entry.failure.attempts = static_cast<uint16_t>(in.take_up_to(UINT16_MAX));
  entry.name = in.take_text();
  entry.failure.text = in.take_text();
  if (cause) entry.failure.cause = *cause;
  return cause && in.ok_at_end();
}

}  // namespace

Result<FailureLog> FailureLog::create(int state_fd, uint64_t job_id) {
  // Made anew: the old one may have another link.
  struct stat old;
  if (::fstatat(state_fd, kFailuresFile, &old, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(old.st_mode) &&
      ::unlinkat(state_fd, kFailuresFile, 0) != 0) {
    return errno_error(errno, "cannot remove the old record of failed files");
  }
  Result<UniqueFd> fd = open_log(state_fd, kFlags);
  if (!fd) return std::move(fd).failure();
  return FailureLog(std::move(fd).value(), job_id, 0);
}

Result<FailureLog> FailureLog::open(int state_fd, uint64_t job_id, uint64_t size) {
  Result<UniqueFd> fd = open_log(state_fd, kFlags);
  if (!fd) return std::move(fd).failure();
  struct stat file;
  if (::fstat(fd->get(), &file) != 0) return errno_error(errno, "cannot examine the failures");
  if (static_cast<uint64_t>(file.st_size) < size) {
    return damaged(static_cast<uint64_t>(file.st_size));
  }
  if (::ftruncate(fd->get(), static_cast<off_t>(size)) != 0) {
    return errno_error(errno, "cannot cut the record of failed files");
  }
  return FailureLog(std::move(fd).value(), job_id, size);
}

void FailureLog::add(std::string_view name, const FileFailure& failure) {
  payload_.clear();
  put_varint(payload_, static_cast<uint8_t>(failure.cause));
  put_varint(payload_, failure.status);
  put_varint(payload_, failure.attempts);
  put_sized(payload_, name);
  put_sized(payload_, failure.text);
  const size_t before = buffer_.size();
  append_record(buffer_, size_, job_id_, kEntry, payload_);
  size_ += buffer_.size() - before;
}

Result<void> FailureLog::flush() {
  if (buffer_.empty()) return {};
  if (const int failed = write_all(fd_.get(), buffer_); failed != 0) {
    return errno_error(failed, "cannot record a failed file in the state folder");
  }
  buffer_.clear();
  return {};
}

Result<void> read_failures(int state_fd, uint64_t job_id, uint64_t begin, uint64_t end,
                           const std::function<bool(const FailureEntry& entry)>& on_entry) {
  if (begin >= end) return {};
  Result<UniqueFd> fd = open_log(state_fd, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (!fd) return std::move(fd).failure();
  RecordFile records(fd->get(), job_id, begin, end);
  Record record;
  FailureEntry entry;
  while (!records.at_end()) {
    entry.offset = records.offset();
    Result<void> read = records.next(record);
    if (!read && read.failure().code != ErrorCode::malformed) return read;
    if (!read || record.type != kEntry || !decode(record.payload, entry)) {
      return damaged(entry.offset);
    }
    entry.end = record.end;
    if (!on_entry(entry)) break;
  }
  return {};
}

}  // namespace gigafetch::store
