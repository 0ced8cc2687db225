#include "store/output_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "base/escape.h"
#include "store/directory_cache.h"
#include "store/directory_stream.h"
#include "store/layout.h"

namespace gigafetch::store {
namespace {

bool is_folder(int parent_fd, const char* name) {
  struct stat there;
  return ::fstatat(parent_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(there.st_mode);
}

}  // namespace

Result<UniqueFd> open_existing_output_folder(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) return fd;
  const std::string shown = printable(path);
  if (errno == ENOTDIR) return error(ErrorCode::exists, "'{}' is not a folder", shown);
  return errno_error(errno, fmt::format("cannot open the output folder '{}'", shown));
}

Result<UniqueFd> open_output_folder(const std::string& path) {
  if (path.empty()) return error(ErrorCode::usage, "the output folder has no name");
  const std::string shown = printable(path);
  if (::mkdir(path.c_str(), 0777) != 0 && errno != EEXIST) {
    if (errno == ENOENT) {
      return error(ErrorCode::not_found,
                   "the folder that '{}' should be made in does not exist; make it first", shown);
    }
    return errno_error(errno, fmt::format("cannot make the output folder '{}'", shown));
  }
  Result<UniqueFd> fd = open_existing_output_folder(path);
  if (!fd) return fd;
  if (::faccessat(fd->get(), ".", W_OK | X_OK, AT_EACCESS) != 0) {
    return errno_error(errno, fmt::format("cannot write to the output folder '{}'", shown));
  }
  return fd;
}

Result<bool> is_empty_output(int output_fd) {
  // A descriptor of its own, so that the folder's read position is not shared.
  const DirectoryStream dir =
      open_stream(UniqueFd(::openat(output_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  if (dir == nullptr) return errno_error(errno, "cannot list the output folder");
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == ".." || name == kStateFolderName) continue;
    if (name != "lost+found" || !is_folder(output_fd, entry->d_name)) return false;
  }
  return true;
}

Result<void> check_kernel(int output_fd) {
  const UniqueFd fd(open_beneath(output_fd, ".", O_PATH | O_DIRECTORY));
  if (fd) return {};
  if (errno == ENOSYS) {
    return error(ErrorCode::io, "this kernel has no openat2; Linux 5.6 or later is needed");
  }
  return errno_error(errno, "cannot open the output folder with openat2");
}

Result<void> sync_output(int output_fd, const std::string& path) {
  if (::syncfs(output_fd) == 0) return {};
  return errno_error(errno, fmt::format("cannot sync the file system of '{}'", printable(path)));
}

}  // namespace gigafetch::store
