#include "store/place.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/temp_folder.h"
#include "store/regular_file.h"

namespace gigafetch::store {
namespace {

RunPlace run() {
  return {"boot", {1, 2, 3, 4}, {5, 6, 7, 8}};
}

Surroundings found(const RunPlace& here) {
  Surroundings now;
  now.here = here;
  return now;
}

}  // namespace

TEST_CASE("what was not synced counts under the same boot and the same mount alone") {
  CHECK(distrust(run(), found(run())) == Distrust::none);
  Surroundings now = found(run());
  now.here.boot_id = "another";
  CHECK(distrust(run(), now) == Distrust::reboot);
  now = found(run());
  now.here.output.mount = 9;
  CHECK(distrust(run(), now) == Distrust::remount);
  now.cache_is_marked = true;  // the same file system, seen through another mount
  CHECK(distrust(run(), now) == Distrust::none);
  now.here.output.device = 9;
  CHECK(distrust(run(), now) == Distrust::remount);
}

TEST_CASE("a mount that has no name of its own is known by the mark in memory alone") {
  RunPlace then = run();
  then.output.mount = 0;
  Surroundings now = found(then);
  CHECK(distrust(then, now) == Distrust::remount);
  now.cache_is_marked = true;
  CHECK(distrust(then, now) == Distrust::none);
}

TEST_CASE("after an I/O error, and in a copy, only what was synced counts") {
  Surroundings now = found(run());
  now.io_error = true;
  CHECK(distrust(run(), now) == Distrust::io_error);
  for (const bool of_output : {false, true}) {
    now = found(run());
    now.cache_is_marked = true;
    (of_output ? now.here.output : now.here.state).born = 99;
    CHECK(distrust(run(), now) == Distrust::copied);
  }
}

TEST_CASE("the state folder's mount does not matter, nor what an older format did not record") {
  Surroundings now = found(run());
  now.here.state.mount = 99;
  now.here.state.device = 99;
  CHECK(distrust(run(), now) == Distrust::none);
  CHECK(distrust({"boot", {}, {}}, found(run())) == Distrust::none);
  CHECK(distrust({"other", {}, {}}, found(run())) == Distrust::reboot);
  now = found({"boot", {}, {}});  // a folder that was not looked at proves nothing
  CHECK(distrust(run(), now) == Distrust::remount);
}

TEST_CASE("a folder is known by when it was made, or within a mount by its inode") {
  const FolderPlace then = {1, 2, 3, 4};
  CHECK(is_same_folder(then, {9, 9, 3, 4}, false));
  CHECK_FALSE(is_same_folder(then, {1, 2, 3, 5}, true));
  CHECK_FALSE(is_same_folder(then, {1, 2, 9, 4}, true));
  const FolderPlace untold = {1, 2, 3, 0};
  CHECK_FALSE(is_same_folder(untold, {1, 2, 9, 0}, true));
  CHECK(is_same_folder(untold, {1, 2, 9, 0}, false));
  CHECK(is_same_folder(untold, {1, 9, 9, 0}, true));
  CHECK(is_same_folder({}, then, true));
}

TEST_CASE("a folder that is moved keeps its place, and a copy has another") {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "a");
  const auto place = [&](const char* name) {
    const UniqueFd fd(::open((folder / name).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    Result<FolderPlace> found = place_of(fd.get());
    REQUIRE(found.ok());
    CHECK(found->known());
    return *found;
  };
  const FolderPlace before = place("a");
  std::filesystem::rename(folder / "a", folder / "b");
  std::filesystem::create_directory(folder / "a");
  CHECK(place("b") == before);
  CHECK_FALSE(is_same_folder(before, place("a"), true));
}

TEST_CASE("the mark in memory stays on the folder, and is not on another") {
  const TempFolder marked, other;
  const auto is_marked = [](const TempFolder& folder) {
    Result<Surroundings> now = surroundings(folder.fd(), folder.fd());
    REQUIRE(now.ok());
    return now->cache_is_marked;
  };
  mark_cache(marked.fd());
  const UniqueFd again(::open(marked.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  MESSAGE("the kernel keeps marks: " << is_marked(marked));
  CHECK_FALSE(is_marked(other));
}

TEST_CASE("an I/O error is noted until it has been dealt with") {
  const TempFolder state;
  CHECK_FALSE(has_io_error_note(state.fd()));
  note_io_error(state.fd());
  note_io_error(state.fd());
  CHECK(has_io_error_note(state.fd()));
  CHECK(surroundings(state.fd(), -1).value().io_error);
  remove_io_error_note(state.fd());
  CHECK_FALSE(has_io_error_note(state.fd()));
}

TEST_CASE("what is no regular file is refused and never waited for") {
  const TempFolder folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  std::filesystem::create_directory(folder / "folder");
  std::filesystem::create_symlink("file", folder / "link");
  write_file(folder / "file", "text");
  for (const int flags : {O_RDONLY, O_WRONLY, O_RDWR}) {
    CHECK_FALSE(open_regular(folder.fd(), "pipe", flags));
    CHECK(errno == ENXIO);
    CHECK_FALSE(open_regular(folder.fd(), "folder", flags));
    CHECK(errno == EISDIR);
    CHECK_FALSE(open_regular(folder.fd(), "link", flags));
    CHECK(errno == ELOOP);
    CHECK(open_regular(folder.fd(), "file", flags));
  }
  CHECK_FALSE(open_regular(folder.fd(), "none", O_RDONLY));
  CHECK(errno == ENOENT);
  CHECK(not_opened(ENXIO, "cannot open it").text.find("pipe") != std::string::npos);
}

}  // namespace gigafetch::store
