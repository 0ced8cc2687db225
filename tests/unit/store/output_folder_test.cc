#include "store/output_folder.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;

ErrorCode code_of(const Result<UniqueFd>& opened) {
  REQUIRE_FALSE(opened.ok());
  CHECK(opened.failure().text != "");
  return opened.failure().code;
}

bool is_empty(const TempFolder& folder) {
  const Result<bool> empty = is_empty_output(folder.fd());
  REQUIRE(empty.ok());
  return empty.value();
}

}  // namespace

TEST_CASE("an output folder is made when only its last part is missing") {
  const TempFolder folder;
  REQUIRE(open_output_folder(folder / "out").ok());
  CHECK(fs::is_directory(folder / "out"));
  REQUIRE(open_output_folder(folder / "out").ok());
  REQUIRE(open_output_folder((folder / "slash").string() + "/").ok());
  const Result<UniqueFd> deep = open_output_folder(folder / "not/there");
  CHECK(code_of(deep) == ErrorCode::not_found);
  CHECK(deep.failure().text.find("make it first") != std::string::npos);
  CHECK_FALSE(stands(folder / "not"));
}

TEST_CASE("an output folder may be reached through a link") {
  const TempFolder folder;
  fs::create_directory(folder / "real");
  fs::create_directory_symlink("real", folder / "link");
  CHECK(open_output_folder(folder / "link").ok());
  CHECK(open_existing_output_folder(folder / "link").ok());
}

TEST_CASE("a file is no output folder") {
  const TempFolder folder;
  write_file(folder / "file", "x");
  CHECK(code_of(open_output_folder(folder / "file")) == ErrorCode::exists);
  CHECK(code_of(open_existing_output_folder(folder / "file")) == ErrorCode::exists);
  CHECK_FALSE(open_output_folder(folder / "file/below").ok());
  CHECK(read_file(folder / "file") == "x");
}

TEST_CASE("a folder that cannot be written to is refused") {
  const TempFolder folder;
  fs::create_directory(folder / "out");
  fs::permissions(folder / "out", fs::perms(0555));
  fs::permissions(folder.path(), fs::perms(0755));
  const int status = in_child([&] {
    // Root may write anywhere.
    if (::geteuid() == 0 && (::setegid(65'534) != 0 || ::seteuid(65'534) != 0)) return 1;
    const Result<UniqueFd> opened = open_output_folder(folder / "out");
    return !opened.ok() && opened.failure().code == ErrorCode::permission ? 0 : 2;
  });
  fs::permissions(folder / "out", fs::perms(0755));
  CHECK(status == 0);
}

TEST_CASE("opening for reading makes nothing") {
  const TempFolder folder;
  CHECK(code_of(open_existing_output_folder(folder / "out")) == ErrorCode::not_found);
  CHECK_FALSE(stands(folder / "out"));
}

TEST_CASE("an error shows the path escaped") {
  const TempFolder folder;
  const Result<UniqueFd> opened = open_output_folder((folder / "a\x1B[2J/b").string());
  REQUIRE_FALSE(opened.ok());
  CHECK(opened.failure().text.find("a\\x1b[2J/b") != std::string::npos);
}

TEST_CASE("a folder with nothing but the state folder and lost+found is empty") {
  const TempFolder folder;
  CHECK(is_empty(folder));
  fs::create_directory(folder / ".gigafetch");
  write_file(folder / ".gigafetch/ledger", "x");
  fs::create_directory(folder / "lost+found");
  CHECK(is_empty(folder));
  CHECK(is_empty(folder));  // asked again, from its beginning
}

TEST_CASE("a folder with anything else is not empty") {
  for (const std::string name : {"file", ".hidden", ".gigafetch2", "lost+found2", "..."}) {
    const TempFolder folder;
    fs::create_directory(folder / ".gigafetch");
    write_file(folder / name, "");
    CHECK_FALSE(is_empty(folder));
  }
  const TempFolder with_link;
  fs::create_symlink("nowhere", with_link / "link");
  CHECK_FALSE(is_empty(with_link));
}

TEST_CASE("a file called lost+found could be overwritten, so its folder is not empty") {
  const TempFolder folder;
  write_file(folder / "lost+found", "precious");
  CHECK_FALSE(is_empty(folder));
}

TEST_CASE("this kernel and file system serve") {
  const TempFolder folder;
  CHECK(check_kernel(folder.fd()).ok());
  CHECK(sync_output(folder.fd(), folder.path().string()).ok());
}

TEST_CASE("a descriptor that is none fails each call") {
  CHECK_FALSE(is_empty_output(-1).ok());
  CHECK_FALSE(check_kernel(-1).ok());
  CHECK_FALSE(sync_output(-1, "out").ok());
}

}  // namespace gigafetch::store
