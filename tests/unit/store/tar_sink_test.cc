#include "store/tar_sink.h"

#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <set>

#include "base/random.h"
#include "store/packed_files.h"
#include "store/shards.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;
using Kind = StoreStatus::Kind;
using Ends = std::vector<ShardEnd>;

constexpr uint64_t kSmall = 2 * kTarBlock;  // a member of at most a block

uint64_t size_of(const TempFolder& out, const ShardName& name) {
  return fs::file_size(out / file_of(name));
}

// Runs `body` with the descriptor of a file system of its own, so large; in a child process.
constexpr int kNotAllowed = 77;
template <typename Body>
int with_file_system(const char* size, const Body& body) {
  const TempFolder mount_point;
  return in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      return kNotAllowed;
    if (::mount("none", mount_point.path().c_str(), "tmpfs", 0, size) != 0) return kNotAllowed;
    const UniqueFd out(::open(mount_point.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return body(out.get(), mount_point.path());
  });
}
void check_done(int status) {
  if (status == kNotAllowed) {
    MESSAGE("mounting is not allowed here: not tested");
  } else {
    CHECK(status == 0);
  }
}

}  // namespace

TEST_CASE("a committed lot is an append of its members to the worker's shard") {
  const TempFolder out;
  TarSink::Options options = tar_options();
  options.worker = 7;
  Packer packer(out, options);
  Lot lot;
  packer.put(lot, "d/a", "body of a");
  packer.put(lot, "empty", "");
  packer.put(lot, "b", std::string(1000, 'b'));
  CHECK_MESSAGE(size_of(out, shard_name(7, 0)) == 0, "nothing is there before the commit");
  CHECK(packer.commit(lot) == Ends{{7, 0, 2 * 512 + 512 + 3 * 512, false}});
  CHECK(size_of(out, shard_name(7, 0)) == 6 * 512);
  CHECK(members_of(out.fd(), shard_name(7, 0)) ==
        Members{{"d/a", "body of a"}, {"empty", ""}, {"b", std::string(1000, 'b')}});
  CHECK_MESSAGE(packer.commit(lot).empty(), "nothing is left of it");
  CHECK(packer.store({{"c", "c"}}) == Ends{{7, 0, 8 * 512, false}});
}

TEST_CASE("a sink that stores nothing makes no shard") {
  const TempFolder out;
  Packer packer(out, tar_options());
  Lot lot;
  CHECK(packer.commit(lot).empty());
  packer.sink.finish_run();
  packer.sink.discard("name");
  CHECK(files_in(out).empty());
}

TEST_CASE("batches that come interleaved each commit what is theirs, and nothing else") {
#ifdef __SANITIZE_ADDRESS__
  constexpr uint64_t kSeeds = 5;  // each is ten times as slow
#else
  constexpr uint64_t kSeeds = 20;
#endif
  for (const int level : {0, 1}) {
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      const TempFolder out;
      TarSink::Options options = tar_options(level);
      options.shard_size = 60'000;
      Packer packer(out, options);
      Random random(seed);
      std::vector<Lot> lots(5);
      std::vector<std::set<std::string>> held(5);
      std::set<std::string> committed;
      for (int i = 0; i < 300; ++i) {
        const size_t at = random.below(lots.size());
        const std::string name = fmt::format("batch-{}/file-{}", at, i);
        const std::string body(random.below(3000), static_cast<char>('a' + i % 26));
        switch (random.below(8)) {
          case 0: {
            packer.commit(lots[at]);
            committed.merge(held[at]);
            CHECK(held[at].empty());
            // What is committed of all shards is what is committed of all batches.
            std::set<std::string> found;
            for (uint32_t number = 0; number < packer.ends.next_number(0); ++number) {
              const bool finished = packer.ends.is_finished({0, number});
              const auto open = packer.ends.open().find({0, number});
              if (!finished && open == packer.ends.open().end()) continue;
              for (const auto& [path, found_body] :
                   members_of(out.fd(), shard_name(0, number, level > 0),
                              finished ? UINT64_MAX : open->second))
                CHECK_MESSAGE(found.insert(path).second, path);
            }
            CHECK(found == committed);
            break;
          }
          case 1:
            packer.stream(lots[at], name, body, std::nullopt, 700);
            held[at].insert(name);
            break;
          case 2: {
            const auto writer = packer.open(lots[at], name);
            CHECK(writer->append(body).ok());
            break;  // given up
          }
          default:
            packer.put(lots[at], name, body);
            held[at].insert(name);
        }
      }
    }
  }
}

