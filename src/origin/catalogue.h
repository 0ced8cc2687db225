// Catalogue: the files of the embedded origin. Names and bodies are functions of the seed, so that
// a billion of them need no memory, and a verifier can compute what it should have received.
//
//     name of file i   "file" + i as 10 decimal digits + "-" + 8 hexadecimal digits:
//                      the upper half of mix64(seed + (i + 1) * gamma)
//     body of a name   `size` hexadecimal digits: the outputs of SplitMix64, 16 digits each, from
//                      the state fnv1a64(name) ^ mix64(seed + gamma)
//
// with mix64, SplitMix64 and gamma as in base/random.h, and FNV-1a as published by Fowler, Noll and
// Vo (64 bits, draft-eastlake-fnv).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gigafetch::origin {

class Catalogue {
 public:
  static constexpr uint64_t kMaxFiles = 10'000'000'000;

  Catalogue(uint64_t files, uint64_t size, uint64_t seed);

  uint64_t files() const { return files_; }
  uint64_t size() const { return size_; }  // of each body, in bytes

  // Appends the name of file `index`, which must be below files().
  void append_name(std::string& out, uint64_t index) const;
  // The index of the file of this name, if there is one.
  std::optional<uint64_t> index_of(std::string_view name) const;
  bool contains(std::string_view name) const { return index_of(name).has_value(); }
  // Appends the first `bytes` bytes of the body.
  void append_body(std::string& out, std::string_view name, uint64_t bytes) const;

 private:
  uint32_t tag(uint64_t index) const;
  uint64_t files_;
  uint64_t size_;
  uint64_t seed_;
  uint64_t body_key_;
};

}  // namespace gigafetch::origin
