#include "store/file_sink.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/escape.h"
#include "base/io.h"

namespace gigafetch::store {
namespace {

constexpr int kCreateFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
constexpr mode_t kFileMode = 0666;  // less the umask
// How often a name may turn up again between its removal and its creation, while another worker
// stores a second mention of it.
constexpr int kCreateTries = 16;

// Removes `file` from its folder, if it still is the one open as `file_fd`: a second mention of the
// name may have put its own there.
void remove_own(int directory_fd, const char* file, int file_fd) {
  struct stat own, there;
  if (::fstat(file_fd, &own) != 0) return;
  if (::fstatat(directory_fd, file, &there, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (own.st_ino == there.st_ino && own.st_dev == there.st_dev) ::unlinkat(directory_fd, file, 0);
}

// Folders are made as they are needed: one that cannot be made has no place to be made in.
StoreStatus output_gone() {
  return StoreStatus::run("the output folder has been removed; put it back");
}

}  // namespace

// A file that arrives in pieces. It holds a descriptor of its own for the folder, since many files
// may pass through the cache while this one grows.
class FileSink::Writer final : public BodyWriter {
 public:
  Writer(FileSink& sink, UniqueFd file_fd, UniqueFd directory_fd, std::string path)
      : sink_(sink),
        file_fd_(std::move(file_fd)),
        directory_fd_(std::move(directory_fd)),
        path_(std::move(path)) {}

  ~Writer() override {
    if (file_fd_) remove_own(directory_fd_.get(), file(), file_fd_.get());
  }

  StoreStatus append(std::string_view piece) override {
    if (const int failed = write_all(file_fd_.get(), piece); failed != 0) {
      return StoreStatus::of_errno(failed, "write", path_);
    }
    return {};
  }

  StoreStatus close() override {
    return sink_.finish(file_fd_, directory_fd_.get(), file(), path_);
  }

 private:
  const char* file() const { return split_path(path_).file.data(); }

  FileSink& sink_;
  UniqueFd file_fd_;
  UniqueFd directory_fd_;
  std::string path_;
};

FileSink::FileSink(int output_fd, const Options& options)
    : options_(options),
      spellings_(options.names),
      directories_(output_fd, options.cached_directories, DirectoryCache::Missing::create,
                   spellings_) {}

std::optional<FailureClass> FileSink::refuses(std::string_view name) {
  // No byte takes more than three on disk: a name as short as this has a path in every layout.
  const bool is_short = !name.empty() && name.size() <= kMaxComponentBytes / 3;
  if (is_short && name.find('\0') == name.npos) return std::nullopt;
  return path_of_name(options_.layout, name, path_);
}

std::string_view FileSink::refusal_text(FailureClass refusal) const {
  return store::refusal_text(options_.layout, refusal);
}

StoreStatus FileSink::create(std::string_view name, UniqueFd& file_fd, int& directory_fd) {
  if (const auto refused = path_of_name(options_.layout, name, path_)) {
    return StoreStatus::file(*refused, std::string(refusal_text(*refused)));
  }
  const SplitPath parts = split_path(path_);
  file_ = parts.file.data();
  bool folder_was_gone = false;
  for (int tries = 0; tries < kCreateTries; ++tries) {
    StoreStatus status = directories_.get(parts.directory, directory_fd);
    if (!status.ok()) {
      if (status.kind() == StoreStatus::Kind::busy) directories_.clear();
      return status.cause() == FailureClass::missing ? output_gone() : status;
    }
    file_fd.reset(::openat(directory_fd, file_, kCreateFlags, kFileMode));
    if (file_fd) return check_new(directory_fd, file_fd);
    const int failed = errno;
    if (failed == EEXIST) {
      if (status = remove_old(directory_fd, file_); !status.ok()) return status;
    } else if (failed == ENOENT && !folder_was_gone) {
      folder_was_gone = true;  // removed under our descriptor: make it again, once
      directories_.forget(parts.directory);
    } else if (failed != EINTR) {
      if (failed == EMFILE || failed == ENFILE) directories_.clear();
      return refusal(failed);
    }
  }
  return StoreStatus::of_errno(EEXIST, "create", path_);
}

StoreStatus FileSink::refusal(int failed) const {
  // Some file systems know no better word for a name that they do not take.
  const bool is_vague = failed == ENOENT || failed == EIO;
  if (is_vague && options_.names.refuses(path_)) {
    return StoreStatus::refused_name(path_, std::strerror(failed));
  }
  if (failed == ENOENT) return output_gone();
  return StoreStatus::of_creation(failed, "create", path_);
}

StoreStatus FileSink::check_new(int directory_fd, UniqueFd& file_fd) {
  if (!options_.names.may_respell(file_)) return {};
  StoreStatus status = spellings_.check_new(split_path(path_).directory, directory_fd, file_);
  if (!status.ok()) {
    remove_own(directory_fd, file_, file_fd.get());
    file_fd.reset();
  }
  return status;
}

StoreStatus FileSink::remove_old(int directory_fd, const char* file) {
  struct stat old;
  if (::fstatat(directory_fd, file, &old, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? StoreStatus() : StoreStatus::of_errno(errno, "examine", path_);
  }
  if (StoreStatus status = StoreStatus::of_mode(old.st_mode, "replace", path_); !status.ok()) {
    return status;
  }
  const bool folds = options_.names.folds();
  const std::string_view folder = split_path(path_).directory;
  if (folds) {
    StoreStatus status = spellings_.check(folder, directory_fd, file);
    if (!status.ok() && status.cause() == FailureClass::missing) return {};
    if (!status.ok()) return status;
  }
  if (::unlinkat(directory_fd, file, 0) != 0 && errno != ENOENT) {
    return StoreStatus::of_errno(errno, "replace", path_);
  }
  if (folds) spellings_.removed(folder, file);
  return {};
}

StoreStatus FileSink::finish(UniqueFd& file_fd, int directory_fd, const char* file,
                             std::string_view path) {
  if (options_.sync_files && ::fdatasync(file_fd.get()) != 0) {
    const StoreStatus status = StoreStatus::of_errno(errno, "sync", path);
    remove_own(directory_fd, file, file_fd.get());
    file_fd.reset();
    return status;
  }
  // EINTR still closes (close(2)); other errors are late write errors, on network file systems.
  if (::close(file_fd.release()) != 0 && errno != EINTR) {
    const StoreStatus status = StoreStatus::of_errno(errno, "close", path);
    ::unlinkat(directory_fd, file, 0);
    return status;
  }
  return {};
}

StoreStatus FileSink::put(Lot&, std::string_view name, std::string_view body) {
  UniqueFd file_fd;
  int directory_fd = -1;
  if (StoreStatus status = create(name, file_fd, directory_fd); !status.ok()) return status;
  if (const int failed = write_all(file_fd.get(), body); failed != 0) {
    remove_own(directory_fd, file_, file_fd.get());
    return StoreStatus::of_errno(failed, "write", path_);
  }
  return finish(file_fd, directory_fd, file_, path_);
}

void FileSink::discard(std::string_view name) {
  if (path_of_name(options_.layout, name, path_)) return;
  const SplitPath parts = split_path(path_);
  file_ = parts.file.data();
  if (options_.names.folds()) return discard_own(parts.directory);
  const std::string folder = parts.directory.empty() ? "." : std::string(parts.directory);
  const UniqueFd directory(
      open_beneath(directories_.root_fd(), folder.c_str(), O_PATH | O_DIRECTORY));
  struct stat there;
  if (directory && ::fstatat(directory.get(), file_, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
      S_ISREG(there.st_mode)) {
    ::unlinkat(directory.get(), file_, 0);
  }
}

void FileSink::discard_own(std::string_view folder) {
  DirectoryCache existing(directories_.root_fd(), 1, DirectoryCache::Missing::fail, spellings_);
  int directory_fd = -1;
  // What is another name's is not removed, nor what cannot be told.
  if (existing.get(folder, directory_fd).ok()) static_cast<void>(remove_old(directory_fd, file_));
}

StoreStatus FileSink::open(Lot&, std::string_view name, std::optional<uint64_t>,
                           std::unique_ptr<BodyWriter>& writer) {
  UniqueFd file_fd;
  int directory_fd = -1;
  if (StoreStatus status = create(name, file_fd, directory_fd); !status.ok()) return status;
  UniqueFd own_directory(::fcntl(directory_fd, F_DUPFD_CLOEXEC, 0));
  if (!own_directory) {
    const int failed = errno;
    remove_own(directory_fd, file_, file_fd.get());
    if (failed == EMFILE) directories_.clear();
    return StoreStatus::of_errno(failed, "open the folder of", path_);
  }
  writer = std::make_unique<Writer>(*this, std::move(file_fd), std::move(own_directory), path_);
  return {};
}

}  // namespace gigafetch::store