TEST_CASE("the members of a batch are told of by none of the others") {
  const TempFolder out;
  Packer packer(out, tar_options());
  Lot first, second;
  packer.put(first, "a", "1");
  packer.put(second, "b", "2");
  packer.put(first, "c", "3");
  const Ends told = packer.commit(second);
  REQUIRE(told == Ends{{0, 0, kSmall, false}});
  CHECK(members_of(out.fd(), shard_name(0, 0), told[0].end) == Members{{"b", "2"}});
  CHECK(packer.commit(first) == Ends{{0, 0, 3 * kSmall, false}});
  CHECK(members_of(out.fd(), shard_name(0, 0)) == Members{{"b", "2"}, {"a", "1"}, {"c", "3"}});
}

TEST_CASE("a shard that has reached its size is ended with the commit that reaches it") {
  for (const int level : {0, 1}) {
    const TempFolder out;
    TarSink::Options options = tar_options(level);
    options.shard_size = level == 0 ? 2 * kSmall : 1;
    Packer packer(out, options);
    const uint32_t lots = level == 0 ? 2 : 1;
    for (uint32_t number = 0; number < 3; ++number) {
      for (uint32_t lot = 1; lot < lots; ++lot)
        CHECK_FALSE(packer.store({{"a", "1"}}).at(0).finished);
      const Ends told = packer.store({{"b", "2"}});
      REQUIRE(told.size() == 1);
      CHECK(told[0].finished);
      CHECK(told[0].number == number);
      const ShardName name = shard_name(0, number, level > 0);
      CHECK(told[0].end == size_of(out, name));
      if (level == 0) {
        CHECK(told[0].end == 2 * kSmall + kTarEndBytes);
        CHECK(read_file(out / file_of(name)).substr(2 * kSmall) == std::string(kTarEndBytes, '\0'));
      }
      CHECK(members_of(out.fd(), name).size() == lots);
      CHECK(fs::file_size(out / index_file_of(name.id)) > 0);
    }
  }
}

TEST_CASE("numbers that are taken are passed over, and those that are known to be used") {
  const TempFolder out;
  write_file(out / "worker-00-000000.tar", "somebody's");
  write_file(out / "worker-00-000004.tar", "somebody's");
  fs::create_symlink("nowhere", out / "worker-00-000005.tar");
  Packer packer(out, tar_options());
  Lot lot;
  packer.put(lot, "a", "1");
  packer.stream(lot, "b", "2");
  packer.sink.set_first_shard(4);
  packer.stream(lot, "c", "3");
  packer.sink.set_first_shard(2);
  packer.stream(lot, "d", "4");
  const Ends told = packer.commit(lot);
  REQUIRE(told.size() == 4);
  CHECK(told[0].number == 1);
  CHECK(told[1].number == 2);
  CHECK(told[2].number == 6);
  CHECK(told[3].number == 7);
  CHECK(read_file(out / "worker-00-000000.tar") == "somebody's");
  CHECK(read_file(out / "worker-00-000004.tar") == "somebody's");
  CHECK_FALSE(fs::exists(out / "nowhere"));
}

TEST_CASE("a shard whose index is in somebody's way goes without one") {
  const TempFolder out;
  write_file(out / "worker-00-000000.idx", "somebody's");
  Packer packer(out, tar_options());
  packer.store({{"a", "1"}});
  packer.sink.finish_run();
  CHECK(read_file(out / "worker-00-000000.idx") == "somebody's");
  CHECK(members_of(out.fd(), shard_name(0, 0)) == Members{{"a", "1"}});
}

