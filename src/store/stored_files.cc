#include "store/stored_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include "store/regular_file.h"

namespace gigafetch::store {
namespace {

constexpr size_t kBufferBytes = 64 * 1024;

}  // namespace

class StoredFiles::Reader final : public BodyReader {
 public:
  Reader(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  StoreStatus read(std::string_view& piece) override {
    if (again_ > 0) {
      piece = {buffer_ + size_ - again_, again_};
      again_ = 0;
      return {};
    }
    ssize_t got;
    do {
      got = ::read(fd_.get(), buffer_, sizeof buffer_);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return StoreStatus::of_errno(errno, "read", path_);
    size_ = static_cast<size_t>(got);
    piece = {buffer_, size_};
    return {};
  }

  void give_back(size_t bytes) override { again_ = bytes; }

 private:
  UniqueFd fd_;
  std::string path_;
  size_t size_ = 0;   // of what the buffer holds
  size_t again_ = 0;  // bytes at its end that were given back
  char buffer_[kBufferBytes];
};

StoredFiles::StoredFiles(int output_fd, Layout layout, const NameRules& names,
                         size_t cached_directories)
    : layout_(layout),
      spellings_(names),
      directories_(output_fd, cached_directories, DirectoryCache::Missing::fail, spellings_) {}

StoreStatus StoredFiles::locate(std::string_view name, int& directory_fd) {
  if (const auto refused = path_of_name(layout_, name, path_)) {
    return StoreStatus::file(*refused, std::string(refusal_text(*refused)));
  }
  const SplitPath parts = split_path(path_);
  file_.assign(parts.file);
  StoreStatus status = directories_.get(parts.directory, directory_fd);
  if (status.kind() != StoreStatus::Kind::busy) return status;
  directories_.clear();  // its descriptors are the only ones to spare
  return directories_.get(parts.directory, directory_fd);
}

StoreStatus StoredFiles::check(std::string_view name) {
  int directory_fd = -1;
  if (StoreStatus status = locate(name, directory_fd); !status.ok()) return status;
  struct stat there;
  if (::fstatat(directory_fd, file_.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0) {
    return StoreStatus::of_errno(errno, "examine", path_);
  }
  return is_own(directory_fd, there.st_mode);
}

StoreStatus StoredFiles::is_own(int directory_fd, mode_t mode) {
  StoreStatus status = StoreStatus::of_mode(mode, "read", path_);
  if (!status.ok() || !spellings_.rules().folds()) return status;
  return spellings_.check(split_path(path_).directory, directory_fd, file_);
}

StoreStatus StoredFiles::open(std::string_view name, UniqueFd& file_fd) {
  int directory_fd = -1;
  if (StoreStatus status = locate(name, directory_fd); !status.ok()) return status;
  file_fd = open_regular(directory_fd, file_.c_str(), O_RDONLY);
  if (!file_fd) return StoreStatus::of_errno(errno, "read", path_);
  return is_own(directory_fd, S_IFREG);
}

std::optional<FailureClass> StoredFiles::refuses(std::string_view name) {
  return path_of_name(layout_, name, path_);
}

std::string_view StoredFiles::refusal_text(FailureClass refusal) const {
  return store::refusal_text(layout_, refusal);
}

StoreStatus StoredFiles::open(std::string_view name, std::unique_ptr<BodyReader>& reader) {
  UniqueFd file_fd;
  if (StoreStatus status = open(name, file_fd); !status.ok()) return status;
  reader = std::make_unique<Reader>(std::move(file_fd), path_);
  return {};
}

StoreStatus StoredFiles::hash(std::string_view name, uint64_t& bytes, Hash128& content,
                              const std::function<void()>& on_read) {
  UniqueFd file_fd;
  if (StoreStatus status = open(name, file_fd); !status.ok()) return status;
  if (!buffer_) buffer_ = std::make_unique<char[]>(kBufferBytes);
  std::optional<ContentHasher> hasher;
  for (bytes = 0;;) {
    const ssize_t got = ::read(file_fd.get(), buffer_.get(), kBufferBytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return StoreStatus::of_errno(errno, "read", path_);
    const std::string_view piece(buffer_.get(), static_cast<size_t>(got));
    const bool may_go_on = piece.size() == kBufferBytes;
    bytes += piece.size();
    if (!hasher && !may_go_on) {
      content = content_hash(name, piece);
      return {};
    }
    if (!hasher) hasher.emplace(name);
    hasher->update(piece);
    if (on_read) on_read();
    if (!piece.empty()) continue;
    content = hasher->value();
    return {};
  }
}

}  // namespace gigafetch::store
