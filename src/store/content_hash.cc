#include "store/content_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace gigafetch::store {
namespace {

uint64_t seed_of(std::string_view name) {
  return XXH3_64bits(name.data(), name.size());
}

Hash128 plain(const XXH128_hash_t& hash) {
  return {hash.low64, hash.high64};
}

}  // namespace

Hash128 content_hash(std::string_view name, std::string_view body) {
  return plain(XXH3_128bits_withSeed(body.data(), body.size(), seed_of(name)));
}

struct ContentHasher::State {
  XXH3_state_t xxh;
};

ContentHasher::ContentHasher(std::string_view name) : state_(std::make_unique<State>()) {
  XXH3_128bits_reset_withSeed(&state_->xxh, seed_of(name));
}

ContentHasher::~ContentHasher() = default;
ContentHasher::ContentHasher(ContentHasher&&) noexcept = default;
ContentHasher& ContentHasher::operator=(ContentHasher&&) noexcept = default;

void ContentHasher::update(std::string_view piece) {
  XXH3_128bits_update(&state_->xxh, piece.data(), piece.size());
}

Hash128 ContentHasher::value() const {
  return plain(XXH3_128bits_digest(&state_->xxh));
}

}  // namespace gigafetch::store
