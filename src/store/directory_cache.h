// DirectoryCache: open descriptors of the output folder's directories, least recently used first
// out. Opening a file relative to one saves the kernel the walk and keeps a link that is planted
// meanwhile from being followed. One per process; not thread-safe.
#pragma once

#include <cstddef>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/unique_fd.h"
#include "store/spellings.h"
#include "store/status.h"

namespace gigafetch::store {

// Opens `path` below `root_fd` as openat2(2) does, with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS on
// top of `flags`: never outside the root, never through a symbolic link. -1 and errno on failure.
int open_beneath(int root_fd, const char* path, int flags, unsigned mode = 0);

class DirectoryCache {
 public:
  enum class Missing : uint8_t { create, fail };

  // Holds at most `capacity` descriptors. `root_fd` is borrowed and must stay open. `missing` says
  // what to do about a directory that is not there.
  // `spellings`, borrowed, are asked where the file system folds names: a folder that has another
  // spelling is another name's.
  DirectoryCache(int root_fd, size_t capacity, Missing missing, Spellings& spellings);

  // Sets `fd` to a descriptor (O_PATH) of the directory `path`, relative to the root without a
  // trailing slash; "" is the root. The cache owns it; it is valid until the next call.
  StoreStatus get(std::string_view path, int& fd);

  int root_fd() const { return root_fd_; }

  // Drops one directory, which somebody else removed or replaced.
  void forget(std::string_view path);
  // Closes every descriptor but the root's.
  void clear();

 private:
  struct Entry {
    std::string path;
    UniqueFd fd;
  };
  StoreStatus open(std::string_view path, UniqueFd& fd);
  // Opens the folder `path`, whose parent is open, making it if need be.
  StoreStatus open_in(int parent_fd, std::string_view path, UniqueFd& fd);
  // Whether that folder is the one that `path` means, and no other's.
  StoreStatus check_spelling(int parent_fd, std::string_view path, bool is_new);

  int root_fd_;
  size_t capacity_;
  Missing missing_;
  Spellings& spellings_;
  std::list<Entry> entries_;  // the most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_path_;
};

// Cuts "a/b/c" into "a/b" and "c"; "c" into "" and "c".
struct SplitPath {
  std::string_view directory;
  std::string_view file;
};
SplitPath split_path(std::string_view path);

}  // namespace gigafetch::store
