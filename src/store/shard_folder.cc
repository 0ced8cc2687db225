#include "store/shard_folder.h"

#include <fcntl.h>

#include <cerrno>

#include "base/unique_fd.h"
#include "store/directory_stream.h"

namespace gigafetch::store {

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

Error two_of_one(const ShardId& id) {
  return error(
      ErrorCode::exists,
      "'{}' and '{}' are both there, and one of them is the shard: move the other one away",
      file_of({id, false}), file_of({id, true}));
}

}  // namespace gigafetch::store
