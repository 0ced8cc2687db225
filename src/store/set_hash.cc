#include "store/set_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace gigafetch::store {

Hash128 hash_of_name(std::string_view name) {
  const XXH128_hash_t hash = XXH3_128bits(name.data(), name.size());
  return Hash128{hash.low64, hash.high64};
}

void SetHash::add(const Hash128& hash) {
  add_sum(hash, 1);
}

void SetHash::add_sum(const Hash128& other_sum, uint64_t other_count) {
  const uint64_t low = sum.low + other_sum.low;
  sum.high += other_sum.high + (low < sum.low ? 1 : 0);
  sum.low = low;
  count += other_count;
}

}  // namespace gigafetch::store
