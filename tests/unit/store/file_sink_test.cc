#include "store/file_sink.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

Lot lot;  // of no use to this sink

namespace fs = std::filesystem;
using namespace std::string_literals;
using Kind = StoreStatus::Kind;

FileSink::Options options(Layout layout = Layout::tree, size_t cached_directories = 256) {
  FileSink::Options made;
  made.layout = layout;
  made.cached_directories = cached_directories;
  return made;
}

void check_put(FileSink& sink, std::string_view name, std::string_view body) {
  const StoreStatus status = sink.put(lot, name, body);
  CHECK(status.text() == "");
  CHECK(status.ok());
}

void check_refused(const StoreStatus& status, FailureClass cause) {
  REQUIRE_FALSE(status.ok());
  CHECK(status.kind() == Kind::file);
  CHECK(gigafetch::name_of(status.cause()) == gigafetch::name_of(cause));
  CHECK(status.text() != "");
}

// Both ways to store a file: put, and a writer.
void check_refused_both_ways(FileSink& sink, std::string_view name, FailureClass cause) {
  check_refused(sink.put(lot, name, "body"), cause);
  std::unique_ptr<BodyWriter> writer;
  check_refused(sink.open(lot, name, std::nullopt, writer), cause);
  CHECK(writer == nullptr);
}

std::unique_ptr<BodyWriter> opened(FileSink& sink, std::string_view name) {
  std::unique_ptr<BodyWriter> writer;
  const StoreStatus status = sink.open(lot, name, std::nullopt, writer);
  CHECK(status.text() == "");
  REQUIRE(writer != nullptr);
  return writer;
}

size_t entries(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::recursive_directory_iterator(folder), {}));
}

}  // namespace

