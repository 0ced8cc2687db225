#include "store/tar_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstring>

#include "base/byte_order.h"

namespace gigafetch::store {
namespace {

// Offsets and lengths of the fields of a header block.
constexpr size_t kName = 0, kNameBytes = 100;
constexpr size_t kMode = 100;
constexpr size_t kUid = 108;
constexpr size_t kGid = 116;
constexpr size_t kSize = 124;
constexpr size_t kMtime = 136;
constexpr size_t kChecksum = 148, kChecksumBytes = 8, kChecksumDigits = 6;
constexpr size_t kType = 156;
constexpr size_t kMagic = 257;

constexpr size_t kOctalDigits = 11;  // of a size or time, then a NUL
constexpr uint64_t kMaxOctal = (uint64_t{1} << (3 * kOctalDigits)) - 1;
constexpr char kRegular = '0';
constexpr char kExtended = 'x';
constexpr std::string_view kExtendedName = "PaxHeader";
constexpr size_t kFixedSizeDigits = 20;  // of the largest size there is
// Longer than any that a name can lead to.
constexpr uint64_t kMaxExtendedBytes = 64 * 1024;

void put_octal(char* field, uint64_t value, size_t digits) {
  for (size_t i = digits; i > 0; --i, value >>= 3)
    field[i - 1] = static_cast<char>('0' + (value & 7));
}

// The same into a field that holds zeros already. Gives the sum by which its bytes grow.
uint32_t raise_octal(char* last_digit, uint64_t value) {
  uint32_t sum = 0;
  for (; value != 0; value >>= 3) {
    const auto digit = static_cast<uint32_t>(value & 7);
    *last_digit-- = static_cast<char>('0' + digit);
    sum += digit;
  }
  return sum;
}

std::optional<uint64_t> take_octal(std::string_view field) {
  uint64_t value = 0;
  const auto [end, status] = std::from_chars(field.data(), field.data() + field.size(), value, 8);
  if (status != std::errc() || (end != field.data() + field.size() && *end != '\0' && *end != ' '))
    return std::nullopt;
  return value;
}

// Of a block at most: eight bytes at a time, in lanes of 16 bits that can hold so much.
uint32_t sum_of(const char* bytes, size_t count) {
  assert(count <= kTarBlock);
  constexpr uint64_t kEven = 0x00FF00FF00FF00FF;
  uint64_t lanes = 0;
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const auto word = get_le<uint64_t>(bytes + i);
    lanes += (word & kEven) + (word >> 8 & kEven);
  }
  uint64_t last = 0;
  for (; i < count; ++i)
    last = last << 8 | static_cast<uint8_t>(bytes[i]);
  lanes += (last & kEven) + (last >> 8 & kEven);
  uint32_t sum = 0;
  for (; lanes != 0; lanes >>= 16)
    sum += static_cast<uint32_t>(lanes & 0xFFFF);
  return sum;
}

// "LENGTH key=value\n", where the length counts itself.
std::string pax_record(std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;  // blank, '=', newline
  size_t length = rest + 1;
  while (length != rest + fmt::formatted_size("{}", length))
    length = rest + fmt::formatted_size("{}", length);
  return fmt::format("{} {}={}\n", length, key, value);
}

// The records of an extended header: path and size. False when they are none of ours.
bool take_pax_records(std::string_view records, TarMember& member) {
  bool has_path = false, has_size = false;
  while (!records.empty()) {
    size_t length = 0;
    const char* const end = records.data() + records.size();
    const auto [digits_end, status] = std::from_chars(records.data(), end, length);
    const auto digits = static_cast<size_t>(digits_end - records.data());
    if (status != std::errc() || length > records.size() || length < digits + 2 ||
        *digits_end != ' ' || records[length - 1] != '\n') {
      return false;
    }
    const std::string_view record = records.substr(digits + 1, length - digits - 2);
    const size_t equals = record.find('=');
    if (equals == record.npos) return false;
    const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") {
      member.path = value;
      has_path = true;
    } else if (key == "size") {
      const auto [value_end, read] =
          std::from_chars(value.data(), value.data() + value.size(), member.size);
      if (read != std::errc() || value_end != value.data() + value.size()) return false;
      has_size = true;
    } else {
      return false;
    }
    records.remove_prefix(length);
  }
  return has_path && has_size;
}

bool is_zero(std::string_view block) {
  return block.find_first_not_of('\0') == block.npos;
}

}  // namespace

