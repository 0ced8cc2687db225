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

DirectoryCache::DirectoryCache(int root_fd, size_t capacity, Missing missing, Spellings& spellings)
    : root_fd_(root_fd), capacity_(capacity), missing_(missing), spellings_(spellings) {}

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
  // Where names fold, each folder on the way must be looked at.
  if (!spellings_.rules().folds()) {
    const std::string whole(path);
    fd.reset(open_beneath(root_fd_, whole.c_str(), O_PATH | O_DIRECTORY));
    if (fd) return {};
    if (errno != ENOENT || missing_ == Missing::fail) {
      return StoreStatus::of_errno(errno, "open the folder", path);
    }
  }
  const std::string_view parent_path = split_path(path).directory;
  int parent = -1;
  if (StoreStatus status = get(parent_path, parent); !status.ok()) return status;
  StoreStatus status = open_in(parent, path, fd);
  const bool parent_was_gone = !status.ok() && status.cause() == FailureClass::missing;
  if (!parent_was_gone || parent_path.empty() || missing_ == Missing::fail) return status;
  forget(parent_path);  // removed under its descriptor
  if (status = get(parent_path, parent); !status.ok()) return status;
  return open_in(parent, path, fd);
}

StoreStatus DirectoryCache::open_in(int parent_fd, std::string_view path, UniqueFd& fd) {
  const std::string last(split_path(path).file);
  bool is_new = false;
  if (missing_ == Missing::create) {
    is_new = ::mkdirat(parent_fd, last.c_str(), 0777) == 0;
    const bool failed = !is_new && errno != EEXIST;
    if (failed && errno == EIO && spellings_.rules().refuses(last)) {
      return StoreStatus::refused_name(path, "Input/output error");
    }
    if (failed) return StoreStatus::of_creation(errno, "make the folder", path);
  }
  fd.reset(open_beneath(parent_fd, last.c_str(), O_PATH | O_DIRECTORY));
  if (!fd) return StoreStatus::of_errno(errno, "open the folder", path);
  return check_spelling(parent_fd, path, is_new);
}

StoreStatus DirectoryCache::check_spelling(int parent_fd, std::string_view path, bool is_new) {
  const SplitPath parts = split_path(path);
  if (!is_new) {
    return spellings_.rules().folds() ? spellings_.check(parts.directory, parent_fd, parts.file)
                                      : StoreStatus();
  }
  if (!spellings_.rules().may_respell(parts.file)) return {};
  StoreStatus status = spellings_.check_new(parts.directory, parent_fd, parts.file);
  if (!status.ok()) ::unlinkat(parent_fd, std::string(parts.file).c_str(), AT_REMOVEDIR);
  return status;
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
