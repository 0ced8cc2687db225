// DirectoryStream: a folder that is being read; closes it (and its descriptor).
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <memory>
#include <string_view>

#include "base/unique_fd.h"

namespace gigafetch::store {

struct DirectoryCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using DirectoryStream = std::unique_ptr<DIR, DirectoryCloser>;

// A stream over `fd`, which it takes. Null and errno on failure; a failed `fd` keeps its errno.
inline DirectoryStream open_stream(UniqueFd fd) {
  if (!fd) return nullptr;
  DirectoryStream stream(::fdopendir(fd.get()));
  if (stream != nullptr) fd.release();
  return stream;
}

// Whether `name` in the folder is the one that mkfs makes, which is private; an origin's name may
// be "lost+found/..." too, and its folder is not.
inline bool is_lost_and_found(int folder_fd, const char* name) {
  struct stat there;
  return std::string_view(name) == "lost+found" &&
         ::fstatat(folder_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(there.st_mode) &&
         (there.st_mode & 0777) == 0700;
}

}  // namespace gigafetch::store
