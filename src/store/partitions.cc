#include "store/partitions.h"

#include <algorithm>

#include "base/byte_order.h"

namespace gigafetch::store {
namespace {

constexpr unsigned kKeyBits = 64;
constexpr unsigned kFanBits = 6;
constexpr size_t kFan = size_t{1} << kFanBits;
constexpr unsigned kMaxLevel = kKeyBits / kFanBits - 1;
constexpr size_t kSpillBytes = 24 * 1024;  // times kFan is held by each process that adds
constexpr size_t kReadBytes = 1024 * 1024;

}  // namespace

Result<Partitions> Partitions::create(int folder_fd, RecordSize record_size) {
  Result<Files> files = make_files(folder_fd);
  if (!files) return std::move(files).failure();
  return Partitions(folder_fd, record_size, std::move(*files));
}

Result<Partitions::Files> Partitions::make_files(int folder_fd) {
  Files files(kFan);
  for (File& file : files) {
    Result<TemporaryFile> made = TemporaryFile::create(folder_fd);
    if (!made) return std::move(made).failure();
    file.on_disk = std::move(*made);
  }
  return files;
}

Result<void> Partitions::put(Files& to, unsigned level, std::string_view record) {
  const uint64_t key = get_le<uint64_t>(record.data());
  File& file = to[key >> (kKeyBits - (level + 1) * kFanBits) & (kFan - 1)];
  file.buffer += record;
  return file.buffer.size() < kSpillBytes ? Result<void>() : spill(file);
}

Result<void> Partitions::spill(File& file) {
  Result<void> written = file.on_disk.append(file.buffer);
  if (written) file.buffer.clear();
  return written;
}

Result<void> Partitions::add(std::string_view record) {
  return put(files_, 0, record);
}

Result<void> Partitions::flush() {
  for (File& file : files_)
    if (Result<void> spilled = spill(file); !spilled) return spilled;
  return {};
}

Result<void> Partitions::finish(const Take& take) {
  for (File& file : files_)
    if (Result<void> given = give(file, 0, take); !given) return given;
  return {};
}

Result<void> Partitions::give(File& file, unsigned level, const Take& take) {
  if (Result<void> spilled = spill(file); !spilled) return spilled;
  file.buffer = {};
  Result<uint64_t> size = file.on_disk.size();
  if (!size) return std::move(size).failure();
  // Keys that are alike in all that divides them are taken for one.
  if (*size <= kMaxPartBytes || level == kMaxLevel) {
    std::string part(*size, '\0');
    if (Result<void> read = file.on_disk.read(0, part); !read) return read;
    file.on_disk.close();
    return take(std::move(part));
  }
  Result<Files> parts = make_files(folder_fd_);
  if (!parts) return std::move(parts).failure();
  if (Result<void> divided = divide(file, *size, level + 1, *parts); !divided) return divided;
  file.on_disk.close();
  for (File& part : *parts)
    if (Result<void> given = give(part, level + 1, take); !given) return given;
  return {};
}

Result<void> Partitions::divide(File& file, uint64_t size, unsigned level, Files& to) {
  std::string bytes;
  for (uint64_t done = 0; done < size;) {
    const size_t kept = bytes.size();
    const size_t more = std::min<uint64_t>(size - done, kReadBytes);
    bytes.resize(kept + more);
    if (Result<void> read = file.on_disk.read(done, std::span(bytes).subspan(kept)); !read) {
      return read;
    }
    done += more;
    std::string_view rest = bytes;
    for (size_t record; !rest.empty() && (record = record_size_(rest)) > 0;) {
      if (Result<void> put_there = put(to, level, rest.substr(0, record)); !put_there) {
        return put_there;
      }
      rest.remove_prefix(record);
    }
    bytes.erase(0, bytes.size() - rest.size());
  }
  return bytes.empty() ? Result<void>() : TemporaryFile::spoilt();
}

}  // namespace gigafetch::store
