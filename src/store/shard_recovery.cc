#include "store/shard_recovery.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>

#include "base/io.h"
#include "base/unique_fd.h"
#include "store/directory_stream.h"
#include "store/tar_format.h"
#include "store/zstd_frames.h"

namespace gigafetch::store {
namespace {

// Calls `on_file` with the shard that a file of the folder is, or is the index of.
Result<void> for_shard_files(
    int output_fd,
    const std::function<Result<void>(const std::string& file, const ShardId& id,
                                     const std::optional<ShardName>& shard)>& on_file) {
  const DirectoryStream folder =
      open_stream(UniqueFd(::openat(output_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  if (folder == nullptr) return errno_error(errno, "cannot list the output folder");
  while (const dirent* entry = ::readdir(folder.get())) {
    const std::string file = entry->d_name;
    const std::optional<ShardName> shard = shard_of_file(file);
    const std::optional<ShardId> id = shard ? std::optional(shard->id) : shard_of_index_file(file);
    if (!id) continue;
    if (Result<void> done = on_file(file, *id, shard); !done) return done;
  }
  return {};
}

Result<void> remove(int output_fd, const std::string& file) {
  if (::unlinkat(output_fd, file.c_str(), 0) == 0 || errno == ENOENT) return {};
  return errno_error(errno, fmt::format("cannot remove '{}'", file));
}

Result<ShardEnd> close_shard(int output_fd, const ShardName& name, uint64_t end, bool sync) {
  const std::string file = file_of(name);
  const UniqueFd fd(::openat(output_fd, file.c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat there;
  if (!fd || ::fstat(fd.get(), &there) != 0) {
    return errno_error(errno, fmt::format("cannot open the shard '{}'", file));
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
  std::vector<ShardEnd> finished;
  Result<void> walked = for_shard_files(output_fd,
                                        [&](const std::string& file, const ShardId& id,
                                            const std::optional<ShardName>& shard) -> Result<void> {
                                          if (ends.is_finished(id)) return {};
                                          const auto open = ends.open().find(id);
                                          if (open == ends.open().end() || open->second == 0)
                                            return remove(output_fd, file);
                                          if (!shard) return {};
                                          Result<ShardEnd> closed =
                                              close_shard(output_fd, *shard, open->second, sync);
                                          if (!closed) return std::move(closed).failure();
                                          finished.push_back(*closed);
                                          return {};
                                        });
  if (!walked) return std::move(walked).failure();
  for (const auto& [id, end] : ends.open()) {
    const bool there = std::any_of(finished.begin(), finished.end(), [&](const ShardEnd& each) {
      return ShardId{each.worker, each.number} == id;
    });
    if (end > 0 && !there) {
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
