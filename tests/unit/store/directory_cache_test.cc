#include "store/directory_cache.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;
using Missing = DirectoryCache::Missing;

Spellings apart{NameRules()};  // asked nothing

bool is_folder(int fd, const fs::path& path) {
  struct stat opened, there;
  return ::fstat(fd, &opened) == 0 && ::stat(path.c_str(), &there) == 0 &&
         S_ISDIR(opened.st_mode) && opened.st_ino == there.st_ino && opened.st_dev == there.st_dev;
}

// The cause of a failed get; fails the test when it does not fail.
FailureClass cause_of(DirectoryCache& cache, std::string_view path) {
  int fd = -1;
  const StoreStatus status = cache.get(path, fd);
  REQUIRE_FALSE(status.ok());
  CHECK(status.kind() == StoreStatus::Kind::file);
  return status.cause();
}

void check_got(DirectoryCache& cache, const TempFolder& root, const std::string& path) {
  CAPTURE(path);
  int fd = -1;
  const StoreStatus status = cache.get(path, fd);
  CHECK(status.text() == "");
  REQUIRE(status.ok());
  CHECK(is_folder(fd, root.path() / path));
}

int errno_of_open(int root_fd, const char* path, int flags = O_RDONLY) {
  const UniqueFd fd(open_beneath(root_fd, path, flags));
  return fd ? 0 : errno;
}

}  // namespace

TEST_CASE("a path is cut at its last slash") {
  const auto cut = [](std::string_view path) {
    const SplitPath parts = split_path(path);
    return fmt::format("{}|{}", parts.directory, parts.file);
  };
  CHECK(cut("a/b/c") == "a/b|c");
  CHECK(cut("a/b") == "a|b");
  CHECK(cut("c") == "|c");
  CHECK(cut("") == "|");
}

TEST_CASE("nothing outside the root is opened") {
  const TempFolder outside, root;
  write_file(outside / "file", "x");
  write_file(root / "file", "x");
  fs::create_directories(root / "a/b");
  CHECK(errno_of_open(root.fd(), "file") == 0);
  CHECK(errno_of_open(root.fd(), "a/../file") == 0);
  CHECK(errno_of_open(root.fd(), ".") == 0);
  for (const std::string& path :
       {std::string(".."), std::string("../x"), std::string("a/../../x"),
        std::string("a/b/../../.."), (outside / "file").string(), std::string("/")}) {
    CAPTURE(path);
    CHECK(errno_of_open(root.fd(), path.c_str()) == EXDEV);
  }
}

TEST_CASE("no link is followed, wherever it leads and wherever it stands") {
  const TempFolder outside, root;
  write_file(outside / "file", "x");
  write_file(root / "file", "x");
  fs::create_directory(root / "folder");
  fs::create_symlink(outside.path(), root / "out");
  fs::create_symlink("folder", root / "in");
  fs::create_symlink("file", root / "to-file");
  fs::create_symlink("nowhere", root / "dangling");
  fs::create_symlink("/proc/self/fd", root / "magic");
  for (const std::string path :
       {"out/file", "out", "in", "in/x", "to-file", "dangling", "magic/0", "folder/../in"}) {
    CAPTURE(path);
    CHECK(errno_of_open(root.fd(), path.c_str()) == ELOOP);
  }
}

TEST_CASE("what is opened is not inherited by programs") {
  const TempFolder root;
  const UniqueFd fd(open_beneath(root.fd(), ".", O_RDONLY | O_DIRECTORY));
  REQUIRE(fd);
  CHECK((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("missing folders are made, as deep as the path") {
  const TempFolder root;
  DirectoryCache cache(root.fd(), 16, Missing::create, apart);
  check_got(cache, root, "a/b/c/d");
  check_got(cache, root, "a/b");
  check_got(cache, root, "a/b/x");
  check_got(cache, root, "");
  int fd = -1;
  REQUIRE(cache.get("", fd).ok());
  CHECK(fd == root.fd());
}

TEST_CASE("a cache that makes no folders reports a missing one") {
  const TempFolder root;
  fs::create_directories(root / "a/b");
  DirectoryCache cache(root.fd(), 16, Missing::fail, apart);
  check_got(cache, root, "a/b");
  CHECK(cause_of(cache, "a/c") == FailureClass::missing);
  CHECK(cause_of(cache, "x/y/z") == FailureClass::missing);
  CHECK_FALSE(stands(root / "x"));
  check_got(cache, root, "a/b");
}

TEST_CASE("a file in a folder's place is a name conflict, a link is unsafe") {
  const TempFolder root, outside;
  write_file(root / "file", "x");
  fs::create_symlink(outside.path(), root / "link");
  for (const Missing missing : {Missing::create, Missing::fail}) {
    DirectoryCache cache(root.fd(), 16, missing, apart);
    CHECK(cause_of(cache, "file") == FailureClass::name_conflict);
    CHECK(cause_of(cache, "file/a") == FailureClass::name_conflict);
    CHECK(cause_of(cache, "file/a/b") == FailureClass::name_conflict);
    CHECK(cause_of(cache, "link") == FailureClass::unsafe_path);
    CHECK(cause_of(cache, "link/a/b") == FailureClass::unsafe_path);
  }
  CHECK(fs::is_empty(outside.path()));
}

TEST_CASE("no more descriptors are held than the capacity says") {
  const TempFolder root;
  const size_t before = open_descriptors();
  for (const size_t capacity : {size_t{1}, size_t{2}, size_t{8}}) {
    CAPTURE(capacity);
    DirectoryCache cache(root.fd(), capacity, Missing::create, apart);
    for (int round = 0; round < 2; ++round) {
      for (int i = 0; i < 50; ++i)
        check_got(cache, root, fmt::format("{}/x/{}", i % 10, i));
    }
    CHECK(open_descriptors() - before <= capacity);
    CHECK(open_descriptors() - before >= 1);
    cache.clear();
    CHECK(open_descriptors() == before);
    check_got(cache, root, "0/x/0");
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("the least recently used folder makes room") {
  const TempFolder root;
  DirectoryCache cache(root.fd(), 2, Missing::create, apart);
  int fd = -1;
  for (const std::string path : {"a", "b", "a", "c"})
    REQUIRE(cache.get(path, fd).ok());
  // What is still held is not made again when it is gone from its place.
  fs::rename(root / "a", root / "a moved");
  fs::rename(root / "b", root / "b moved");
  fs::rename(root / "c", root / "c moved");
  REQUIRE(cache.get("a", fd).ok());
  CHECK(is_folder(fd, root / "a moved"));
  REQUIRE(cache.get("c", fd).ok());
  CHECK(is_folder(fd, root / "c moved"));
  check_got(cache, root, "b");
}

TEST_CASE("a removed folder is made again once it is forgotten") {
  const TempFolder root;
  DirectoryCache cache(root.fd(), 16, Missing::create, apart);
  check_got(cache, root, "a/b");
  fs::remove(root / "a/b");
  cache.forget("a/b");
  cache.forget("never seen");
  cache.forget("");
  check_got(cache, root, "a/b");
}

TEST_CASE("a removed folder is made again with the folders above it that went too") {
  const TempFolder root;
  DirectoryCache cache(root.fd(), 16, Missing::create, apart);
  check_got(cache, root, "a/b/c");
  fs::remove_all(root / "a");
  cache.forget("a/b/c");
  check_got(cache, root, "a/b/c");
}

}  // namespace gigafetch::store