TEST_CASE(
    "a body that comes in pieces is a member of a shard of its own, whatever is known of it") {
  for (const int level : {0, 1}) {
    for (const uint64_t size : {1u, 511u, 512u, 513u, 131'072u, 300'001u}) {
      const std::string body(size, 'y');
      for (const std::optional<uint64_t>& known :
           {std::optional<uint64_t>(), std::optional<uint64_t>(size)}) {
        CAPTURE(level);
        CAPTURE(size);
        CAPTURE(known.has_value());
        const TempFolder out;
        Packer packer(out, tar_options(level));
        Lot lot;
        packer.put(lot, "small", "1");
        packer.stream(lot, "large", body, known);
        const Ends told = packer.commit(lot);
        REQUIRE(told.size() == 2);
        CHECK(told[0].number == 0);
        CHECK(told[1].number == 1);
        const ShardName name = shard_name(0, 1, level > 0);
        CHECK(told[1].end == size_of(out, name));
        CHECK((members_of(out.fd(), name) == Members{{"large", body}}));
      }
    }
  }
}

TEST_CASE("a body that comes in pieces is gathered as long as there is room") {
  const TempFolder out;
  TarSink::Options options = tar_options();
  options.gather_bytes = 512 * 1024;
  Packer packer(out, options);
  Lot lot;
  const std::string fits(512 * 1024, 'f'), larger(512 * 1024 + 1, 'l');
  packer.stream(lot, "unknown", fits);
  packer.stream(lot, "known", fits, fits.size());
  packer.stream(lot, "empty", "");
  CHECK(packer.commit(lot).size() == 1);
  packer.stream(lot, "known to be larger", larger, larger.size());
  packer.stream(lot, "found to be larger", larger);
  CHECK_MESSAGE(packer.commit(lot).size() == 2, "each in a shard of its own");
  CHECK(members_of(out.fd(), shard_name(0, 0)) ==
        Members{{"unknown", fits}, {"known", fits}, {"empty", ""}});
  CHECK(members_of(out.fd(), shard_name(0, 1)) == Members{{"known to be larger", larger}});
  CHECK(members_of(out.fd(), shard_name(0, 2)) == Members{{"found to be larger", larger}});

  // Of many at once, those that come when there is no room are streamed, and the others are not.
  std::vector<std::unique_ptr<BodyWriter>> writers;
  for (int i = 0; i < 12; ++i) {
    writers.push_back(packer.open(lot, std::to_string(i)));
    REQUIRE(writers.back()->append(fits).ok());
  }
  for (const auto& writer : writers) {
    REQUIRE(writer->close().ok());
    packer.streamed(lot);
  }
  CHECK(packer.commit(lot).size() == 1 + 4);
  // And once they are whole, or given up, there is room again.
  writers.clear();
  packer.stream(lot, "after", fits);
  CHECK(packer.commit(lot).size() == 1);
}

TEST_CASE("a shard of streamed files takes the next one when the last is committed, no sooner") {
  const TempFolder out;
  Packer packer(out, tar_options());
  Lot first, second;
  packer.stream(first, "a", "1");
  packer.stream(second, "b", "2");
  CHECK(packer.commit(first).at(0).number == 0);
  packer.stream(second, "c", "3");
  packer.stream(second, "d", "4");
  const Ends told = packer.commit(second);
  REQUIRE(told.size() == 3);
  CHECK(told[0].number == 1);
  CHECK(told[1].number == 0);
  CHECK(told[2].number == 2);
  CHECK(members_of(out.fd(), shard_name(0, 0)) == Members{{"a", "1"}, {"c", "3"}});
  CHECK(members_of(out.fd(), shard_name(0, 1)) == Members{{"b", "2"}});
  CHECK(members_of(out.fd(), shard_name(0, 2)) == Members{{"d", "4"}});
}

