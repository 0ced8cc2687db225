#include "store/packed_files.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "base/random.h"
#include "store/content_hash.h"
#include "store/shard_recovery.h"
#include "store/shards.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

PackedFiles opened(const TempFolder& out, const ShardEnds& ends, Layout layout = Layout::tree) {
  Result<PackedFiles> files = PackedFiles::open(out.fd(), ends, layout);
  REQUIRE_MESSAGE(files.ok(), (files ? "" : files.failure().text));
  return std::move(files).value();
}

// The body stored for the name; "(missing)", or another class of failure.
std::string body_of(PackedFiles& files, std::string_view name) {
  std::unique_ptr<BodyReader> reader;
  const auto failed = [](const StoreStatus& status) {
    CHECK(status.kind() == StoreStatus::Kind::file);
    CHECK(status.text() != "");
    return fmt::format("({})", gigafetch::name_of(status.cause()));
  };
  StoreStatus status = files.open(name, reader);
  if (!status.ok()) return failed(status);
  std::string body;
  for (;;) {
    std::string_view piece;
    status = reader->read(piece);
    if (!status.ok()) return failed(status);
    if (piece.empty()) return body;
    body += piece;
  }
}

void check_all(PackedFiles& files, const Members& stored) {
  for (const auto& [name, body] : stored) {
    CAPTURE(name);
    CHECK((body_of(files, name) == body));
    uint64_t bytes = 0;
    Hash128 content;
    REQUIRE(files.hash(name, bytes, content, {}).ok());
    CHECK(bytes == body.size());
    CHECK(content == content_hash(name, body));
  }
}

