#include "cli/stored_names.h"

#include <optional>

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
  return store::walk_tree(output_fd_,
                          [&](std::string_view path, store::EntryKind kind) -> Result<void> {
                            std::optional<std::string> name;
                            if (kind == store::EntryKind::file) name = name_of_path(layout_, path);
                            if (name) return on_name(path, *name);
                            on_stranger(path);
                            return {};
                          });
}

}  // namespace gigafetch::cli
