// DirectoryStream: a folder that is being read; closes it (and its descriptor).
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

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

}  // namespace gigafetch::store