// Files in three batches and streams, in two shards of gathered ones and more of streamed ones.
struct Job {
  explicit Job(int level, Layout layout = Layout::tree, bool finish = true) {
    TarSink::Options options = tar_options(level);
    options.layout = layout;
    options.shard_size = level == 0 ? 100'000 : 8'000;
    packer.emplace(out, options);
    Random random(9);
    for (int batch = 0; batch < 3; ++batch) {
      Lot lot;
      for (int i = 0; i < 40; ++i) {
        std::string body(random.below(3'000), '\0');
        for (char& c : body)
          c = static_cast<char>(random.below(256));
        stored.emplace_back(fmt::format("d{}/f{}", batch, i), body);
        packer->put(lot, stored.back().first, body);
      }
      stored.emplace_back(fmt::format("large{}", batch), std::string(1'500'000, 'l'));
      packer->stream(lot, stored.back().first, stored.back().second);
      packer->commit(lot);
    }
    if (finish) packer->sink.finish_run();
  }
  std::vector<fs::path> indexes() const {
    std::vector<fs::path> found;
    for (const std::string& file : files_in(out))
      if (shard_of_index_file(file)) found.push_back(out / file);
    return found;
  }
  TempFolder out;
  std::optional<Packer> packer;
  Members stored;
};

}  // namespace

TEST_CASE("what is stored is found by name, and nothing else is") {
  for (const int level : {0, 1}) {
    const Job job(level);
    REQUIRE(job.packer->ends.next_number(0) > 3);
    PackedFiles files = opened(job.out, job.packer->ends);
    check_all(files, job.stored);
    for (const std::string name : {"d0/f40", "d0", "", "large", "d0/f0/"})
      CHECK(body_of(files, name) != "");
    CHECK(body_of(files, "d0/f40") == "(missing)");
    CHECK(body_of(files, "") == "(bad-name)");
  }
}

TEST_CASE("without indexes, or with damaged ones, everything is found all the same") {
  for (const int level : {0, 1}) {
    for (int damage = 0; damage < 5; ++damage) {
      const Job job(level, Layout::tree, damage != 0);
      CAPTURE(level);
      CAPTURE(damage);
      for (const fs::path& index : job.indexes()) {
        std::string bytes = read_file(index);
        if (damage == 1) fs::remove(index);
        if (damage == 2) write_file(index, bytes.substr(0, bytes.size() / 2));
        if (damage == 3 && bytes.size() > 40) {
          // Another block for every entry, and another hash for half of them.
          for (size_t at = 40; at < bytes.size(); at += 5)
            bytes[at] = static_cast<char>(bytes[at] ^ 0x41);
          write_file(index, bytes);
        }
        if (damage == 4) write_file(index, std::string(5'000, '\xFF'));
      }
      PackedFiles files = opened(job.out, job.packer->ends);
      check_all(files, job.stored);
      CHECK(body_of(files, "d0/f40") == "(missing)");
    }
  }
}

TEST_CASE("an index may be a link or a folder: it is not followed") {
  const Job job(0);
  for (const fs::path& index : job.indexes()) {
    fs::remove(index);
    fs::create_symlink("/etc/passwd", index);
  }
  PackedFiles files = opened(job.out, job.packer->ends);
  check_all(files, job.stored);
}

TEST_CASE("an index of more than the shard has kept leads to nothing that is not committed") {
  for (const int level : {0, 1}) {
    const TempFolder out;
    Packer packer(out, tar_options(level));
    packer.store({{"a", "1"}, {"b", "2"}});
    const ShardEnds told = packer.ends;
    // Committed, but its outcome is never told: the process dies.
    packer.store({{"c", "3"}});
    packer.sink.finish_run();
    {
      PackedFiles files = opened(out, told);
      CHECK(body_of(files, "a") == "1");
      CHECK(body_of(files, "b") == "2");
      CHECK(body_of(files, "c") == "(missing)");
    }
    ShardEnds closed = told;
    const Result<std::vector<ShardEnd>> ends = close_shards(out.fd(), told, false);
    REQUIRE(ends.ok());
    for (const ShardEnd& end : ends.value())
      REQUIRE(closed.add(end));
    PackedFiles files = opened(out, closed);
    CHECK(body_of(files, "a") == "1");
    CHECK(body_of(files, "b") == "2");
    CHECK(body_of(files, "c") == "(missing)");
  }
}

TEST_CASE("a shard that is still being written is read as far as it is committed") {
  const TempFolder out;
  Packer packer(out, tar_options());
  Lot lot;
  packer.store({{"a", "1"}});
  const auto writer = packer.open(lot, "half");
  REQUIRE(writer->append(std::string(100'000, 'h')).ok());
  PackedFiles files = opened(out, packer.ends);
  CHECK(body_of(files, "a") == "1");
  CHECK(body_of(files, "half") == "(missing)");
}

TEST_CASE("any name is found, in every layout") {
  const Members names = {{"../x", "1"},
                         {"/abs", "2"},
                         {"a//b", "3"},
                         {".", "4"},
                         {"..", "5"},
                         {"tab\tnl\n", "6"},
                         {"\xFF\xFE", "7"},
                         {"%41", "8"},
                         {"A", "9"},
                         {".gigafetch/x", "10"},
                         {std::string(300, 'n'), "11"},
                         {std::string(300, 'n') + "/" + std::string(3000, '\x01'), "12"}};
  for (const Layout layout : {Layout::tree, Layout::flat, Layout::fanout}) {
    const TempFolder out;
    TarSink::Options options = tar_options(1);
    options.layout = layout;
    Packer packer(out, options);
    packer.store(names);
    for (const bool indexed : {false, true}) {
      if (indexed) packer.sink.finish_run();
      PackedFiles files = opened(out, packer.ends, layout);
      check_all(files, names);
      CHECK(body_of(files, "x") == "(missing)");
      CHECK(files.refuses("a\0b"s) == FailureClass::bad_name);
      CHECK_FALSE(files.refuses("..").has_value());
    }
  }
}

TEST_CASE("names of one hash are told apart by what stands there") {
  // The same name committed twice: whichever is found is one of them.
  const TempFolder out;
  Packer packer(out, tar_options());
  packer.store({{"a", "1"}});
  packer.store({{"a", "1"}});
  packer.sink.finish_run();
  PackedFiles files = opened(out, packer.ends);
  CHECK(body_of(files, "a") == "1");
}

TEST_CASE("damage to one shard does not hide what is in the others") {
  for (const bool indexed : {false, true}) {
    const TempFolder out;
    TarSink::Options options = tar_options();
    options.shard_size = 1;
    Packer packer(out, options);
    packer.store({{"a", "1"}, {"b", "2"}});
    packer.store({{"c", "3"}});
    if (!indexed) {
      fs::remove(out / "worker-00-000000.idx");
      fs::remove(out / "worker-00-000001.idx");
    }
    std::string bytes = read_file(out / "worker-00-000000.tar");
    bytes[1024 + 3] = 'X';  // in the header of "b"
    write_file(out / "worker-00-000000.tar", bytes);
    PackedFiles files = opened(out, packer.ends);
    CHECK(body_of(files, "a") == "1");
    CHECK(body_of(files, "c") == "3");
    CHECK(body_of(files, "b") == (indexed ? "(missing)" : "(different)"));
    CHECK(body_of(files, "z") == (indexed ? "(missing)" : "(different)"));
  }
}

TEST_CASE("a body that is damaged is different, a compressed one too, and others are read") {
  const TempFolder out;
  Packer packer(out, tar_options(1));
  packer.store({{"a", "1"}});
  Random random(1);
  std::string body(100'000, '\0');
  for (char& c : body)
    c = static_cast<char>(random.below(256));
  packer.store({{"b", body}});
  const uint64_t end = packer.store({{"c", "3"}}).at(0).end;
  packer.sink.finish_run();
  std::string bytes = read_file(out / "worker-00-000000.tar.zst");
  REQUIRE(bytes.size() == end);
  bytes[50'000] = static_cast<char>(bytes[50'000] ^ 1);
  write_file(out / "worker-00-000000.tar.zst", bytes);
  PackedFiles files = opened(out, packer.ends);
  CHECK(body_of(files, "a") == "1");
  CHECK(body_of(files, "b") == "(different)");
  CHECK(body_of(files, "c") == "3");
  uint64_t size = 0;
  Hash128 content;
  CHECK(files.hash("b", size, content, {}).cause() == FailureClass::different);
}

TEST_CASE("hashing a large body shows now and then that it goes on") {
  const Job job(1);
  PackedFiles files = opened(job.out, job.packer->ends);
  int calls = 0;
  uint64_t bytes = 0;
  Hash128 content;
  REQUIRE(files.hash("large0", bytes, content, [&] { ++calls; }).ok());
  CHECK(calls > 2);
}

TEST_CASE("shards count as far as the ledger says, and only those that it speaks of") {
  const TempFolder out;
  write_file(out / "worker-00-000000.tar", std::string(5'000, 'x'));
  write_file(out / "worker-00-000001.tar.zst", std::string(300, 'x'));
  write_file(out / "worker-00-000002.tar", std::string(100, 'x'));
  write_file(out / "worker-01-000000.tar", std::string(700, 'x'));
  write_file(out / "worker-01-000000.idx", "index");
  write_file(out / "file", "file");
  ShardEnds ends;
  REQUIRE(ends.add({0, 0, 4'096, false}));
  REQUIRE(ends.add({0, 1, 300, true}));
  REQUIRE(ends.add({1, 0, 700, false}));
  REQUIRE(ends.add({1, 1, 0, false}));
  const auto counted = counted_shards(out.fd(), ends);
  REQUIRE(counted.ok());
  REQUIRE(counted.value().size() == 3);
  CHECK(counted.value()[0].name == shard_name(0, 0));
  CHECK(counted.value()[0].end == 4'096);
  CHECK(counted.value()[1].name == shard_name(0, 1, true));
  CHECK(counted.value()[1].end == 300);
  CHECK(counted.value()[2].end == 700);
  fs::resize_file(out / "worker-01-000000.tar", 699);
  CHECK(counted_shards(out.fd(), ends).failure().code == ErrorCode::malformed);
  fs::remove(out / "worker-01-000000.tar");
  CHECK(counted_shards(out.fd(), ends).failure().code == ErrorCode::malformed);
  CHECK_FALSE(PackedFiles::open(out.fd(), ends, Layout::tree).ok());
}

}  // namespace gigafetch::store
