#include "store/job_mark.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "base/io.h"
#include "store/directory_cache.h"
#include "store/layout.h"
#include "store/regular_file.h"

namespace gigafetch::store {
namespace {

constexpr char kFile[] = "job";
constexpr char kNewFile[] = "job.new";
constexpr std::string_view kBegin = "gigafetch job ";
constexpr size_t kDigits = 16;

UniqueFd open_folder(int output_fd) {
  const std::string name(kStateFolderName);
  return UniqueFd(open_beneath(output_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
}

Result<void> write_mark(int folder_fd, uint64_t job_id) {
  const UniqueFd fd = open_regular(folder_fd, kNewFile, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (!fd) return not_opened(errno, "cannot make the mark of the job");
  const std::string text = fmt::format("{}{:016x}\n", kBegin, job_id);
  if (const int failed = write_all(fd.get(), text); failed != 0) {
    return errno_error(failed, "cannot write the mark of the job");
  }
  if (::fdatasync(fd.get()) != 0 || ::renameat(folder_fd, kNewFile, folder_fd, kFile) != 0 ||
      ::fsync(folder_fd) != 0) {
    return errno_error(errno, "cannot put the mark of the job in place");
  }
  return {};
}

}  // namespace

std::optional<uint64_t> mark_in_state(int state_fd) {
  const UniqueFd fd = open_regular(state_fd, kFile, O_RDONLY);
  if (!fd) return std::nullopt;
  const Result<std::string> text = read_to_end(fd.get(), 256, "the mark of the job");
  if (!text) return std::nullopt;
  std::string_view rest = text.value();
  if (!rest.starts_with(kBegin)) return std::nullopt;
  rest.remove_prefix(kBegin.size());
  uint64_t id = 0;
  const auto [end, status] = std::from_chars(rest.data(), rest.data() + rest.size(), id, 16);
  const bool whole = status == std::errc() && end == rest.data() + kDigits;
  return whole ? std::optional(id) : std::nullopt;
}

std::optional<uint64_t> mark_in_output(int output_fd) {
  const UniqueFd folder = open_folder(output_fd);
  return folder ? mark_in_state(folder.get()) : std::nullopt;
}

Result<void> write_marks(int state_fd, int output_fd, uint64_t job_id) {
  const std::string name(kStateFolderName);
  if (::mkdirat(output_fd, name.c_str(), 0700) != 0 && errno != EEXIST) {
    return errno_error(errno, fmt::format("cannot make '{}' in the output folder", name));
  }
  const UniqueFd folder = open_folder(output_fd);
  if (!folder) {
    return errno_error(errno, fmt::format("cannot open '{}' in the output folder", name));
  }
  for (const int folder_fd : {folder.get(), state_fd}) {
    if (mark_in_state(folder_fd) == job_id) continue;
    if (Result<void> written = write_mark(folder_fd, job_id); !written) return written;
  }
  if (::fsync(output_fd) != 0) return errno_error(errno, "cannot sync the output folder");
  return {};
}

}  // namespace gigafetch::store
