// A file system that folds names, over a folder: folding_fs RULES FOLDER MOUNTPOINT [FUSE
// OPTION]... The rules are in folding.h. Inode numbers are the folder's.
#define FUSE_USE_VERSION 31

#include <dirent.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>
#include <string>

#include "folding.h"

namespace {

std::optional<folding::Rules> rules;
std::string folder;

// Where the file of a path is.
std::string at(const char* path) {
  return folder + "/" + rules->find_path(folder, path, ::opendir);
}

int outcome(int result) {
  return result < 0 ? -errno : 0;
}

// A new entry is made only where nothing is taken for it, and under no refused name.
int check_new(const char* path) {
  const std::string name(path);
  return rules->refuses(name.substr(name.rfind('/') + 1)) ? -EINVAL : 0;
}

int get_attributes(const char* path, struct stat* found, fuse_file_info*) {
  return outcome(::lstat(at(path).c_str(), found));
}

int read_folder(const char* path, void* buffer, fuse_fill_dir_t fill, off_t, fuse_file_info*,
                fuse_readdir_flags) {
  DIR* const dir = ::opendir(at(path).c_str());
  if (dir == nullptr) return -errno;
  while (const dirent* entry = ::readdir(dir)) {
    struct stat known {};
    known.st_ino = entry->d_ino;
    known.st_mode = DTTOIF(entry->d_type);
    fill(buffer, entry->d_name, &known, 0, fuse_fill_dir_flags{});
  }
  ::closedir(dir);
  return 0;
}

int make_folder(const char* path, mode_t mode) {
  const int refused = check_new(path);
  return refused != 0 ? refused : outcome(::mkdir(at(path).c_str(), mode));
}

int make_node(const char* path, mode_t mode, dev_t device) {
  return outcome(::mknod(at(path).c_str(), mode, device));
}

int create_file(const char* path, mode_t mode, fuse_file_info* file) {
  if (const int refused = check_new(path); refused != 0) return refused;
  const int fd = ::open(at(path).c_str(), file->flags | O_CREAT, mode);
  file->fh = static_cast<uint64_t>(fd);
  return outcome(fd);
}

int open_file(const char* path, fuse_file_info* file) {
  const int fd = ::open(at(path).c_str(), file->flags & ~(O_CREAT | O_EXCL));
  file->fh = static_cast<uint64_t>(fd);
  return outcome(fd);
}

int close_file(const char*, fuse_file_info* file) {
  return outcome(::close(static_cast<int>(file->fh)));
}

int read_file(const char*, char* bytes, size_t size, off_t offset, fuse_file_info* file) {
  const ssize_t got = ::pread(static_cast<int>(file->fh), bytes, size, offset);
  return got < 0 ? -errno : static_cast<int>(got);
}

int write_file(const char*, const char* bytes, size_t size, off_t offset, fuse_file_info* file) {
  const int fd = static_cast<int>(file->fh);
  const bool appends = (::fcntl(fd, F_GETFL) & O_APPEND) != 0;
  const ssize_t put = appends ? ::write(fd, bytes, size) : ::pwrite(fd, bytes, size, offset);
  return put < 0 ? -errno : static_cast<int>(put);
}

int truncate_file(const char* path, off_t size, fuse_file_info*) {
  return outcome(::truncate(at(path).c_str(), size));
}

int remove_file(const char* path) {
  return outcome(::unlink(at(path).c_str()));
}

int remove_folder(const char* path) {
  return outcome(::rmdir(at(path).c_str()));
}

int rename_file(const char* from, const char* to, unsigned) {
  return outcome(::rename(at(from).c_str(), at(to).c_str()));
}

int change_mode(const char* path, mode_t mode, fuse_file_info*) {
  return outcome(::chmod(at(path).c_str(), mode));
}

int sync_file(const char*, int, fuse_file_info* file) {
  return outcome(::fsync(static_cast<int>(file->fh)));
}

int set_times(const char* path, const timespec times[2], fuse_file_info*) {
  return outcome(::utimensat(AT_FDCWD, at(path).c_str(), times, AT_SYMLINK_NOFOLLOW));
}

int get_space(const char*, struct statvfs* space) {
  return outcome(::statvfs(folder.c_str(), space));
}

void* begin(fuse_conn_info*, fuse_config* config) {
  config->use_ino = 1;
  config->readdir_ino = 1;
  // What is found under one spelling may be gone or another's under the next.
  config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "folding_fs RULES FOLDER MOUNTPOINT [FUSE OPTION]...\n");
    return 2;
  }
  rules.emplace(argv[1]);
  folder = argv[2];
  argv[2] = argv[0];
  fuse_operations operations{};
  operations.init = begin;
  operations.getattr = get_attributes;
  operations.readdir = read_folder;
  operations.mkdir = make_folder;
  operations.mknod = make_node;
  operations.create = create_file;
  operations.open = open_file;
  operations.release = close_file;
  operations.read = read_file;
  operations.write = write_file;
  operations.truncate = truncate_file;
  operations.unlink = remove_file;
  operations.rmdir = remove_folder;
  operations.rename = rename_file;
  operations.chmod = change_mode;
  operations.fsync = sync_file;
  operations.utimens = set_times;
  operations.statfs = get_space;
  return fuse_main(argc - 2, argv + 2, &operations, nullptr);
}
