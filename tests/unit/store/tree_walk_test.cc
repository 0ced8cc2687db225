#include "store/tree_walk.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "base/temp_folder.h"
#include "store/file_sink.h"

namespace gigafetch::store {
namespace {

Lot lot;  // of no use to this sink

namespace fs = std::filesystem;
using Entries = std::vector<std::string>;

// "path", or "path (other)", sorted.
Entries walked(int fd) {
  Entries entries;
  const Result<void> result =
      walk_tree(fd, [&](std::string_view path, EntryKind kind) -> Result<void> {
        entries.push_back(std::string(path) + (kind == EntryKind::file ? "" : " (other)"));
        return {};
      });
  REQUIRE(result.ok());
  std::sort(entries.begin(), entries.end());
  return entries;
}

}  // namespace

TEST_CASE("every file below the folder is visited once, with its path") {
  const TempFolder out;
  fs::create_directories(out / "a/b/c");
  fs::create_directories(out / "empty/too");
  for (const std::string file :
       {"f", "a/f", "a/b/f", "a/b/c/f", "a/b/c/g", "z", "\xFF\n", ".hidden"})
    write_file(out / file, "x");
  CHECK(walked(out.fd()) ==
        Entries{".hidden", "a/b/c/f", "a/b/c/g", "a/b/f", "a/f", "f", "z", "\xFF\n"});
  CHECK(walked(out.fd()).size() == 8);  // asked again, from its beginning
}

TEST_CASE("an empty folder has nothing to visit") {
  const TempFolder out;
  CHECK(walked(out.fd()).empty());
}

TEST_CASE("the state folder and lost+found are left out at the top only") {
  const TempFolder out;
  for (const std::string folder : {".gigafetch", "lost+found", "a/.gigafetch", "a/lost+found"}) {
    fs::create_directories(out / folder);
    write_file(out.path() / folder / "f", "x");
  }
  fs::permissions(out / "lost+found", fs::perms(0700));
  CHECK(walked(out.fd()) == Entries{"a/.gigafetch/f", "a/lost+found/f"});
}

TEST_CASE("a folder called lost+found that is not the file system's own is visited") {
  const TempFolder out;
  fs::create_directory(out / "lost+found");
  fs::permissions(out / "lost+found", fs::perms(0755));
  write_file(out / "lost+found/f", "x");
  CHECK(walked(out.fd()) == Entries{"lost+found/f"});
}

TEST_CASE("a file called lost+found is visited") {
  const TempFolder out;
  write_file(out / "lost+found", "x");
  CHECK(walked(out.fd()) == Entries{"lost+found"});
}

TEST_CASE("links, pipes and sockets are reported as other, and no link is followed") {
  const TempFolder out, outside;
  write_file(outside / "f", "x");
  fs::create_directory(out / "d");
  write_file(out / "d/f", "x");
  fs::create_symlink(outside.path(), out / "to-folder");
  fs::create_symlink(outside / "f", out / "to-file");
  fs::create_symlink("d", out / "inner");
  fs::create_symlink("..", out / "d/up");
  fs::create_symlink("nowhere", out / "dangling");
  fs::create_symlink(outside.path(), out / "lost+found");
  REQUIRE(::mkfifo((out / "pipe").c_str(), 0666) == 0);
  REQUIRE(::mknod((out / "socket").c_str(), S_IFSOCK | 0666, 0) == 0);
  CHECK(walked(out.fd()) == Entries{"d/f", "d/up (other)", "dangling (other)", "inner (other)",
                                    "lost+found (other)", "pipe (other)", "socket (other)",
                                    "to-file (other)", "to-folder (other)"});
}

TEST_CASE("the names of everything that was stored come back from a walk") {
  const Entries names = {".",
                         "..",
                         "../a",
                         "/etc/x",
                         "a",
                         "b/c",
                         "d//e",
                         "d/",
                         "%41",
                         ".gigafetch/list",
                         "\xFF",
                         "\n",
                         "~",
                         "z~",
                         "z%7E",
                         "lost+found",
                         "g/.",
                         "gr\xC3\xBC",
                         std::string(255, 'n')};
  for (const Layout layout : {Layout::tree, Layout::flat, Layout::fanout}) {
    CAPTURE(name_of(layout));
    const TempFolder out;
    FileSink::Options options;
    options.layout = layout;
    FileSink sink(out.fd(), options);
    Entries stored, found;
    for (const std::string& name : names) {
      if (sink.put(lot, name, "x").ok()) stored.push_back(name);
    }
    CHECK(stored.size() >= names.size() - 1);  // tree: ".." is a file, so "../a" is a conflict
    const Result<void> result =
        walk_tree(out.fd(), [&](std::string_view path, EntryKind kind) -> Result<void> {
          CHECK(kind == EntryKind::file);
          found.push_back(name_of_path(layout, path).value_or("(none)"));
          return {};
        });
    REQUIRE(result.ok());
    std::sort(stored.begin(), stored.end());
    std::sort(found.begin(), found.end());
    CHECK((found == stored));
  }
}

TEST_CASE("many files in many folders are visited, with few descriptors") {
  const TempFolder out;
  for (int folder = 0; folder < 50; ++folder) {
    fs::create_directories(out / std::to_string(folder) / "x");
    for (int file = 0; file < 40; ++file)
      write_file(out / std::to_string(folder) / "x" / std::to_string(file), "");
  }
  const size_t before = open_descriptors();
  size_t most = 0, visits = 0;
  const Result<void> result = walk_tree(out.fd(), [&](std::string_view, EntryKind) -> Result<void> {
    if (visits++ % 100 == 0) most = std::max(most, open_descriptors());
    return {};
  });
  CHECK(result.ok());
  CHECK(visits == 2'000);
  CHECK(most - before <= 3);
  CHECK(open_descriptors() == before);
}

TEST_CASE("a walk ends with the first error of its visitor") {
  const TempFolder out;
  for (int file = 0; file < 10; ++file)
    write_file(out / std::to_string(file), "");
  const size_t before = open_descriptors();
  int visits = 0;
  const Result<void> result = walk_tree(out.fd(), [&](std::string_view, EntryKind) -> Result<void> {
    if (++visits == 3) return error(ErrorCode::interrupted, "enough");
    return {};
  });
  REQUIRE_FALSE(result.ok());
  CHECK(result.failure().text == "enough");
  CHECK(visits == 3);
  CHECK(open_descriptors() == before);
}

TEST_CASE("a folder that cannot be listed is an error") {
  CHECK_FALSE(walk_tree(-1, [](std::string_view, EntryKind) -> Result<void> { return {}; }).ok());
}

}  // namespace gigafetch::store
