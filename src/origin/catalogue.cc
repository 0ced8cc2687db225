#include "origin/catalogue.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "base/random.h"

namespace gigafetch::origin {
namespace {

constexpr std::string_view kPrefix = "file";
constexpr size_t kIndexDigits = 10;
constexpr size_t kTagDigits = 8;
constexpr size_t kNameBytes = kPrefix.size() + kIndexDigits + 1 + kTagDigits;
// What is appended to a body at a time: growing the string itself would first fill it with zeros.
constexpr size_t kBlockBytes = 1024;
constexpr size_t kHexDigits = 16;  // of each output of the generator
static_assert(kBlockBytes % kHexDigits == 0);

uint64_t fnv1a64(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325ull;
  for (const char c : text)
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3ull;
  return hash;
}

// Writes the 8 hexadecimal digits of `value`, all at once: its nibbles are spread over the bytes of
// a word, the highest lowest, and made letters where they exceed 9. Bodies are most of what an
// answer costs; digit by digit they take six times as long (bench/origin.py).
void write_hex(char* out, uint32_t value) {
  uint64_t digits = value;
  digits = (digits & 0xFFFF) << 32 | digits >> 16;
  digits = (digits & 0x000000FF000000FF) << 16 | (digits >> 8 & 0x000000FF000000FF);
  digits = (digits & 0x000F000F000F000F) << 8 | (digits >> 4 & 0x000F000F000F000F);
  constexpr uint64_t kEach = 0x0101010101010101;
  const uint64_t letters = (digits + 6 * kEach) >> 4 & kEach;
  digits += '0' * kEach + letters * ('a' - '0' - 10);
  static_assert(std::endian::native == std::endian::little);
  std::memcpy(out, &digits, sizeof digits);
}

// The same for 16 digits.
void write_hex(char* out, uint64_t value) {
  write_hex(out, static_cast<uint32_t>(value >> 32));
  write_hex(out + 8, static_cast<uint32_t>(value));
}

// Writes 10 decimal digits, in two halves that do not wait for each other.
void write_index(char* out, uint64_t index) {
  constexpr size_t kHalf = kIndexDigits / 2;
  auto high = static_cast<uint32_t>(index / 100'000), low = static_cast<uint32_t>(index % 100'000);
  for (size_t i = kHalf; i > 0; --i, high /= 10, low /= 10) {
    out[i - 1] = static_cast<char>('0' + high % 10);
    out[kHalf + i - 1] = static_cast<char>('0' + low % 10);
  }
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
  write_index(digits, index);
  digits[kIndexDigits] = '-';
  write_hex(digits + kIndexDigits + 1, tag(index));
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
  write_hex(expected, tag(index));
  const bool tagged = digits[kIndexDigits] == '-' &&
                      std::memcmp(digits + kIndexDigits + 1, expected, kTagDigits) == 0;
  return tagged ? std::optional(index) : std::nullopt;
}

void Catalogue::append_body(std::string& out, std::string_view name, uint64_t bytes) const {
  Random random(fnv1a64(name) ^ body_key_);
  char block[kBlockBytes];
  while (bytes > 0) {
    const auto size = static_cast<size_t>(std::min<uint64_t>(bytes, sizeof block));
    for (size_t done = 0; done < size; done += kHexDigits)
      write_hex(block + done, random.next());
    out.append(block, size);
    bytes -= size;
  }
}

}  // namespace gigafetch::origin