TEST_CASE("a file is stored at the path of its name, whole") {
  const TempFolder out;
  FileSink sink(out.fd(), options());
  check_put(sink, "a/b c.txt", "body");
  check_put(sink, "empty", "");
  const std::string large(300'000, '\xFF');
  check_put(sink, "a/large", large);
  CHECK(read_file(out / "a/b c.txt") == "body");
  CHECK(read_file(out / "empty") == "");
  CHECK((read_file(out / "a/large") == large));
  CHECK(entries(out.path()) == 4);
  Receipt receipt = 1;
  CHECK(sink.commit(lot, receipt).ok());
  CHECK(receipt == 0);
}

TEST_CASE("each layout puts a name where it says") {
  const std::string name = "a/.gigafetch/..";
  for (const Layout layout : {Layout::tree, Layout::flat, Layout::fanout}) {
    const TempFolder out;
    FileSink sink(out.fd(), options(layout));
    check_put(sink, name, "body");
    std::string path;
    REQUIRE_FALSE(path_of_name(layout, name, path).has_value());
    CHECK(read_file(out / path) == "body");
  }
}

TEST_CASE("a stored file has the mode that the umask leaves") {
  const TempFolder out;
  FileSink sink(out.fd(), options());
  const mode_t before = ::umask(0027);
  check_put(sink, "d/f", "x");
  ::umask(before);
  struct stat there;
  REQUIRE(::stat((out / "d/f").c_str(), &there) == 0);
  CHECK((there.st_mode & 07777) == 0640);
  REQUIRE(::stat((out / "d").c_str(), &there) == 0);
  CHECK((there.st_mode & 0777) == 0750);
}

TEST_CASE("a file stored before is replaced, however much longer it was") {
  const TempFolder out;
  FileSink sink(out.fd(), options());
  check_put(sink, "f", std::string(10'000, 'x'));
  check_put(sink, "f", "new");
  CHECK(read_file(out / "f") == "new");
  const std::unique_ptr<BodyWriter> writer = opened(sink, "f");
  CHECK(writer->append("newer").ok());
  CHECK(writer->close().ok());
  CHECK(read_file(out / "f") == "newer");
}

TEST_CASE("a read-only file in the way is replaced") {
  const TempFolder out;
  FileSink sink(out.fd(), options());
  write_file(out / "f", "old");
  fs::permissions(out / "f", fs::perms::none);
  check_put(sink, "f", "new");
  CHECK(read_file(out / "f") == "new");
}

TEST_CASE("a planted hard link does not lead the bytes into another file") {
  const TempFolder out, outside;
  write_file(outside / "precious", "precious");
  for (const std::string name : {"f", "d/f"}) {
    fs::create_directory(out / "d");
    fs::create_hard_link(outside / "precious", out / name);
    FileSink sink(out.fd(), options());
    check_put(sink, name, "body");
    CHECK(read_file(out / name) == "body");
    CHECK(read_file(outside / "precious") == "precious");
    fs::remove(out / name);
    fs::create_hard_link(outside / "precious", out / name);
    const std::unique_ptr<BodyWriter> writer = opened(sink, name);
    CHECK(writer->append("written").ok());
    CHECK(writer->close().ok());
    CHECK(read_file(out / name) == "written");
    CHECK(read_file(outside / "precious") == "precious");
  }
}

TEST_CASE("a symbolic link at the file's place is refused and left alone") {
  const TempFolder out, outside;
  write_file(outside / "target", "precious");
  write_file(out / "inside", "precious");
  fs::create_symlink(outside / "target", out / "absolute");
  fs::create_symlink("inside", out / "relative");
  fs::create_symlink(outside / "new", out / "dangling");
  fs::create_symlink("loop", out / "loop");
  fs::create_symlink(outside.path(), out / "to-folder");
  FileSink sink(out.fd(), options());
  for (const std::string name : {"absolute", "relative", "dangling", "loop", "to-folder"}) {
    CAPTURE(name);
    check_refused_both_ways(sink, name, FailureClass::unsafe_path);
    CHECK(fs::is_symlink(out / name));
    CHECK(sink.put(lot, name, "body").text().find("symbolic link") != std::string::npos);
  }
  CHECK(read_file(outside / "target") == "precious");
  CHECK(read_file(out / "inside") == "precious");
  CHECK(entries(outside.path()) == 1);
}

TEST_CASE("a symbolic link at a folder's place is refused and not followed") {
  const TempFolder out, outside;
  fs::create_directory(out / "real");
  fs::create_symlink(outside.path(), out / "absolute");
  fs::create_symlink("real", out / "relative");
  fs::create_symlink("../../../../../../tmp", out / "upwards");
  fs::create_symlink(outside / "new", out / "dangling");
  fs::create_directory(out / "d");
  fs::create_symlink(outside.path(), out / "d/deep");
  FileSink sink(out.fd(), options());
  for (const std::string name :
       {"absolute/f", "relative/f", "upwards/f", "dangling/f", "absolute/x/y/f", "d/deep/f"}) {
    CAPTURE(name);
    check_refused_both_ways(sink, name, FailureClass::unsafe_path);
  }
  CHECK(fs::is_empty(outside.path()));
  CHECK(fs::is_empty(out / "real"));
}

TEST_CASE("a folder exchanged for a link under the cache leads nowhere") {
  const TempFolder out, outside;
  FileSink sink(out.fd(), options());
  check_put(sink, "d/first", "x");
  fs::rename(out / "d", out / "moved");
  fs::create_symlink(outside.path(), out / "d");
  (void)sink.put(lot, "d/second", "x");
  CHECK(fs::is_empty(outside.path()));
}

TEST_CASE("a pipe, a socket or a device at the file's place is refused and left alone") {
  const TempFolder out;
  REQUIRE(::mkfifo((out / "pipe").c_str(), 0666) == 0);
  REQUIRE(::mknod((out / "socket").c_str(), S_IFSOCK | 0666, 0) == 0);
  FileSink sink(out.fd(), options());
  check_refused_both_ways(sink, "pipe", FailureClass::unsafe_path);
  check_refused_both_ways(sink, "socket", FailureClass::unsafe_path);
  CHECK(fs::is_fifo(out / "pipe"));
  CHECK(fs::is_socket(out / "socket"));
}

TEST_CASE("of a name and a name below it the second is a conflict, whichever it is") {
  const TempFolder out;
  FileSink sink(out.fd(), options());
  check_put(sink, "a", "file");
  check_refused_both_ways(sink, "a/b", FailureClass::name_conflict);
  check_refused_both_ways(sink, "a/b/c", FailureClass::name_conflict);
  CHECK(read_file(out / "a") == "file");
  check_put(sink, "d/e", "file");
  check_refused_both_ways(sink, "d", FailureClass::name_conflict);
  CHECK(read_file(out / "d/e") == "file");
  check_put(sink, "d/g", "the others go on");
}

TEST_CASE("names that try to leave stay inside, and the state folder's stays free") {
  for (const Layout layout : {Layout::tree, Layout::flat, Layout::fanout}) {
    for (const std::string name : {"..",     ".",        "../victim",      "../../x",
                                   "/etc/x", "//x",      "a/../../victim", "./x",
                                   "x/.",    "x/..",     ".gigafetch",     ".gigafetch/ledger",
                                   "..\n",   "a\\..\\b", "\xFF/..",        "%2e%2e/x",
                                   "..%2fx", "C:x",      "a//b",           "a/"}) {
      CAPTURE(name);
      CAPTURE(name_of(layout));
      const TempFolder parent;
      fs::create_directories(parent / "out/.gigafetch");
      write_file(parent / "victim", "precious");
      const UniqueFd out(::open((parent / "out").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      FileSink sink(out.get(), options(layout));
      check_put(sink, name, "body");
      std::string path;
      REQUIRE_FALSE(path_of_name(layout, name, path).has_value());
      CHECK(read_file(parent / "out" / path) == "body");
      CHECK(read_file(parent / "victim") == "precious");
      CHECK(std::distance(fs::directory_iterator(parent.path()), {}) == 2);
      CHECK(fs::is_empty(parent / "out/.gigafetch"));
    }
  }
}

TEST_CASE("a long name is stored in the fanout layout, however it ends") {
  const TempFolder out;
  FileSink sink(out.fd(), options(Layout::fanout));
  for (const size_t length : {size_t{254}, size_t{255}, size_t{256}, size_t{257}, size_t{4'000}}) {
    for (const std::string end : {"", ".", "..", "~", "/"}) {
      CAPTURE(length);
      CAPTURE(end);
      const std::string name = std::string(length, 'n') + end;
      check_put(sink, name, end);
      std::string path;
      REQUIRE_FALSE(path_of_name(Layout::fanout, name, path).has_value());
      CHECK(read_file(out / path) == end);
    }
  }
}

TEST_CASE("a name that no path can hold is refused before anything is made") {
  const TempFolder out;
  FileSink sink(out.fd(), options());
  for (const auto& [name, cause] : std::vector<std::pair<std::string, FailureClass>>{
           {"", FailureClass::bad_name},
           {"a\0b"s, FailureClass::bad_name},
           {std::string(256, 'a'), FailureClass::name_too_long},
           {"d/" + std::string(256, 'a'), FailureClass::name_too_long}}) {
    CHECK(sink.refuses(name) == cause);
    check_refused_both_ways(sink, name, cause);
    CHECK(sink.put(lot, name, "x").text() == sink.refusal_text(cause));
  }
  CHECK_FALSE(sink.refuses("fine").has_value());
  CHECK(fs::is_empty(out.path()));
}

TEST_CASE("a file comes in pieces, with others in between") {
  const TempFolder out;
  FileSink sink(out.fd(), options(Layout::tree, 2));
  const std::unique_ptr<BodyWriter> writer = opened(sink, "d/e/f");
  for (int i = 0; i < 100; ++i) {
    CHECK(writer->append(fmt::format("{} ", i)).ok());
    check_put(sink, fmt::format("other/{}/f", i), "x");
  }
  CHECK(writer->append("").ok());
  CHECK(writer->close().ok());
  CHECK(read_file(out / "d/e/f").ends_with(" 97 98 99 "));
  CHECK(read_file(out / "d/e/f").starts_with("0 1 2 "));
}

TEST_CASE("a file is there after its writer has gone") {
  const TempFolder out;
  FileSink sink(out.fd(), options());
  {
    const std::unique_ptr<BodyWriter> writer = opened(sink, "f");
    CHECK(writer->append("whole").ok());
    CHECK(writer->close().ok());
  }
  CHECK(read_file(out / "f") == "whole");
  opened(sink, "empty")->close().ok();
  CHECK(read_file(out / "empty") == "");
}

TEST_CASE("an abandoned writer leaves no file") {
  const TempFolder out;
  FileSink sink(out.fd(), options());
  { const std::unique_ptr<BodyWriter> writer = opened(sink, "d/at-once"); }
  {
    const std::unique_ptr<BodyWriter> writer = opened(sink, "d/in-the-middle");
    CHECK(writer->append("half of i").ok());
  }
  CHECK(fs::is_empty(out / "d"));
  // Nor does it bring back what it replaced: that would be half of another body.
  check_put(sink, "d/replaced", "old");
  { const std::unique_ptr<BodyWriter> writer = opened(sink, "d/replaced"); }
  CHECK(fs::is_empty(out / "d"));
}

TEST_CASE("a writer abandoned after another stored the file leaves the other's") {
  const TempFolder out;
  FileSink sink(out.fd(), options());
  std::unique_ptr<BodyWriter> first = opened(sink, "f");
  CHECK(first->append("first").ok());
  check_put(sink, "f", "second");
  first.reset();
  CHECK(read_file(out / "f") == "second");

  std::unique_ptr<BodyWriter> third = opened(sink, "f");
  const std::unique_ptr<BodyWriter> fourth = opened(sink, "f");
  CHECK(third->append("third").ok());
  CHECK(fourth->append("fourth").ok());
  third.reset();
  CHECK(fourth->close().ok());
  CHECK(read_file(out / "f") == "fourth");
}

TEST_CASE("two writers of one name never share a file") {
  const TempFolder out;
  FileSink one(out.fd(), options()), two(out.fd(), options());
  const std::unique_ptr<BodyWriter> first = opened(one, "d/f");
  const std::unique_ptr<BodyWriter> second = opened(two, "d/f");
  CHECK(first->append("111111").ok());
  CHECK(second->append("22").ok());
  CHECK(second->close().ok());
  CHECK(first->append("111111").ok());
  CHECK(first->close().ok());
  CHECK(read_file(out / "d/f") == "22");
  CHECK(entries(out.path()) == 2);
}

TEST_CASE("a folder removed under the cache is made again") {
  const TempFolder out;
  FileSink sink(out.fd(), options());
  check_put(sink, "d/first", "x");
  fs::remove_all(out / "d");
  check_put(sink, "d/second", "y");
  CHECK(read_file(out / "d/second") == "y");
}

TEST_CASE("discard removes a file, and nothing else") {
  const TempFolder out, outside;
  write_file(outside / "f", "precious");
  FileSink sink(out.fd(), options());
  check_put(sink, "a/f", "x");
  fs::create_directory(out / "folder");
  fs::create_symlink(outside / "f", out / "link");
  fs::create_directory_symlink(outside.path(), out / "way");
  for (const std::string name : {"a/f", "folder", "link", "way/f", "no/such", "../f", ""})
    sink.discard(name);
  CHECK_FALSE(stands(out / "a/f"));
  CHECK(stands(out / "folder"));
  CHECK(fs::is_symlink(out / "link"));
  CHECK(read_file(outside / "f") == "precious");
}

TEST_CASE("an output folder that is removed stops the run") {
  const TempFolder out;
  fs::create_directory(out / "output");
  const UniqueFd output(::open((out / "output").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  FileSink sink(output.get(), options());
  check_put(sink, "a/f", "x");
  fs::remove_all(out / "output");
  for (const std::string name : {"a/f", "g", "b/c/h"}) {
    const StoreStatus status = sink.put(lot, name, "x");
    CHECK(status.kind() == Kind::run);
    CHECK(status.text().find("has been removed") != std::string::npos);
  }
}

TEST_CASE("a folder removed under the cache with those above it is made again") {
  const TempFolder out;
  FileSink sink(out.fd(), options());
  check_put(sink, "a/b/c/first", "x");
  fs::remove_all(out / "a");
  check_put(sink, "a/b/c/second", "y");
  CHECK(read_file(out / "a/b/c/second") == "y");
}

TEST_CASE("files in more folders than the cache holds are stored") {
  for (const size_t capacity : {size_t{1}, size_t{3}}) {
    const TempFolder out;
    const size_t before = open_descriptors();
    FileSink sink(out.fd(), options(Layout::tree, capacity));
    for (int i = 0; i < 200; ++i)
      check_put(sink, fmt::format("{}/{}/f", i % 7, i), std::to_string(i));
    CHECK(open_descriptors() - before <= capacity);
    for (int i = 0; i < 200; ++i)
      CHECK(read_file(out / fmt::format("{}/{}/f", i % 7, i)) == std::to_string(i));
  }
}

TEST_CASE("a name of many folders is stored") {
  const TempFolder out;
  FileSink sink(out.fd(), options());
  std::string name;
  for (int i = 0; i < 200; ++i)
    name += "d/";
  name += "f";
  check_put(sink, name, "deep");
  CHECK(read_file(out / name) == "deep");
}

TEST_CASE("files can be synced one by one") {
  const TempFolder out;
  FileSink::Options synced = options();
  synced.sync_files = true;
  FileSink sink(out.fd(), synced);
  check_put(sink, "d/f", "x");
  const std::unique_ptr<BodyWriter> writer = opened(sink, "d/g");
  CHECK(writer->append("y").ok());
  CHECK(writer->close().ok());
  CHECK(read_file(out / "d/f") + read_file(out / "d/g") == "xy");
}

TEST_CASE("a write that fails leaves no file") {
  const TempFolder out;
  // In a child: the limit is the process's.
  CHECK(in_child([&] {
          ::signal(SIGXFSZ, SIG_IGN);
          const rlimit limit{4'096, 4'096};
          if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
          FileSink sink(out.fd(), options());
          const StoreStatus status = sink.put(lot, "d/put", std::string(5'000, 'x'));
          if (status.kind() != Kind::file || status.cause() != FailureClass::store_error) return 2;
          if (stands(out / "d/put")) return 3;
          std::unique_ptr<BodyWriter> writer;
          if (!sink.open(lot, "d/written", std::nullopt, writer).ok()) return 4;
          if (!writer->append(std::string(4'000, 'x')).ok()) return 5;
          if (writer->append(std::string(1'000, 'x')).ok()) return 6;
          writer.reset();
          if (stands(out / "d/written")) return 7;
          return sink.put(lot, "d/small", "x").ok() ? 0 : 8;
        }) == 0);
  CHECK(read_file(out / "d/small") == "x");
}

TEST_CASE("a full file system stops the run, leaves no half file, and goes on once there is room") {
  const TempFolder mount_point;
  const auto with_file_system = [&](const char* size, auto body) {
    return in_child([&] {
      // In a mount namespace of the child's own, which goes with it.
      constexpr int kNotAllowed = 77;
      if (::unshare(CLONE_NEWNS) != 0 ||
          ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
        return kNotAllowed;
      if (::mount("none", mount_point.path().c_str(), "tmpfs", 0, size) != 0) return kNotAllowed;
      const UniqueFd out(::open(mount_point.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      FileSink sink(out.get(), options());
      return body(sink);
    });
  };
  const std::string body(30'000, 'x');

  const int no_blocks = with_file_system("size=128k", [&](FileSink& sink) {
    int stored = 0;
    StoreStatus status;
    while (stored < 100 && (status = sink.put(lot, fmt::format("f{}", stored), body)).ok())
      ++stored;
    if (stored == 0 || stored == 100) return 1;
    if (status.kind() != Kind::run || status.text().find("No space") == std::string::npos) return 2;
    if (entries(mount_point.path()) != static_cast<size_t>(stored)) return 3;
    std::unique_ptr<BodyWriter> writer;
    if (!sink.open(lot, "written", std::nullopt, writer).ok()) return 4;
    StoreStatus appended;
    for (int i = 0; i < 10 && appended.ok(); ++i)
      appended = writer->append(body);
    if (appended.kind() != Kind::run) return 5;
    writer.reset();
    if (stands(mount_point / "written")) return 6;
    fs::remove(mount_point / "f0");
    return sink.put(lot, "after", body).ok() && read_file(mount_point / "after") == body ? 0 : 7;
  });

  const int no_inodes = with_file_system("nr_inodes=12", [&](FileSink& sink) {
    int stored = 0;
    StoreStatus status;
    while (stored < 100 && (status = sink.put(lot, fmt::format("f{}", stored), "")).ok())
      ++stored;
    if (stored == 0 || stored == 100) return 1;
    if (status.kind() != Kind::run) return 2;
    if (sink.put(lot, "folder/f", "").kind() != Kind::run) return 3;
    fs::remove(mount_point / "f0");
    fs::remove(mount_point / "f1");
    return sink.put(lot, "folder/f", "").ok() ? 0 : 4;
  });

  constexpr int kNotAllowed = 77;
  if (no_blocks == kNotAllowed) {
    MESSAGE("no file system can be mounted here; status_test covers what its errors mean");
    return;
  }
  CHECK(no_blocks == 0);
  CHECK(no_inodes == 0);
}

TEST_CASE("running out of descriptors asks for another try, which gets the cache's") {
  const TempFolder out;
  const auto with_free_descriptors = [&](rlim_t free, auto body) {
    return in_child([&] {
      FileSink sink(out.fd(), options());
      int highest = ::dup(out.fd());
      ::close(highest);
      const rlimit limit{static_cast<rlim_t>(highest) + free, static_cast<rlim_t>(highest) + free};
      if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 100;
      return body(sink);
    });
  };
  CHECK(with_free_descriptors(8, [&](FileSink& sink) {
          int busy = 0;
          for (int i = 0; i < 50; ++i) {
            // One folder more, or several at once: the last descriptor goes for a file or a folder.
            const std::string name = fmt::format("put/{}/{}", i, i % 2 == 0 ? "f" : "a/b/f");
            StoreStatus status = sink.put(lot, name, "x");
            if (status.kind() == Kind::busy) {
              ++busy;
              status = sink.put(lot, name, "x");
            }
            if (!status.ok() || read_file(out / name) != "x") return 1;
          }
          return busy > 0 ? 0 : 2;
        }) == 0);
  CHECK(with_free_descriptors(8, [&](FileSink& sink) {
          int busy = 0;
          for (int i = 0; i < 50; ++i) {
            const std::string name = fmt::format("written/{}/f", i);
            std::unique_ptr<BodyWriter> writer;
            StoreStatus status = sink.open(lot, name, std::nullopt, writer);
            if (status.kind() == Kind::busy) {
              ++busy;
              if (stands(out / name)) return 1;
              status = sink.open(lot, name, std::nullopt, writer);
            }
            if (!status.ok() || !writer->append("x").ok() || !writer->close().ok()) return 2;
            writer.reset();
          }
          return busy > 0 ? 0 : 3;
        }) == 0);
}

TEST_CASE("where names fold, a name's own file and folders are replaced and removed as ever") {
  const TempFolder out;
  FileSink::Options folding = options();
  folding.names.folds_case = true;
  FileSink sink(out.fd(), folding);
  for (const char* name : {"a", "d/e/f", "d/e/F", "A"})
    check_put(sink, name, "old");
  FileSink later(out.fd(), folding);
  for (const char* name : {"a", "d/e/f", "d/e/F", "A", "a"})
    check_put(later, name, name);
  CHECK(read_file(out / "d/e/f") == "d/e/f");
  CHECK(read_file(out / "A") == "A");
  later.discard("d/e/f");
  later.discard("none/at/all");
  CHECK_FALSE(fs::exists(out / "d/e/f"));
  CHECK(read_file(out / "d/e/F") == "d/e/F");
}

TEST_CASE("a path that another name's file holds is a conflict, and the file stays") {
  const TempFolder out;
  FileSink::Options folding = options();
  folding.names.folds_case = true;
  FileSink sink(out.fd(), folding);
  check_put(sink, "Readme", "one");
  check_put(sink, "other", "");
  check_put(sink, "other", "");                          // now the folder's listing is known
  fs::create_hard_link(out / "Readme", out / "README");  // the other spelling
  check_refused_both_ways(sink, "README", FailureClass::name_conflict);
  sink.discard("README");
  CHECK(read_file(out / "README") == "one");
}

}  // namespace gigafetch::store
