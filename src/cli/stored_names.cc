#include "cli/stored_names.h"

#include "store/shard_sums.h"
#include "store/tree_walk.h"

namespace gigafetch::cli {

Result<StoredNames> StoredNames::open(int output_fd, const store::LedgerImage& image) {
  StoredNames stored;
  stored.output_fd_ = output_fd;
  stored.layout_ = store::layout_of(image.identity.layout).value_or(store::Layout::tree);
  stored.packed_ = image.identity.sink == "tar";
  if (!stored.packed_) return stored;
  Result<std::vector<store::CountedShard>> shards =
      store::counted_shards(output_fd, image.state.shards());
  if (!shards) return std::move(shards).failure();
  stored.shards_ = std::move(*shards);
  return stored;
}

Result<void> StoredNames::walk(
    const std::function<Result<void>(std::string_view path, const std::string& name)>& on_name,
    const std::function<void(std::string_view path)>& on_stranger) const {
  const auto tell = [&](std::string_view path,
                        const std::optional<std::string>& name) -> Result<void> {
    if (name) return on_name(path, *name);
    on_stranger(path);
    return {};
  };
  if (!packed_) {
    return store::walk_tree(output_fd_, [&](std::string_view path, store::EntryKind kind) {
      return tell(
          path, kind == store::EntryKind::file ? store::name_of_path(layout_, path) : std::nullopt);
    });
  }
  for (const store::CountedShard& shard : shards_) {
    Result<void> read = store::for_members(output_fd_, shard, layout_, tell);
    if (!read && read.failure().code != ErrorCode::malformed) return read;
  }
  return {};
}

}  // namespace gigafetch::cli
