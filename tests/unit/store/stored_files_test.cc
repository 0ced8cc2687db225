#include "store/stored_files.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/io.h"
#include "base/temp_folder.h"
#include "store/file_sink.h"

namespace gigafetch::store {
namespace {

Lot lot;  // of no use to this sink

namespace fs = std::filesystem;
using namespace std::string_literals;

std::string cause_of(const StoreStatus& status) {
  if (status.ok()) return "ok";
  if (status.kind() != StoreStatus::Kind::file) return "not about the file: " + status.text();
  return std::string(gigafetch::name_of(status.cause()));
}

// What check() says, having checked that open() says the same.
std::string found(StoredFiles& files, std::string_view name) {
  const std::string checked = cause_of(files.check(name));
  UniqueFd fd;
  CHECK(cause_of(files.open(name, fd)) == checked);
  return checked;
}

}  // namespace

TEST_CASE("what a sink stored is found and read in every layout") {
  const std::vector<std::string> names = {
      "a", "d/e/f", "../x", "a//b/", ".gigafetch/y", "\xFF\n", "~", std::string(250, 'n'), "%41"};
  for (const Layout layout : {Layout::tree, Layout::flat, Layout::fanout}) {
    const TempFolder out;
    FileSink::Options options;
    options.layout = layout;
    FileSink sink(out.fd(), options);
    StoredFiles files(out.fd(), layout, {}, 2);
    CHECK(files.layout() == layout);
    for (const std::string& name : names) {
      if (name == "a//b/" && layout == Layout::tree) continue;  // below the file "a"
      CAPTURE(name);
      CHECK(cause_of(files.check(name)) == "missing");
      REQUIRE(sink.put(lot, name, "body of " + name).ok());
      CHECK(found(files, name) == "ok");
      UniqueFd fd;
      REQUIRE(files.open(name, fd).ok());
      CHECK(read_to_end(fd.get(), 1'000, "it").value() == "body of " + name);
      std::string path;
      REQUIRE_FALSE(path_of_name(layout, name, path).has_value());
      CHECK(files.path() == path);
    }
  }
}

TEST_CASE("what stands in a file's place is told apart") {
  const TempFolder out, outside;
  write_file(outside / "f", "x");
  write_file(out / "file", "x");
  fs::create_directory(out / "folder");
  fs::create_symlink(outside / "f", out / "link");
  fs::create_symlink("file", out / "inner-link");
  fs::create_symlink("nowhere", out / "dangling");
  fs::create_symlink(outside.path(), out / "folder-link");
  StoredFiles files(out.fd(), Layout::tree);
  CHECK(found(files, "file") == "ok");
  CHECK(found(files, "nothing") == "missing");
  CHECK(found(files, "no/folder/either") == "missing");
  CHECK(found(files, "folder") == "name-conflict");
  CHECK(found(files, "file/below") == "name-conflict");
  CHECK(found(files, "link") == "unsafe-path");
  CHECK(found(files, "inner-link") == "unsafe-path");
  CHECK(found(files, "dangling") == "unsafe-path");
  CHECK(found(files, "folder-link/f") == "unsafe-path");
  CHECK(found(files, "") == "bad-name");
  CHECK(found(files, "a\0b"s) == "bad-name");
  CHECK(found(files, std::string(256, 'a')) == "name-too-long");
}

TEST_CASE("a planted pipe is refused, and does not block") {
  const TempFolder out;
  REQUIRE(::mkfifo((out / "pipe").c_str(), 0666) == 0);
  StoredFiles files(out.fd(), Layout::tree);
  CHECK(found(files, "pipe") == "unsafe-path");
}

TEST_CASE("a planted socket is refused alike by check and open") {
  const TempFolder out;
  REQUIRE(::mknod((out / "socket").c_str(), S_IFSOCK | 0666, 0) == 0);
  StoredFiles files(out.fd(), Layout::tree);
  CHECK(found(files, "socket") == "unsafe-path");
}

TEST_CASE("what a sink stored is hashed as what it was, whatever its size") {
  for (const Layout layout : {Layout::tree, Layout::flat, Layout::fanout}) {
    const TempFolder out;
    FileSink::Options options;
    options.layout = layout;
    FileSink sink(out.fd(), options);
    StoredFiles files(out.fd(), layout, {}, 2);
    for (const size_t size : {0, 1, 100, 65'535, 65'536, 65'537, 131'072, 200'000}) {
      CAPTURE(size);
      const std::string name = "folder/file " + std::to_string(size);
      std::string body(size, '\0');
      for (size_t i = 0; i < size; ++i)
        body[i] = static_cast<char>(i * 31 + i / 255);
      REQUIRE(sink.put(lot, name, body).ok());
      uint64_t bytes = 1;
      Hash128 content;
      REQUIRE(files.hash(name, bytes, content).ok());
      CHECK(bytes == size);
      CHECK(content == content_hash(name, body));
    }
  }
}

TEST_CASE("a hash is about the name asked for, not about the file alone") {
  const TempFolder out;
  write_file(out / "a", "body");
  write_file(out / "b", "body");
  StoredFiles files(out.fd(), Layout::tree);
  uint64_t bytes = 0;
  Hash128 a, b;
  REQUIRE(files.hash("a", bytes, a).ok());
  REQUIRE(files.hash("b", bytes, b).ok());
  CHECK(a != b);
}

TEST_CASE("hashing refuses what stands in a file's place as looking does") {
  const TempFolder out, outside;
  write_file(outside / "f", "x");
  write_file(out / "file", "x");
  fs::create_directory(out / "folder");
  fs::create_symlink(outside / "f", out / "link");
  REQUIRE(::mkfifo((out / "pipe").c_str(), 0666) == 0);
  StoredFiles files(out.fd(), Layout::tree);
  for (const std::string& name : {"nothing"s, "folder"s, "file/below"s, "link"s, "pipe"s, ""s}) {
    CAPTURE(name);
    uint64_t bytes = 0;
    Hash128 content;
    CHECK(cause_of(files.hash(name, bytes, content)) == cause_of(files.check(name)));
    CHECK(cause_of(files.check(name)) != "ok");
  }
}

TEST_CASE("looking makes nothing") {
  const TempFolder out;
  StoredFiles files(out.fd(), Layout::tree);
  CHECK(found(files, "a/b/c") == "missing");
  CHECK(fs::is_empty(out.path()));
}

}  // namespace gigafetch::store
