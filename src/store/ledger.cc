#include "store/ledger.h"

#include <fcntl.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <string_view>

#include "base/byte_order.h"
#include "base/escape.h"
#include "base/io.h"
#include "base/unique_fd.h"

namespace gigafetch::store {
namespace {

constexpr char kFile[] = "ledger";
constexpr char kNewFile[] = "ledger.new";
constexpr std::string_view kMagic = "GFLEDGER";
constexpr uint32_t kFormatVersion = 1;
constexpr uint8_t kIdentityRecord = 1;
constexpr size_t kFileHeaderBytes = 12;
constexpr size_t kRecordHeaderBytes = 8;
constexpr size_t kChecksumBytes = 8;
constexpr size_t kMaxLedgerBytes = 1024 * 1024;

void put_item(std::string& out, std::string_view text) {
  put_le<uint32_t>(out, static_cast<uint32_t>(text.size()));
  out.append(text);
}

std::string encode_identity(const JobIdentity& identity) {
  std::string out;
  put_item(out, identity.url);
  put_item(out, identity.api);
  put_item(out, identity.sink);
  put_item(out, identity.layout);
  put_item(out, identity.output);
  put_item(out, std::to_string(identity.include.size()));
  for (const std::string& glob : identity.include)
    put_item(out, glob);
  for (const std::string& glob : identity.exclude)
    put_item(out, glob);
  return out;
}

std::optional<JobIdentity> decode_identity(std::string_view payload) {
  std::vector<std::string> items;
  while (!payload.empty()) {
    if (payload.size() < sizeof(uint32_t)) return std::nullopt;
    const auto length = get_le<uint32_t>(payload.data());
    payload.remove_prefix(sizeof(uint32_t));
    if (payload.size() < length) return std::nullopt;
    items.emplace_back(payload.substr(0, length));
    payload.remove_prefix(length);
  }
  constexpr size_t kFixedItems = 6;
  if (items.size() < kFixedItems) return std::nullopt;
  size_t includes = 0;
  const std::string& count = items[5];
  std::from_chars(count.data(), count.data() + count.size(), includes);
  if (includes > items.size() - kFixedItems) return std::nullopt;
  const auto first = items.begin() + kFixedItems;
  const auto middle = first + static_cast<std::ptrdiff_t>(includes);
  return JobIdentity{items[0], items[1], items[2], items[3], {first, middle}, {middle, items.end()},
                     items[4]};
}

std::string join(const std::vector<std::string>& globs) {
  std::string out;
  for (const std::string& glob : globs)
    out += fmt::format("{}'{}'", out.empty() ? "" : " ", printable(glob));
  return out.empty() ? "not given" : out;
}

Error damaged(size_t offset) {
  return error(
      ErrorCode::malformed,
      "the ledger is damaged at byte {}; --restart forgets it and fetches everything again",
      offset);
}

}  // namespace

std::string difference(const JobIdentity& recorded, const JobIdentity& wanted) {
  using Globs = std::vector<std::string>;
  const auto shown = [](const auto& value) {
    if constexpr (std::is_same_v<decltype(value), const Globs&>) {
      return join(value);
    } else {
      return fmt::format("'{}'", printable(value));
    }
  };
  const auto compare = [&](std::string_view what, const auto& old_value, const auto& new_value) {
    if (old_value == new_value) return std::string();
    return fmt::format("{} was {}, now it is {}", what, shown(old_value), shown(new_value));
  };
  for (const std::string& found :
       {compare("the URL", recorded.url, wanted.url), compare("--api", recorded.api, wanted.api),
        compare("--sink", recorded.sink, wanted.sink),
        compare("--layout", recorded.layout, wanted.layout),
        compare("the output folder", recorded.output, wanted.output),
        compare("--include", recorded.include, wanted.include),
        compare("--exclude", recorded.exclude, wanted.exclude)}) {
    if (!found.empty()) return found;
  }
  return {};
}

Result<std::optional<JobIdentity>> read_ledger(int state_fd) {
  const UniqueFd fd(::openat(state_fd, kFile, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd && errno == ENOENT) return std::optional<JobIdentity>();
  if (!fd) return errno_error(errno, "cannot open the ledger");
  Result<std::string> bytes = read_to_end(fd.get(), kMaxLedgerBytes, "the ledger");
  if (!bytes) return std::move(bytes).failure();
  const std::string& ledger = bytes.value();
  if (ledger.size() < kFileHeaderBytes || !ledger.starts_with(kMagic)) return damaged(0);
  const auto version = get_le<uint32_t>(ledger.data() + kMagic.size());
  if (version != kFormatVersion) {
    return error(
        ErrorCode::malformed,
        "the ledger has format {}, this program writes format {}; use the program that began "
        "the job, or --restart",
        version, kFormatVersion);
  }
  const std::string_view record = std::string_view(ledger).substr(kFileHeaderBytes);
  if (record.size() < kRecordHeaderBytes + kChecksumBytes) return damaged(kFileHeaderBytes);
  const auto length = get_le<uint32_t>(record.data());
  if (record.size() != kRecordHeaderBytes + length + kChecksumBytes)
    return damaged(kFileHeaderBytes);
  const size_t checked = kRecordHeaderBytes + length;
  if (XXH3_64bits_withSeed(record.data(), checked, kFileHeaderBytes) !=
      get_le<uint64_t>(record.data() + checked)) {
    return damaged(kFileHeaderBytes);
  }
  std::optional<JobIdentity> identity = decode_identity(record.substr(kRecordHeaderBytes, length));
  if (!identity || get_le<uint8_t>(record.data() + 4) != kIdentityRecord) {
    return damaged(kFileHeaderBytes);
  }
  return identity;
}

Result<void> write_ledger(int state_fd, const JobIdentity& identity) {
  std::string bytes(kMagic);
  put_le<uint32_t>(bytes, kFormatVersion);
  const std::string payload = encode_identity(identity);
  std::string record;
  put_le<uint32_t>(record, static_cast<uint32_t>(payload.size()));
  put_le<uint8_t>(record, kIdentityRecord);
  record.append(3, '\0');
  record += payload;
  put_le<uint64_t>(record, XXH3_64bits_withSeed(record.data(), record.size(), kFileHeaderBytes));
  bytes += record;

  const UniqueFd fd(
      ::openat(state_fd, kNewFile, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return errno_error(errno, "cannot make the ledger");
  if (const int failed = write_all(fd.get(), bytes); failed != 0) {
    return errno_error(failed, "cannot write the ledger");
  }
  if (::fdatasync(fd.get()) != 0 || ::renameat(state_fd, kNewFile, state_fd, kFile) != 0 ||
      ::fsync(state_fd) != 0) {
    return errno_error(errno, "cannot put the ledger in place");
  }
  return {};
}

}  // namespace gigafetch::store
