#include "coordinator/known_pages.h"

#include <algorithm>

namespace gigafetch::coordinator {

Result<void> KnownPages::load(int state_fd, uint64_t job_id, const store::LedgerState& state) {
  pages_.clear();
  Result<void> read =
      store::read_done_pages(state_fd, job_id, state, [&](const store::DonePage& page) {
        if (page.stored < page.names) return;
        pages_.push_back({page.names_hash, page.names, page.bytes, page.content});
      });
  std::stable_sort(pages_.begin(), pages_.end(),
                   [](const Page& a, const Page& b) { return a.names_hash < b.names_hash; });
  return read;
}

const KnownPages::Page* KnownPages::find(const store::Hash128& names_hash, uint32_t names) const {
  // The last of those with the same names: what was stored last is what is on disk.
  auto found = std::upper_bound(
      pages_.begin(), pages_.end(), names_hash,
      [](const store::Hash128& hash, const Page& page) { return hash < page.names_hash; });
  if (found == pages_.begin()) return nullptr;
  --found;
  return found->names_hash == names_hash && found->names == names ? &*found : nullptr;
}

}  // namespace gigafetch::coordinator
