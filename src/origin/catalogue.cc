#include "origin/catalogue.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "base/random.h"

namespace gigafetch::origin {
namespace {

constexpr std::string_view kPrefix = "file";
constexpr size_t kIndexDigits = 10;
constexpr size_t kTagDigits = 8;
constexpr size_t kNameBytes = kPrefix.size() + kIndexDigits + 1 + kTagDigits;
constexpr size_t kWordDigits = 16;  // of each output of the generator
// What is appended to a body at a time: growing the string itself would first fill it with zeros.
constexpr size_t kBlockBytes = 1024;
static_assert(kBlockBytes % kWordDigits == 0);

// The two hexadecimal digits of every byte. Bodies are most of what an answer costs above the
// kernel; digit by digit they take half as long again.
constexpr auto kHexPairs = [] {
  constexpr char kDigits[] = "0123456789abcdef";
  std::array<std::array<char, 2>, 256> pairs{};
  for (size_t byte = 0; byte < pairs.size(); ++byte)
    pairs[byte] = {kDigits[byte >> 4], kDigits[byte & 15]};
  return pairs;
}();

uint64_t fnv1a64(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325ull;
  for (const char c : text)
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3ull;
  return hash;
}

// Writes the lowest `digits` hexadecimal digits of `value`, an even number of them.
void write_hex(char* out, uint64_t value, size_t digits) {
  for (size_t i = digits; i > 0; i -= 2, value >>= 8)
    std::memcpy(out + i - 2, kHexPairs[value & 255].data(), 2);
}

}  // namespace

Catalogue::Catalogue(uint64_t files, uint64_t size, uint64_t seed)
    : files_(files), size_(size), seed_(seed), body_key_(mix64(seed + kGoldenGamma)) {}

uint32_t Catalogue::tag(uint64_t index) const {
  return static_cast<uint32_t>(mix64(seed_ + (index + 1) * kGoldenGamma) >> 32);
}

void Catalogue::append_name(std::string& out, uint64_t index) const {
  char name[kNameBytes];
  std::memcpy(name, kPrefix.data(), kPrefix.size());
  char* digits = name + kPrefix.size();
  uint64_t rest = index;
  for (size_t i = kIndexDigits; i > 0; --i, rest /= 10) {
    digits[i - 1] = static_cast<char>('0' + rest % 10);
  }
  digits[kIndexDigits] = '-';
  write_hex(digits + kIndexDigits + 1, tag(index), kTagDigits);
  out.append(name, kNameBytes);
}

std::optional<uint64_t> Catalogue::index_of(std::string_view name) const {
  if (name.size() != kNameBytes || !name.starts_with(kPrefix)) return std::nullopt;
  const char* digits = name.data() + kPrefix.size();
  uint64_t index = 0;
  const auto [end, status] = std::from_chars(digits, digits + kIndexDigits, index);
  if (status != std::errc() || end != digits + kIndexDigits || index >= files_) {
    return std::nullopt;
  }
  char expected[kTagDigits];
  write_hex(expected, tag(index), kTagDigits);
  const bool tagged = digits[kIndexDigits] == '-' &&
                      std::memcmp(digits + kIndexDigits + 1, expected, kTagDigits) == 0;
  return tagged ? std::optional(index) : std::nullopt;
}

void Catalogue::append_body(std::string& out, std::string_view name, uint64_t bytes) const {
  Random random(fnv1a64(name) ^ body_key_);
  char block[kBlockBytes];
  while (bytes > 0) {
    const size_t size = std::min<uint64_t>(bytes, sizeof block);
    for (size_t done = 0; done < size; done += kWordDigits)
      write_hex(block + done, random.next(), kWordDigits);
    out.append(block, size);
    bytes -= size;
  }
}

}  // namespace gigafetch::origin