TEST_CASE("a streamed file that is given up leaves nothing, and its shard takes another") {
  for (const int level : {0, 1}) {
    const TempFolder out;
    Packer packer(out, tar_options(level));
    Lot lot;
    packer.stream(lot, "a", "1");
    const uint64_t end = packer.commit(lot).at(0).end;
    {
      const auto writer = packer.open(lot, "b", 400'000);
      REQUIRE(writer->append(std::string(300'000, 'b')).ok());
      CHECK(size_of(out, shard_name(0, 0, level > 0)) > end);
    }
    CHECK(size_of(out, shard_name(0, 0, level > 0)) == end);
    CHECK(packer.commit(lot).empty());
    packer.stream(lot, "c", "3");
    CHECK(packer.commit(lot).at(0).number == 0);
    CHECK(members_of(out.fd(), shard_name(0, 0, level > 0)) == Members{{"a", "1"}, {"c", "3"}});
  }
}

TEST_CASE("a shard of streamed files is ended at its size, and another takes its place") {
  const TempFolder out;
  TarSink::Options options = tar_options();
  options.shard_size = 50'000;
  Packer packer(out, options);
  const std::string body(60'000, 'x');
  for (uint32_t number = 0; number < 3; ++number) {
    Lot lot;
    packer.stream(lot, "large", body);
    const Ends told = packer.commit(lot);
    REQUIRE(told.size() == 1);
    CHECK(told[0].number == number);
    CHECK(told[0].finished);
    CHECK((members_of(out.fd(), shard_name(0, number)) == Members{{"large", body}}));
  }
}

TEST_CASE("any name has a place in an archive") {
  const Members names = {{"../x", ""},
                         {"/abs", ""},
                         {"a//b", ""},
                         {".", ""},
                         {"..", ""},
                         {"a/./b", ""},
                         {"tab\tnl\n", ""},
                         {"\xFF\xFE", ""},
                         {".gigafetch/x", ""},
                         {"%41", ""},
                         {"dir/", ""},
                         {"/", ""},
                         {std::string(300, 'n'), ""},
                         {std::string(4096, '\x01'), ""}};
  for (const Layout layout : {Layout::tree, Layout::flat, Layout::fanout}) {
    const TempFolder out;
    TarSink::Options options = tar_options();
    options.layout = layout;
    Packer packer(out, options);
    packer.store(names);
    const Members members = members_of(out.fd(), shard_name(0, 0));
    REQUIRE(members.size() == names.size());
    for (size_t i = 0; i < names.size(); ++i) {
      const std::string& path = members[i].first;
      CHECK(name_of_path(layout, path, PathLimits::none) == names[i].first);
      // Nothing that leads a reader out of its folder.
      CHECK(path.front() != '/');
      CHECK(("/" + path + "/").find("/../") == std::string::npos);
    }
  }
}

TEST_CASE("a name that no path stands for is refused both ways") {
  const TempFolder out;
  TarSink sink(out.fd(), tar_options());
  Lot lot;
  for (const std::string& name : {std::string(), std::string("a\0b", 3)}) {
    CHECK(sink.refuses(name) == FailureClass::bad_name);
    const StoreStatus status = sink.put(lot, name, "body");
    CHECK(status.kind() == Kind::file);
    CHECK(status.cause() == FailureClass::bad_name);
    CHECK(status.text() == sink.refusal_text(FailureClass::bad_name));
    std::unique_ptr<BodyWriter> writer;
    CHECK(sink.open(lot, name, 5, writer).kind() == Kind::file);
    CHECK(writer == nullptr);
  }
  CHECK(files_in(out).empty());
}

TEST_CASE("a lot wants to be committed when it holds much, or all of them do") {
  const TempFolder out;
  Packer packer(out, tar_options());
  const std::string body(64 * 1024 - 512, 'x');
  std::vector<Lot> lots(6);
  for (int i = 0; i < 31; ++i)
    packer.put(lots[0], "f", body);
  CHECK_FALSE(packer.sink.wants_commit(lots[0]));
  packer.put(lots[0], "f", body);
  CHECK(packer.sink.wants_commit(lots[0]));
  CHECK_FALSE(packer.sink.wants_commit(lots[1]));
  packer.commit(lots[0]);
  CHECK_FALSE(packer.sink.wants_commit(lots[0]));
  // Five lots, none of them full, that hold 8 MiB together.
  for (int i = 0; i < 5 * 26; ++i)
    packer.put(lots[1 + i / 26], "f", body);
  for (size_t i = 1; i < 6; ++i)
    CHECK(packer.sink.wants_commit(lots[i]));
  CHECK_MESSAGE(!packer.sink.wants_commit(lots[0]), "it holds nothing");
  packer.commit(lots[1]);
  for (size_t i = 1; i < 6; ++i)
    CHECK_FALSE(packer.sink.wants_commit(lots[i]));
}

TEST_CASE("a lot of many small files wants to be committed sooner, unless compressed or synced") {
  constexpr int kFiles = 300;
  const std::string body(1000, 'b');
  for (const auto& [zstd_level, sync] : {std::pair(0, false), {1, false}, {0, true}}) {
    const TempFolder out;
    TarSink::Options options = tar_options(zstd_level);
    options.sync_files = sync;
    Packer packer(out, options);
    Lot lot, large;
    for (int i = 0; i < kFiles; ++i)
      packer.put(lot, fmt::format("small{}", i), body);
    CHECK(packer.sink.wants_commit(lot) == (zstd_level == 0 && !sync));
    for (int i = 0; i < kFiles / 10; ++i)
      packer.put(large, fmt::format("large{}", i), std::string(10'000, 'b'));
    CHECK(large.members.size() > 256 * 1024);
    CHECK_FALSE(packer.sink.wants_commit(large));
  }
}

TEST_CASE("a lot that begins is gathered where the last one was that is committed") {
  const TempFolder out;
  Packer packer(out, tar_options());
  Lot first, second, third;
  packer.put(first, "a", std::string(10'000, 'a'));
  packer.put(second, "b", std::string(10'000, 'b'));
  const char* const where = second.members.data();
  packer.commit(first);
  packer.commit(second);
  packer.put(third, "c", std::string(10'000, 'c'));
  CHECK(third.members.data() == where);
  packer.commit(third);
  CHECK(members_of(out.fd(), shard_name(0, 0)) == Members{{"a", std::string(10'000, 'a')},
                                                          {"b", std::string(10'000, 'b')},
                                                          {"c", std::string(10'000, 'c')}});
}

TEST_CASE("files that are synced one by one are told of the same way") {
  const TempFolder out;
  TarSink::Options options = tar_options(1);
  options.sync_files = true;
  Packer packer(out, options);
  Lot lot;
  packer.put(lot, "a", "1");
  packer.stream(lot, "b", "2");
  CHECK(packer.commit(lot).size() == 2);
  CHECK(members_of(out.fd(), shard_name(0, 0, true)) == Members{{"a", "1"}});
  CHECK(members_of(out.fd(), shard_name(0, 1, true)) == Members{{"b", "2"}});
}

TEST_CASE("a missing output folder ends the run, a want of descriptors puts the file off") {
  {
    const TempFolder out;
    TarSink sink(out.fd(), tar_options());
    fs::remove(out.path());
    Lot lot;
    const StoreStatus status = sink.put(lot, "a", "1");
    CHECK(status.kind() == Kind::run);
    CHECK(status.text().find("output folder") != std::string::npos);
    fs::create_directory(out.path());
  }
  const TempFolder out;
  CHECK(in_child([&] {
          TarSink sink(out.fd(), tar_options());
          rlimit limit;
          ::getrlimit(RLIMIT_NOFILE, &limit);
          const rlim_t before = limit.rlim_cur;
          limit.rlim_cur = 3;
          ::setrlimit(RLIMIT_NOFILE, &limit);
          Lot lot;
          if (sink.put(lot, "a", "1").kind() != Kind::busy) return 1;
          std::unique_ptr<BodyWriter> writer;
          if (!sink.open(lot, "b", 5, writer).ok()) return 2;
          if (writer->append("piece").kind() != Kind::busy) return 5;
          writer.reset();
          if (!lot.members.empty() || !lot.entries.empty()) return 3;
          limit.rlim_cur = before;
          ::setrlimit(RLIMIT_NOFILE, &limit);
          Ends told;
          return sink.put(lot, "a", "1").ok() && commit_lot(sink, lot, told).ok() ? 0 : 4;
        }) == 0);
}

TEST_CASE(
    "a commit is not put off for want of a descriptor when the shard of another lot is full") {
  const TempFolder out;
  CHECK(in_child([&] {
          TarSink::Options options = tar_options();
          options.shard_size = 1;
          TarSink sink(out.fd(), options);
          Lot first, second;
          if (!sink.put(first, "a", "1").ok() || !sink.put(second, "b", "2").ok()) return 1;
          Ends told;
          if (!commit_lot(sink, first, told).ok()) return 2;
          // Connections take what is left.
          rlimit limit;
          ::getrlimit(RLIMIT_NOFILE, &limit);
          limit.rlim_cur = 3;
          ::setrlimit(RLIMIT_NOFILE, &limit);
          return commit_lot(sink, second, told).ok() && told.at(0).number == 1 ? 0 : 3;
        }) == 0);
}

TEST_CASE("a full shard goes on while lots wait and no other can be made for want of descriptors") {
  const TempFolder out;
  CHECK(in_child([&] {
          TarSink::Options options = tar_options();
          options.shard_size = 1;
          TarSink sink(out.fd(), options);
          std::vector<Lot> lots(4);
          for (Lot& lot : lots) {
            if (!sink.put(lot, "a", "1").ok()) return 1;
          }
          rlimit limit;
          ::getrlimit(RLIMIT_NOFILE, &limit);
          const rlim_t before = limit.rlim_cur;
          limit.rlim_cur = 3;
          ::setrlimit(RLIMIT_NOFILE, &limit);
          Ends told;
          for (uint64_t i = 0; i < 2; ++i) {
            if (!commit_lot(sink, lots[i], told).ok()) return 2;
            if (told != Ends{{0, 0, (i + 1) * kSmall, false}}) return 3;
          }
          limit.rlim_cur = before;
          ::setrlimit(RLIMIT_NOFILE, &limit);
          if (!commit_lot(sink, lots[2], told).ok() || !told.at(0).finished) return 4;
          if (!commit_lot(sink, lots[3], told).ok()) return 5;
          return told.at(0).number == 1 ? 0 : 6;
        }) == 0);
  CHECK(members_of(out.fd(), shard_name(0, 0)) == Members{{"a", "1"}, {"a", "1"}, {"a", "1"}});
  CHECK(members_of(out.fd(), shard_name(0, 1)) == Members{{"a", "1"}});
}

TEST_CASE(
    "a full file system ends the run, and the shard ends with the last lot that was told of") {
  check_done(with_file_system("size=128k", [](int out, const fs::path& path) {
    TarSink sink(out, tar_options());
    const std::string body(20'000, 'x');
    uint64_t told = 0;
    StoreStatus status;
    Lot lot;
    int lots = 0;
    for (; lots < 100; ++lots) {
      if (!sink.put(lot, fmt::format("f{}", lots), body).ok()) return 1;
      Ends ends;
      status = commit_lot(sink, lot, ends);
      if (!status.ok()) break;
      told = ends.at(0).end;
    }
    if (lots == 0 || lots == 100) return 2;
    if (status.kind() != Kind::run || status.text().find("No space") == std::string::npos) return 3;
    if (fs::file_size(path / "worker-00-000000.tar") != told) return 4;
    return members_of(out, shard_name(0, 0)).size() == static_cast<size_t>(lots) ? 0 : 6;
  }));
}

TEST_CASE("what a failed lot has appended is covered by the end of no other lot") {
  // Room for the first member, and not for the streamed body's end of archive.
  check_done(with_file_system("size=64k", [](int out, const fs::path& path) {
    TarSink::Options options = tar_options();
    options.shard_size = 12 * 1024;
    TarSink sink(out, options);
    Lot failing, other;
    if (!sink.put(failing, "small", "1").ok() || !sink.put(other, "other", "2").ok()) return 1;
    std::unique_ptr<BodyWriter> writer;
    if (!sink.open(failing, "large", std::nullopt, writer).ok()) return 2;
    // Up to a page's end: the end of archive asks for another page.
    if (!writer->append(std::string(5 * 4096 - 3 * kTarBlock, 'x')).ok()) return 3;
    if (!writer->close().ok()) return 4;
    writer.reset();
    {
      const UniqueFd filler(
          ::open((path / "filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
      const std::string page(4096, 'f');
      while (::write(filler.get(), page.data(), page.size()) == 4096) {
      }
      // One page is free: the small member takes it.
      struct stat there;
      if (::fstat(filler.get(), &there) != 0 ||
          ::ftruncate(filler.get(), there.st_size - 4096) != 0)
        return 5;
    }
    Ends told;
    if (commit_lot(sink, failing, told).kind() != Kind::run) return 6;
    fs::remove(path / "filler");
    if (!commit_lot(sink, other, told).ok()) return 7;
    for (const ShardEnd& end : told) {
      if (members_of(out, shard_name(0, end.number), end.end) != Members{{"other", "2"}}) return 8;
    }
    return told.empty() ? 0 : 9;
  }));
}

TEST_CASE("a streamed body that finds no room is cut, and the shard ends where it began") {
  check_done(with_file_system("size=256k", [](int out, const fs::path& path) {
    TarSink sink(out, tar_options());
    Lot lot;
    std::unique_ptr<BodyWriter> writer;
    if (!sink.open(lot, "a", 5, writer).ok() || !writer->append("12345").ok() ||
        !writer->close().ok())
      return 1;
    writer.reset();
    Ends ends;
    if (!commit_lot(sink, lot, ends).ok()) return 2;
    const uint64_t told = ends.at(0).end;
    if (!sink.open(lot, "b", std::nullopt, writer).ok()) return 3;
    StoreStatus status;
    for (int i = 0; i < 100 && status.ok(); ++i)
      status = writer->append(std::string(10'000, 'x'));
    if (status.kind() != Kind::run) return 4;
    writer.reset();
    if (fs::file_size(path / "worker-00-000000.tar") != told) return 5;
    return members_of(out, shard_name(0, 0)) == Members{{"a", "12345"}} ? 0 : 6;
  }));
}

namespace {

// A lot of these files, committed and neither proven nor told.
Receipt commit_unproven(Packer& packer, Lot& lot, const Members& files) {
  for (const auto& [name, body] : files)
    packer.put(lot, name, body);
  Receipt receipt = 0;
  REQUIRE(packer.sink.commit(lot, receipt).ok());
  REQUIRE(receipt != 0);
  return receipt;
}

Ends tellable(Packer& packer) {
  Ends ends;
  StoreStatus status;
  for (Tellable next; packer.sink.take_tellable(next, status);)
    ends.push_back(next.end);
  REQUIRE(status.ok());
  return ends;
}

StoreStatus take_back(Packer& packer, Lot& lot, Receipt receipt, std::string_view name) {
  const TakenBack file{&lot, receipt, name};
  return packer.sink.take_back({&file, 1});
}

}  // namespace

TEST_CASE("a commit is told when it is proven, and every one before it in its shard") {
  const TempFolder out;
  Packer packer(out, tar_options());
  Lot first, second;
  const Receipt one = commit_unproven(packer, first, {{"a", "1"}});
  const Receipt two = commit_unproven(packer, second, {{"b", "2"}});
  CHECK(tellable(packer).empty());
  packer.sink.prove(two);
  CHECK_MESSAGE(tellable(packer).empty(), "what stands before it may be taken out still");
  packer.sink.prove(one);
  CHECK(tellable(packer) == Ends{{0, 0, kSmall, false}, {0, 0, 2 * kSmall, false}});
}

TEST_CASE("a file that is taken back leaves its lot, or its shard, and what is left counts") {
  for (const int level : {0, 1}) {
    const TempFolder out;
    Packer packer(out, tar_options(level));
    const ShardName shard = shard_name(0, 0, level > 0);
    Lot first, second, third;
    const std::string body(1000, 'b');
    const Receipt one = commit_unproven(packer, first, {{"a", "1"}, {"d/b", body}, {"c", ""}});
    const Receipt two = commit_unproven(packer, second, {{"e", "5"}});
    packer.put(third, "f", "6");
    packer.put(third, "g", "7");
    packer.put(third, "h", "8");
    REQUIRE(take_back(packer, first, one, "d/b").ok());
    REQUIRE(take_back(packer, third, 0, "g").ok());
    CHECK(members_of(out.fd(), shard) == Members{{"e", "5"}});
    packer.sink.prove(two);
    CHECK(tellable(packer).size() == 1);
    CHECK(packer.commit(first).size() == 1);
    CHECK(packer.commit(third).size() == 1);
    packer.sink.finish_run();
    CHECK(members_of(out.fd(), shard) ==
          Members{{"e", "5"}, {"a", "1"}, {"c", ""}, {"f", "6"}, {"h", "8"}});
    // The index has what counts, where it stands now.
    Result<PackedFiles> files = PackedFiles::open(out.fd(), packer.ends, Layout::tree);
    REQUIRE(files.ok());
    std::unique_ptr<BodyReader> reader;
    CHECK(files->open("a", reader).ok());
    CHECK_FALSE(files->open("d/b", reader).ok());
  }
}

TEST_CASE("a streamed file that is taken back leaves its shard to the next one") {
  const TempFolder out;
  Packer packer(out, tar_options());
  Lot lot;
  packer.stream(lot, "kept", std::string(100, 'k'));
  packer.commit(lot);
  const std::unique_ptr<BodyWriter> writer = packer.open(lot, "doubted");
  REQUIRE(writer->append(std::string(2000, 'd')).ok());
  REQUIRE(writer->close().ok());
  Receipt receipt = 0;
  REQUIRE(packer.sink.commit_streamed(lot, receipt).ok());
  REQUIRE(take_back(packer, lot, receipt, "doubted").ok());
  packer.stream(lot, "next", "n");
  packer.commit(lot);
  CHECK(members_of(out.fd(), shard_name(0, 0)) ==
        Members{{"kept", std::string(100, 'k')}, {"next", "n"}});
}

TEST_CASE("a commit that stays unproven does not hold up those that come later for long") {
  const TempFolder out;
  Packer packer(out, tar_options());
  Lot stuck, later;
  const Receipt one = commit_unproven(packer, stuck, {{"a", "1"}});
  for (int i = 0; i < 20; ++i)
    packer.sink.step_aside(10);
  CHECK(packer.store({{"b", "2"}}) == Ends{{0, 1, kSmall, false}});
  packer.sink.prove(one);
  CHECK(tellable(packer) == Ends{{0, 0, kSmall, false}});
}

TEST_CASE("whatever is taken back, a shard holds what is told and nothing else") {
  Random random(1);
  for (int round = 0; round < 40; ++round) {
    const TempFolder out;
    TarSink::Options options = tar_options(round % 2);
    options.shard_size = 16 * 1024;
    Packer packer(out, options);
    struct Held {
      Lot lot;
      std::map<Receipt, std::set<std::string>> commits;
      std::set<std::string> gathered;
    };
    std::vector<Held> held(3);
    std::map<Receipt, Held*> owners;
    std::set<std::string> told;
    int next = 0;
    const auto take_told = [&] {
      StoreStatus status;
      for (Tellable tell; packer.sink.take_tellable(tell, status);) {
        REQUIRE(packer.ends.add(tell.end));
        Held& its = *owners.at(tell.receipt);
        told.merge(its.commits.extract(tell.receipt).mapped());
      }
      REQUIRE(status.ok());
    };
    for (int step = 0; step < 200; ++step) {
      Held& its = held[random.below(held.size())];
      if (random.chance(0.6)) {
        const std::string name = "n" + std::to_string(next++);
        packer.put(its.lot, name, name + std::string(random.below(600), 'x'));
        its.gathered.insert(name);
      } else if (random.chance(0.5)) {
        Receipt receipt = 0;
        REQUIRE(packer.sink.commit(its.lot, receipt).ok());
        if (receipt == 0) continue;
        owners[receipt] = &its;
        its.commits[receipt] = std::exchange(its.gathered, {});
      } else if (random.chance(0.5) && !its.commits.empty()) {
        const auto commit = its.commits.begin();
        const std::string name = *commit->second.begin();
        REQUIRE(take_back(packer, its.lot, commit->first, name).ok());
        its.gathered.merge(commit->second);
        its.gathered.erase(name);
        its.commits.erase(commit);
        take_told();
      } else if (!its.gathered.empty() && random.chance(0.3)) {
        const std::string name = *its.gathered.begin();
        REQUIRE(take_back(packer, its.lot, 0, name).ok());
        its.gathered.erase(name);
      } else if (!its.commits.empty()) {
        packer.sink.prove(its.commits.rbegin()->first);
        take_told();
      }
    }
    std::multiset<std::string> there;
    for (const auto& file : files_in(out)) {
      const auto parsed = shard_of_file(file);
      if (!parsed) continue;
      const auto open = packer.ends.open().find(parsed->id);
      const uint64_t end = packer.ends.is_finished(parsed->id) ? UINT64_MAX
                           : open == packer.ends.open().end()  ? 0
                                                               : open->second;
      if (end == 0) continue;
      for (const auto& [name, body] : members_of(out.fd(), *parsed, end)) {
        there.insert(name);
        CHECK(body.starts_with(name));
      }
    }
    CHECK(std::set<std::string>(there.begin(), there.end()) == told);
    CHECK(there.size() == told.size());
  }
}

}  // namespace gigafetch::store
