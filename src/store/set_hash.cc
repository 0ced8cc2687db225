#include "store/set_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace gigafetch::store {

Hash128 hash_of_name(std::string_view name) {
  const XXH128_hash_t hash = XXH3_128bits(name.data(), name.size());
  return Hash128{hash.low64, hash.high64};
}

Hash128 hash_of_names(std::string_view packed) {
  return hash_of_name(packed);
}

Hash128 operator+(const Hash128& a, const Hash128& b) {
  const uint64_t low = a.low + b.low;
  return {low, a.high + b.high + (low < a.low ? 1 : 0)};
}

Hash128 operator-(const Hash128& a, const Hash128& b) {
  return {a.low - b.low, a.high - b.high - (a.low < b.low ? 1 : 0)};
}

Hash128 chained(const Hash128& before, const Hash128& last) {
  const uint64_t both[] = {before.low, before.high, last.low, last.high};
  return hash_of_name({reinterpret_cast<const char*>(both), sizeof both});
}

void SetHash::add(const Hash128& hash) {
  add_sum(hash, 1);
}

void SetHash::add_sum(const Hash128& other_sum, uint64_t other_count) {
  sum = sum + other_sum;
  count += other_count;
}

}  // namespace gigafetch::store
