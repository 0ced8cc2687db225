// The tar format: members as they stand in a shard.
//
// The ustar format of POSIX.1-2017 (pax, "ustar Interchange Format"): a header block of 512 bytes,
// the body, zeros up to the next block. A path of more than 100 bytes, or a size of 8 GiB or more,
// stands in an extended header before it (the same, "pax Extended Header"). Two blocks of zeros end
// an archive. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gigafetch::store {

inline constexpr size_t kTarBlock = 512;
inline constexpr size_t kTarEndBytes = 2 * kTarBlock;

// Zeros behind a body of `size` bytes.
constexpr size_t tar_padding(uint64_t size) {
  return static_cast<size_t>(-size & (kTarBlock - 1));
}

// Appends the padding that follows a body of `size` bytes. As a copy: a fill of unknown length
// costs three times as much as it does for so few bytes.
inline void append_tar_padding(std::string& out, uint64_t size) {
  static constexpr std::array<char, kTarBlock> kZeros = {};
  out.append(kZeros.data(), tar_padding(size));
}

// Makes headers. Members belong to root and may be read by all; one time stands for all of them.
class TarHeaders {
 public:
  // `mtime` in seconds since 1970, of all members.
  explicit TarHeaders(uint64_t mtime);

  // Appends the header of a regular file.
  void append(std::string& out, std::string_view path, uint64_t size) const;
  // The same in as many bytes for every size: for a body that is written before its size is known,
  // and whose header is then written again.
  void append_extended(std::string& out, std::string_view path, uint64_t size) const;

 private:
  static void append_filled(std::string& out, std::string_view block, uint32_t sum,
                            std::string_view name, uint64_t size);
  void append_block(std::string& out, std::string_view path, uint64_t size) const;

  std::string plain_;      // a regular file without path, size and checksum
  uint32_t sum_;           // of its bytes, the checksum's as blanks
  std::string extension_;  // the same for an extended header
  uint32_t extension_sum_;
};

// One member as read back.
struct TarMember {
  std::string path;
  uint64_t size = 0;        // of the body
  uint64_t mtime = 0;       // seconds since 1970
  size_t header_bytes = 0;  // before the body, extended header and all
};

enum class TarParse : uint8_t {
  member,
  end,        // blocks of zeros: there is no further member
  need_more,  // the bytes end within the header
  broken,     // nothing that TarHeaders has made
};

// Reads the header that `bytes` begins with.
TarParse parse_tar_header(std::string_view bytes, TarMember& member);

}  // namespace gigafetch::store
