// KnownPages: pages that are done, looked up by their names when a listing had to begin anew.
// Coordinator.
#pragma once

#include <cstdint>
#include <vector>

#include "store/ledger.h"

namespace gigafetch::coordinator {

class KnownPages {
 public:
  struct Page {
    store::Hash128 names_hash;
    uint32_t names = 0;
    uint64_t bytes = 0;
    store::Hash128 content;
  };

  // Takes all pages of which every name is stored: 48 bytes of memory for each.
  Result<void> load(int state_fd, uint64_t job_id, const store::LedgerState& state);
  // The page with these names; null when it is not known.
  const Page* find(const store::Hash128& names_hash, uint32_t names) const;

 private:
  std::vector<Page> pages_;  // by hash
};

}  // namespace gigafetch::coordinator
