// StoredNames: what a job's sink has left on disk, by name: files, or the shards to look into.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/figures.h"
#include "base/result.h"
#include "store/layout.h"
#include "store/ledger.h"
#include "store/packed_files.h"
#include "store/set_hash.h"

namespace gigafetch::cli {

class StoredNames {
 public:
  // `output_fd` is borrowed and must stay open. Fails when a shard that is not finished is gone.
  static Result<StoredNames> open(int output_fd, const store::LedgerImage& image);

  // Of a job that is not packed: calls `on_name` for each file that has a name, and `on_stranger`
  // with the path of anything else.
  Result<void> walk(
      const std::function<Result<void>(std::string_view path, const std::string& name)>& on_name,
      const std::function<void(std::string_view path)>& on_stranger) const;

  bool packed() const { return packed_; }
  store::Layout layout() const { return layout_; }
  const std::vector<store::CountedShard>& shards() const { return shards_; }

 private:
  int output_fd_ = -1;
  store::Layout layout_ = store::Layout::tree;
  bool packed_ = false;
  std::vector<store::CountedShard> shards_;
};

// The names that a run has counted as stored.
inline store::SetHash stored_names(const Figures& figures) {
  return {{figures.set_hash_low, figures.set_hash_high}, figures.stored};
}

}  // namespace gigafetch::cli
