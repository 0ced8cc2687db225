#include "store/shard_recovery.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "base/io.h"
#include "base/unique_fd.h"
#include "store/regular_file.h"
#include "store/shard_folder.h"
#include "store/tar_format.h"
#include "store/zstd_frames.h"

namespace gigafetch::store {
namespace {

Result<void> remove(int output_fd, const std::string& file) {
  if (::unlinkat(output_fd, file.c_str(), 0) == 0 || errno == ENOENT) return {};
  return errno_error(errno, fmt::format("cannot remove '{}'", file));
}

Result<ShardEnd> close_shard(int output_fd, const ShardName& name, uint64_t end, bool sync) {
  const std::string file = file_of(name);
  const UniqueFd fd = open_regular(output_fd, file.c_str(), O_WRONLY);
  if (!fd) return not_opened(errno, fmt::format("cannot open the shard '{}'", file));
  struct stat there;
  if (::fstat(fd.get(), &there) != 0) {
    return errno_error(errno, fmt::format("cannot examine the shard '{}'", file));
  }
  // What is cut here would be cut from the other's file, too.
  if (there.st_nlink > 1) {
    return error(ErrorCode::exists,
                 "the shard '{}' has another link (a copy made with cp -l?), and would be changed "
                 "there, too: give this folder a file of its own (cp '{}' new && mv new '{}')",
                 file, file, file);
  }
  if (static_cast<uint64_t>(there.st_size) < end) {
    return error(ErrorCode::malformed,
                 "the shard '{}' has {} bytes, and {} were stored in it: something has cut it; "
                 "--restart fetches everything again",
                 file, there.st_size, end);
  }
  const std::string zeros(kTarEndBytes, '\0');
  const std::string closing =
      name.compressed ? std::string(FrameCompressor(1).compress(zeros)) : zeros;
  if (::ftruncate(fd.get(), static_cast<off_t>(end)) != 0 ||
      ::lseek(fd.get(), static_cast<off_t>(end), SEEK_SET) < 0) {
    return errno_error(errno, fmt::format("cannot cut the shard '{}'", file));
  }
  if (const int failed = write_all(fd.get(), closing); failed != 0) {
    return errno_error(failed, fmt::format("cannot end the shard '{}'", file));
  }
  if (sync && ::fdatasync(fd.get()) != 0) {
    return errno_error(errno, fmt::format("cannot sync the shard '{}'", file));
  }
  return ShardEnd{name.id.worker, name.id.number, end + closing.size(), true};
}

}  // namespace

Result<std::vector<ShardEnd>> close_shards(int output_fd, const ShardEnds& ends, bool sync) {
  // What there is to do is known before the first file is touched.
  std::map<ShardId, ShardName> to_close;
  std::vector<std::string> to_remove;
  const auto look = [&](const std::string& file, const ShardId& id,
                        const std::optional<ShardName>& shard) -> Result<void> {
    if (ends.is_finished(id)) return {};
    const auto open = ends.open().find(id);
    if (open == ends.open().end() || open->second == 0) {
      to_remove.push_back(file);
    } else if (shard && !to_close.emplace(id, *shard).second) {
      return two_of_one(id);
    }
    return {};
  };
  if (Result<void> walked = for_shard_files(output_fd, look); !walked) {
    return std::move(walked).failure();
  }
  for (const std::string& file : to_remove) {
    if (Result<void> removed = remove(output_fd, file); !removed) {
      return std::move(removed).failure();
    }
  }
  std::vector<ShardEnd> finished;
  for (const auto& [id, name] : to_close) {
    Result<ShardEnd> closed = close_shard(output_fd, name, ends.open().at(id), sync);
    if (!closed) return std::move(closed).failure();
    finished.push_back(*closed);
  }
  for (const auto& [id, end] : ends.open()) {
    if (end > 0 && !to_close.contains(id)) {
      return error(ErrorCode::malformed,
                   "the shard '{}' (or .zst) is gone, and {} bytes were stored in it; put it back, "
                   "or use --restart to fetch everything again",
                   file_of({id, false}), end);
    }
  }
  return finished;
}

Result<bool> has_shards(int output_fd) {
  bool found = false;
  Result<void> walked = for_shard_files(
      output_fd, [&](const std::string&, const ShardId&, const std::optional<ShardName>&) {
        found = true;
        return Result<void>();
      });
  if (!walked) return std::move(walked).failure();
  return found;
}

Result<void> remove_shards(int output_fd) {
  return for_shard_files(
      output_fd, [&](const std::string& file, const ShardId&, const std::optional<ShardName>&) {
        return remove(output_fd, file);
      });
}

}  // namespace gigafetch::store
