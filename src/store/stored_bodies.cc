#include "store/stored_bodies.h"

#include "store/ledger_recovery.h"
#include "store/packed_files.h"
#include "store/stored_files.h"

namespace gigafetch::store {

Result<std::unique_ptr<StoredBodies>> open_stored(int output_fd, const LedgerImage& image) {
  using Stored = std::unique_ptr<StoredBodies>;
  const Layout layout = layout_of(image.identity.layout).value_or(Layout::tree);
  if (image.identity.sink != "tar") {
    return Stored(std::make_unique<StoredFiles>(output_fd, layout,
                                                rules_for_reading(output_fd, image.identity)));
  }
  Result<PackedFiles> packed = PackedFiles::open(output_fd, image.state.shards(), layout);
  if (!packed) return std::move(packed).failure();
  return Stored(std::make_unique<PackedFiles>(std::move(*packed)));
}

}  // namespace gigafetch::store
