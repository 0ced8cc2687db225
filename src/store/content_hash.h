// ContentHash: a 128-bit hash over a file's name and body. The sum over many files (SetHash) tells
// whether what is on disk is what was stored, whatever the order.
//
// XXH3-128 over the body, seeded with XXH3-64 of the name (xxHash 0.8, xxhash.com). Not proof
// against somebody who picks bodies to collide.
#pragma once

#include <memory>
#include <string_view>

#include "store/set_hash.h"

namespace gigafetch::store {

// Of a body that is at hand whole.
Hash128 content_hash(std::string_view name, std::string_view body);

// Of a body that comes in pieces: the same value.
class ContentHasher {
 public:
  explicit ContentHasher(std::string_view name);
  ~ContentHasher();
  ContentHasher(ContentHasher&&) noexcept;
  ContentHasher& operator=(ContentHasher&&) noexcept;

  void update(std::string_view piece);
  Hash128 value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gigafetch::store
