#include "store/state_folder.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <string>

#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;

mode_t mode_of(const fs::path& path) {
  struct stat there;
  REQUIRE(::stat(path.c_str(), &there) == 0);
  return there.st_mode & 07777;
}

std::string own_pid() {
  return std::to_string(::getpid());
}

Error refusal(const std::string& path) {
  Result<StateFolder> opened = StateFolder::open_and_lock(path);
  REQUIRE_FALSE(opened.ok());
  return opened.failure();
}

// A pid that no process has: that of a child that has been waited for.
pid_t dead_pid() {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(0);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  return child;
}

}  // namespace

TEST_CASE("a state folder is made for its owner alone, and the lock names the run") {
  const TempFolder folder;
  const std::string path = folder / "state";
  const mode_t before = ::umask(0);
  const Result<StateFolder> state = StateFolder::open_and_lock(path);
  ::umask(before);
  REQUIRE(state.ok());
  CHECK(mode_of(path) == 0700);
  CHECK(mode_of(path + "/lock") == 0600);
  CHECK(read_file(path + "/lock") == own_pid() + "\n");
  CHECK(state.value().path() == path);
  struct stat by_fd, by_path;
  REQUIRE(::fstat(state.value().fd(), &by_fd) == 0);
  REQUIRE(::stat(path.c_str(), &by_path) == 0);
  CHECK(by_fd.st_ino == by_path.st_ino);
}

TEST_CASE("a state folder that others may enter is refused, and its mode is left alone") {
  for (const unsigned mode : {0755u, 0777u, 0701u, 0710u}) {
    const TempFolder folder;
    fs::create_directory(folder / "state");
    fs::permissions(folder / "state", fs::perms(mode));
    CHECK(refusal(folder / "state").text.find("chmod 700") != std::string::npos);
    CHECK(mode_of(folder / "state") == mode);
  }
}

TEST_CASE("a second run is refused at once, with the pid of the first") {
  const TempFolder folder;
  const Result<StateFolder> first = StateFolder::open_and_lock(folder / "state");
  REQUIRE(first.ok());
  const Error refused = refusal(folder / "state");
  CHECK(refused.code == ErrorCode::busy);
  CHECK(refused.text.find("pid " + own_pid()) != std::string::npos);
  CHECK(in_child([&] {
          const Result<StateFolder> second = StateFolder::open_and_lock(folder / "state");
          return !second.ok() && second.failure().code == ErrorCode::busy ? 0 : 1;
        }) == 0);
  CHECK(read_file(folder / "state/lock") == own_pid() + "\n");
}

TEST_CASE(
    "a second run is refused with the pid of the first also when the lock file is not there") {
  const TempFolder folder;
  const Result<StateFolder> first = StateFolder::open_and_lock(folder / "state");
  REQUIRE(first.ok());
  for (const char* left : {static_cast<const char*>(nullptr), "", "garbage"}) {
    fs::remove(folder / "state/lock");
    if (left != nullptr) write_file(folder / "state/lock", left);
    const std::string holder = "pid " + own_pid();
    CHECK(in_child([&] {
            const Result<StateFolder> second = StateFolder::open_and_lock(folder / "state");
            const bool busy = !second.ok() && second.failure().code == ErrorCode::busy;
            return busy && second.failure().text.find(holder) != std::string::npos ? 0 : 1;
          }) == 0);
  }
}

TEST_CASE("the lock goes with its owner") {
  const TempFolder folder;
  for (int i = 0; i < 3; ++i)
    REQUIRE(StateFolder::open_and_lock(folder / "state").ok());
  std::optional<StateFolder> kept;
  {
    Result<StateFolder> state = StateFolder::open_and_lock(folder / "state");
    REQUIRE(state.ok());
    kept.emplace(std::move(state).value());
  }
  CHECK(refusal(folder / "state").code == ErrorCode::busy);
  kept.reset();
  CHECK(StateFolder::open_and_lock(folder / "state").ok());
}

TEST_CASE("the lock holds as long as a child that inherited it lives") {
  const TempFolder folder;
  std::optional<StateFolder> state;
  state.emplace(StateFolder::open_and_lock(folder / "state").value());
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    write_end.reset();
    char byte;
    ::_exit(::read(read_end.get(), &byte, 1) == 0 ? 0 : 1);
  }
  state.reset();
  CHECK(refusal(folder / "state").code == ErrorCode::busy);
  write_end.reset();
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  CHECK(StateFolder::open_and_lock(folder / "state").ok());
}

TEST_CASE("the pid of a dead run does not keep the lock") {
  const TempFolder folder;
  REQUIRE(StateFolder::open_and_lock(folder / "state").ok());
  for (const std::string& left :
       {std::to_string(dead_pid()) + "\n", std::to_string(::getppid()) + "\n",
        std::string("999999999999999999999\n"), std::string("garbage"), std::string("-1\n"),
        std::string("")}) {
    CAPTURE(left);
    write_file(folder / "state/lock", left);
    REQUIRE(StateFolder::open_and_lock(folder / "state").ok());
    CHECK(read_file(folder / "state/lock") == own_pid() + "\n");
  }
}

TEST_CASE("a link at the state folder's or the lock's place is refused and not followed") {
  const TempFolder folder, outside;
  fs::permissions(outside.path(), fs::perms(0755));
  fs::create_directory_symlink(outside.path(), folder / "state");
  refusal(folder / "state");
  CHECK(fs::is_empty(outside.path()));
  CHECK(mode_of(outside.path()) == 0755);

  write_file(outside / "victim", "precious");
  fs::create_directory(folder / "other");
  fs::create_symlink(outside / "victim", folder / "other/lock");
  refusal(folder / "other");
  CHECK(read_file(outside / "victim") == "precious");
}

TEST_CASE("a state folder that cannot be is refused with its path, escaped") {
  const TempFolder folder;
  write_file(folder / "file", "x");
  CHECK(refusal(folder / "file").text.find("file") != std::string::npos);
  CHECK(refusal(folder / "not/there").code == ErrorCode::not_found);
  CHECK(refusal(folder / "no\x1Bt/there").text.find("no\\x1bt/there") != std::string::npos);
}

TEST_CASE("a state folder of another user is refused") {
  const TempFolder folder;
  if (::geteuid() != 0) {
    MESSAGE("only root can give a folder away");
    return;
  }
  fs::create_directory(folder / "state");
  REQUIRE(::chown((folder / "state").c_str(), 65'534, 65'534) == 0);
  CHECK(refusal(folder / "state").code == ErrorCode::permission);
  CHECK_FALSE(stands(folder / "state/lock"));
}

}  // namespace gigafetch::store
