#include "store/directory_cache.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace gigafetch::store {

int open_beneath(int root_fd, const char* path, int flags, unsigned mode) {
  open_how how{};
  how.flags = static_cast<__u64>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  long fd;
  do {
    fd = ::syscall(SYS_openat2, root_fd, path, &how, sizeof how);
  } while (fd < 0 && errno == EINTR);
  return static_cast<int>(fd);
}

SplitPath split_path(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == path.npos) return {std::string_view(), path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

DirectoryCache::DirectoryCache(int root_fd, size_t capacity, Missing missing)
    : root_fd_(root_fd), capacity_(capacity), missing_(missing) {}

StoreStatus DirectoryCache::get(std::string_view path, int& fd) {
  if (path.empty()) {
    fd = root_fd_;
    return {};
  }
  if (entries_.empty() || entries_.front().path != path) {
    if (const auto found = by_path_.find(path); found != by_path_.end()) {
      entries_.splice(entries_.begin(), entries_, found->second);
    } else {
      UniqueFd opened;
      if (StoreStatus status = open(path, opened); !status.ok()) return status;
      if (entries_.size() >= capacity_) {
        by_path_.erase(entries_.back().path);
        entries_.pop_back();
      }
      entries_.push_front(Entry{std::string(path), std::move(opened)});
      by_path_.emplace(entries_.front().path, entries_.begin());
    }
  }
  fd = entries_.front().fd.get();
  return {};
}

StoreStatus DirectoryCache::open(std::string_view path, UniqueFd& fd) {
  const std::string whole(path);
  fd.reset(open_beneath(root_fd_, whole.c_str(), O_PATH | O_DIRECTORY));
  if (fd) return {};
  if (errno != ENOENT || missing_ == Missing::fail) {
    return StoreStatus::of_errno(errno, "open the folder", path);
  }
  const SplitPath parts = split_path(path);
  const std::string last(parts.file);
  int parent = -1;
  if (StoreStatus status = get(parts.directory, parent); !status.ok()) return status;
  int made = ::mkdirat(parent, last.c_str(), 0777);
  if (made != 0 && errno == ENOENT && !parts.directory.empty()) {
    forget(parts.directory);  // removed under its descriptor
    if (StoreStatus status = get(parts.directory, parent); !status.ok()) return status;
    made = ::mkdirat(parent, last.c_str(), 0777);
  }
  if (made != 0 && errno != EEXIST) return StoreStatus::of_errno(errno, "make the folder", path);
  fd.reset(open_beneath(parent, last.c_str(), O_PATH | O_DIRECTORY));
  if (fd) return {};
  return StoreStatus::of_errno(errno, "open the folder", path);
}

void DirectoryCache::forget(std::string_view path) {
  const auto found = by_path_.find(path);
  if (found == by_path_.end()) return;
  const auto entry = found->second;
  by_path_.erase(found);
  entries_.erase(entry);
}

void DirectoryCache::clear() {
  by_path_.clear();
  entries_.clear();
}

}  // namespace gigafetch::store