TarHeaders::TarHeaders(uint64_t mtime) : plain_(kTarBlock, '\0') {
  put_octal(&plain_[kMode], 0644, 7);
  put_octal(&plain_[kUid], 0, 7);
  put_octal(&plain_[kGid], 0, 7);
  put_octal(&plain_[kSize], 0, kOctalDigits);
  put_octal(&plain_[kMtime], std::min(mtime, kMaxOctal), kOctalDigits);
  std::memset(&plain_[kChecksum], ' ', kChecksumBytes);
  plain_[kType] = kRegular;
  constexpr std::string_view kUstar("ustar\00000", 8);
  std::memcpy(&plain_[kMagic], kUstar.data(), kUstar.size());
  extension_ = plain_;
  extension_[kType] = kExtended;
  sum_ = sum_of(plain_.data(), kTarBlock);
  extension_sum_ = sum_of(extension_.data(), kTarBlock);
}

// Appends `block`, which has none of name, size and checksum, with them filled in.
void TarHeaders::append_filled(std::string& out, std::string_view block, uint32_t sum,
                               std::string_view name, uint64_t size) {
  const size_t begin = out.size();
  out += block;
  char* const at = out.data() + begin;
  std::memcpy(at + kName, name.data(), name.size());
  sum += sum_of(name.data(), name.size());
  sum += raise_octal(at + kSize + kOctalDigits - 1, size);
  put_octal(at + kChecksum, sum, kChecksumDigits);
  at[kChecksum + kChecksumDigits] = '\0';
}

// What does not fit its field is cut: the extended header has it whole.
void TarHeaders::append_block(std::string& out, std::string_view path, uint64_t size) const {
  append_filled(out, plain_, sum_, path.substr(0, kNameBytes), std::min(size, kMaxOctal));
}

void TarHeaders::append(std::string& out, std::string_view path, uint64_t size) const {
  if (path.size() <= kNameBytes && size <= kMaxOctal) return append_block(out, path, size);
  append_extended(out, path, size);
}

void TarHeaders::append_extended(std::string& out, std::string_view path, uint64_t size) const {
  const std::string records =
      pax_record("path", path) + pax_record("size", fmt::format("{:0{}}", size, kFixedSizeDigits));
  append_filled(out, extension_, extension_sum_, kExtendedName, records.size());
  out += records;
  append_tar_padding(out, records.size());
  append_block(out, path, size);
}

TarParse parse_tar_header(std::string_view bytes, TarMember& member) {
  member = {};
  bool extended = false;
  for (;;) {
    if (bytes.size() < member.header_bytes + kTarBlock) return TarParse::need_more;
    const std::string_view block = bytes.substr(member.header_bytes, kTarBlock);
    if (!extended && is_zero(block)) return TarParse::end;
    const std::optional<uint64_t> size = take_octal(block.substr(kSize, kOctalDigits));
    const std::optional<uint64_t> checksum = take_octal(block.substr(kChecksum, kChecksumDigits));
    const uint32_t sum = sum_of(block.data(), kTarBlock) + uint32_t{kChecksumBytes} * ' ' -
                         sum_of(block.data() + kChecksum, kChecksumBytes);
    if (!size || !checksum || *checksum != sum) return TarParse::broken;
    member.header_bytes += kTarBlock;
    if (block[kType] == kRegular) {
      member.mtime = take_octal(block.substr(kMtime, kOctalDigits)).value_or(0);
      std::string_view name = block.substr(kName, kNameBytes);
      name = name.substr(0, name.find('\0'));
      if (extended) {
        // No checksum is over the extended header's records, but this block says the same again.
        const bool same = *size == std::min(member.size, kMaxOctal) &&
                          name == std::string_view(member.path).substr(0, kNameBytes);
        return same ? TarParse::member : TarParse::broken;
      }
      member.path = name;
      member.size = *size;
      return TarParse::member;
    }
    if (block[kType] != kExtended || extended || *size > kMaxExtendedBytes) return TarParse::broken;
    const size_t padded = *size + tar_padding(*size);
    if (bytes.size() < member.header_bytes + padded) return TarParse::need_more;
    if (!take_pax_records(bytes.substr(member.header_bytes, *size), member)) {
      return TarParse::broken;
    }
    member.header_bytes += padded;
    extended = true;
  }
}

}  // namespace gigafetch::store
