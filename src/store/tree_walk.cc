#include "store/tree_walk.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <vector>

#include "base/escape.h"
#include "store/directory_cache.h"
#include "store/directory_stream.h"
#include "store/layout.h"

namespace gigafetch::store {
namespace {

struct OpenFolder {
  DirectoryStream dir;
  size_t path_length;  // of the folder's path, with its trailing slash
};

Result<OpenFolder> open_folder(int parent_fd, const char* name, const std::string& path) {
  UniqueFd fd(open_beneath(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  DirectoryStream dir = open_stream(std::move(fd));
  if (dir == nullptr) {
    return errno_error(errno, fmt::format("cannot list the folder '{}'", printable(path)));
  }
  return OpenFolder{std::move(dir), path.size()};
}

unsigned char type_of(int folder_fd, const dirent& entry) {
  if (entry.d_type != DT_UNKNOWN) return entry.d_type;
  struct stat there;
  if (::fstatat(folder_fd, entry.d_name, &there, AT_SYMLINK_NOFOLLOW) != 0) return DT_UNKNOWN;
  return static_cast<unsigned char>(IFTODT(there.st_mode));
}

}  // namespace

Result<void> walk_tree(int output_fd,
                       const std::function<Result<void>(std::string_view, EntryKind)>& visit) {
  std::string path;
  Result<OpenFolder> top = open_folder(output_fd, ".", path);
  if (!top) return std::move(top).failure();
  std::vector<OpenFolder> open_folders;
  open_folders.push_back(std::move(top).value());
  while (!open_folders.empty()) {
    const OpenFolder& folder = open_folders.back();
    path.resize(folder.path_length);
    errno = 0;
    const dirent* entry = ::readdir(folder.dir.get());
    if (entry == nullptr) {
      if (errno != 0) return errno_error(errno, fmt::format("cannot list '{}'", printable(path)));
      open_folders.pop_back();
      continue;
    }
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    const int folder_fd = ::dirfd(folder.dir.get());
    const unsigned char type = type_of(folder_fd, *entry);
    const bool at_top = open_folders.size() == 1;
    if (at_top && (name == kStateFolderName || is_lost_and_found(folder_fd, entry->d_name)))
      continue;
    path += name;
    if (type != DT_DIR) {
      const EntryKind kind = type == DT_REG ? EntryKind::file : EntryKind::other;
      if (Result<void> visited = visit(path, kind); !visited) return visited;
      continue;
    }
    path += '/';
    Result<OpenFolder> inner = open_folder(folder_fd, entry->d_name, path);
    if (!inner) return std::move(inner).failure();
    open_folders.push_back(std::move(inner).value());
  }
  return {};
}

}  // namespace gigafetch::store
