// SetHash: a fingerprint of a set of names that does not depend on their order.
//
// The sum, modulo 2^128, of XXH3-128 over each name. Two equal sums over as many names mean equal
// sets, but for a chance far below that of a hardware fault; they are not proof against somebody
// who picks names to collide.
#pragma once

#include <compare>
#include <cstdint>
#include <string_view>

namespace gigafetch::store {

struct Hash128 {
  uint64_t low = 0;
  uint64_t high = 0;
  auto operator<=>(const Hash128&) const = default;
};

// Sums and differences modulo 2^128.
Hash128 operator+(const Hash128& a, const Hash128& b);
Hash128 operator-(const Hash128& a, const Hash128& b);

Hash128 hash_of_name(std::string_view name);
// Of many names as packed by NameList: their order counts.
Hash128 hash_of_names(std::string_view packed);

// A hash of a series of hashes, made from that of those before and the last: their order counts.
Hash128 chained(const Hash128& before, const Hash128& last);

struct SetHash {
  Hash128 sum;
  uint64_t count = 0;

  void add(const Hash128& hash);
  // Adds a whole set, given by its sum and count.
  void add_sum(const Hash128& other_sum, uint64_t other_count);
  bool operator==(const SetHash&) const = default;
};

}  // namespace gigafetch::store
