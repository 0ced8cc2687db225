#include "store/shard_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/io.h"

namespace gigafetch::store {
namespace {

constexpr int kCreate = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
constexpr mode_t kMode = 0666;  // less the umask
constexpr size_t kMoveBytes = 256 * 1024;

}  // namespace

ShardFile::ShardFile(ShardName name, UniqueFd fd, IndexWriter index)
    : name_(name), fd_(std::move(fd)), index_(std::move(index)) {}

StoreStatus ShardFile::create(int output_fd, ShardId id, bool compressed,
                              std::unique_ptr<ShardFile>& shard) {
  for (;; ++id.number) {
    const ShardName name{id, compressed};
    const std::string file = file_of(name);
    UniqueFd fd(::openat(output_fd, file.c_str(), kCreate, kMode));
    if (!fd && errno == EEXIST) continue;
    if (!fd && errno == ENOENT) {
      return StoreStatus::run("the output folder has been removed; put it back");
    }
    if (!fd) {
      StoreStatus status = StoreStatus::of_errno(errno, "create", file);
      // It concerns no file of its own: without a shard none can be stored.
      return status.kind() == StoreStatus::Kind::file ? StoreStatus::run(status.text()) : status;
    }
    // Without an index, if need be.
    UniqueFd index_fd(::openat(output_fd, index_file_of(id).c_str(), kCreate, kMode));
    shard.reset(new ShardFile(name, std::move(fd), IndexWriter(std::move(index_fd), compressed)));
    return {};
  }
}

// Nothing can go on in a shard that cannot be written.
StoreStatus ShardFile::failed(int error_number, std::string_view operation) const {
  StoreStatus status = StoreStatus::of_errno(error_number, operation, file_of(name_));
  return status.kind() == StoreStatus::Kind::run ? status : StoreStatus::run(status.text());
}

StoreStatus ShardFile::append(std::string_view bytes) {
  if (const int error_number = write_all(fd_.get(), bytes); error_number != 0) {
    (void)cut(size_);  // what cannot be cut is left for whoever recovers the shard
    return failed(error_number, "write");
  }
  size_ += bytes.size();
  return {};
}

StoreStatus ShardFile::overwrite(uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote =
        ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return failed(errno, "write");
    bytes.remove_prefix(static_cast<size_t>(wrote));
    offset += static_cast<uint64_t>(wrote);
  }
  return {};
}

StoreStatus ShardFile::cut(uint64_t size) {
  if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0 ||
      ::lseek(fd_.get(), static_cast<off_t>(size), SEEK_SET) < 0) {
    return failed(errno, "cut");
  }
  size_ = size;
  return {};
}

StoreStatus ShardFile::take_out(uint64_t begin, uint64_t count) {
  std::string buffer(kMoveBytes, '\0');
  for (uint64_t from = begin + count; from < size_;) {
    const size_t step = static_cast<size_t>(std::min<uint64_t>(buffer.size(), size_ - from));
    const ssize_t got = ::pread(fd_.get(), buffer.data(), step, static_cast<off_t>(from));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return failed(got < 0 ? errno : EIO, "read");
    const std::string_view moved(buffer.data(), static_cast<size_t>(got));
    if (StoreStatus status = overwrite(from - count, moved); !status.ok()) return status;
    from += moved.size();
  }
  return cut(size_ - count);
}

StoreStatus ShardFile::sync() {
  return ::fdatasync(fd_.get()) == 0 ? StoreStatus() : failed(errno, "sync");
}

}  // namespace gigafetch::store
