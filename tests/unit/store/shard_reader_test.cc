#include "store/shard_reader.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <limits>

#include "base/random.h"
#include "store/shards.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;

std::string random_bytes(Random& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& c : bytes)
    c = static_cast<char>(random.below(256));
  return bytes;
}

// A shard of whatever is said, as the first one of worker 0.
ShardName write_shard(const TempFolder& out, std::string_view archive) {
  const ShardName name = shard_name(0, 0);
  write_file(out / file_of(name), archive);
  return name;
}

std::string member(std::string_view path, std::string_view body) {
  std::string out;
  TarHeaders(0).append(out, path, body.size());
  out += body;
  return out.append(tar_padding(body.size()), '\0');
}

// The member read last before the damage is in what was read; what the damage is said to be.
std::string damage_of(const Members& members) {
  return members.empty() || members.back().first != "(damaged)" ? "" : members.back().second;
}

}  // namespace

TEST_CASE("bodies of every size are read back, compressed or not, with their ends and without") {
  Random random(3);
  Members files;
  for (const size_t size :
       {0u, 1u, 511u, 512u, 513u, 65'535u, 65'536u, 0u, 700'000u, 3'000'000u, 5u})
    files.emplace_back(fmt::format("f{}", files.size()), random_bytes(random, size));
  for (const int level : {0, 1}) {
    for (const uint64_t shard_size : {uint64_t{1}, uint64_t{1} << 40}) {
      const TempFolder out;
      TarSink::Options options = tar_options(level);
      options.shard_size = shard_size;
      Packer packer(out, options);
      const uint64_t end = packer.store(files).at(0).end;
      const ShardName name = shard_name(0, 0, level > 0);
      CHECK((members_of(out.fd(), name, end) == files));
      CHECK((members_of(out.fd(), name) == files));
    }
  }
}

TEST_CASE("a body may be passed over, or read in part") {
  const TempFolder out;
  Packer packer(out, tar_options(1));
  packer.store({{"a", std::string(100'000, 'a')}, {"b", std::string(2'000'000, 'b')}, {"c", "c"}});
  Result<ShardReader> reader = ShardReader::open(out.fd(), shard_name(0, 0, true), 0, UINT64_MAX);
  REQUIRE(reader.ok());
  CHECK(reader->next().value()->path == "a");
  CHECK(reader->next().value()->path == "b");
  CHECK_FALSE(reader->body().value().empty());
  CHECK(reader->next().value()->path == "c");
  CHECK(reader->body().value() == "c");
  CHECK(reader->body().value().empty());
  CHECK_FALSE(reader->next().value().has_value());
}

TEST_CASE("a small body comes in one piece, wherever it stands") {
  const TempFolder out;
  Packer packer(out, tar_options(1));
  Members files;
  for (int i = 0; i < 200; ++i)
    files.emplace_back(fmt::format("f{}", i), std::string(static_cast<size_t>(i) * 331, 'x'));
  packer.store(files);
  Result<ShardReader> reader = ShardReader::open(out.fd(), shard_name(0, 0, true), 0, UINT64_MAX);
  REQUIRE(reader.ok());
  for (const auto& [name, body] : files) {
    REQUIRE(reader->next().value()->path == name);
    CHECK(reader->body().value().size() == body.size());
  }
}

TEST_CASE("reading begins at any member, or within a frame by leaving out what comes before") {
  for (const int level : {0, 1}) {
    const TempFolder out;
    Packer packer(out, tar_options(level));
    const uint64_t first = packer.store({{"a", "1"}, {"b", "2"}}).at(0).end;
    const uint64_t second = packer.store({{"c", "3"}, {"d", "4"}}).at(0).end;
    const ShardName name = shard_name(0, 0, level > 0);
    CHECK(members_of(out.fd(), name, second, first) == Members{{"c", "3"}, {"d", "4"}});
    CHECK(members_of(out.fd(), name, first) == Members{{"a", "1"}, {"b", "2"}});
    Result<ShardReader> reader = ShardReader::open(out.fd(), name, first, second);
    REQUIRE(reader->skip(2 * kTarBlock).ok());
    CHECK(reader->next().value()->path == "d");
    Result<ShardReader> beyond = ShardReader::open(out.fd(), name, first, second);
    CHECK(beyond->skip(4 * kTarBlock).ok());
    CHECK_FALSE(beyond->skip(1).ok());
  }
}

TEST_CASE("a shard without members is read to its end, an empty one too") {
  const TempFolder out;
  const ShardName name = write_shard(out, "");
  CHECK(members_of(out.fd(), name).empty());
  write_shard(out, std::string(kTarEndBytes, '\0'));
  CHECK(members_of(out.fd(), name).empty());
  CHECK(members_of(out.fd(), name, 5'000, 4'000).empty());
}

TEST_CASE("a shard that is not there, or is a link, cannot be opened") {
  const TempFolder out;
  const auto missing = ShardReader::open(out.fd(), shard_name(0, 0), 0, 1);
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.failure().code == ErrorCode::not_found);
  CHECK(missing.failure().text.find("worker-00-000000.tar") != std::string::npos);
  fs::create_symlink("/etc/passwd", out / "worker-00-000000.tar");
  CHECK_FALSE(ShardReader::open(out.fd(), shard_name(0, 0), 0, 1).ok());
}

TEST_CASE("every cut is seen, but for one between two members") {
  for (const int level : {0, 1}) {
    const TempFolder out;
    Packer packer(out, tar_options(level));
    const std::string body = "body " + std::string(600, 'x');
    const Members files = {{"a", body}, {std::string(130, 'b'), ""}, {"c", body}};
    std::set<uint64_t> boundaries = {0};
    if (level == 0) boundaries = {0, 3 * 512, 6 * 512};
    const uint64_t end = packer.store(files).at(0).end;
    boundaries.insert(end);
    for (uint64_t cut = 0; cut <= end; ++cut) {
      const Members read = members_of(out.fd(), shard_name(0, 0, level > 0), cut);
      CAPTURE(cut);
      CHECK((damage_of(read) == "") == boundaries.contains(cut));
    }
  }
}

TEST_CASE("no flipped bit of a compressed shard goes unseen, nor ends the program") {
  const TempFolder out;
  Packer packer(out, tar_options(1));
  const Members files = {{"a", std::string(600, 'x')}, {"b", "2"}};
  packer.store(files);
  const fs::path file = out / file_of(shard_name(0, 0, true));
  const std::string bytes = read_file(file);
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    write_file(file, flipped);
    const Members read = members_of(out.fd(), shard_name(0, 0, true));
    CAPTURE(bit);
    CHECK((!damage_of(read).empty() || read == files));
  }
}

TEST_CASE("damage is told with the shard and the place") {
  const TempFolder out;
  std::string archive = member("a", "1") + member("b", "2");
  archive[1030] = 'X';
  const ShardName name = write_shard(out, archive);
  Result<ShardReader> reader = ShardReader::open(out.fd(), name, 0, UINT64_MAX);
  REQUIRE(reader->next().ok());
  const auto damaged = reader->next();
  REQUIRE_FALSE(damaged.ok());
  CHECK(damaged.failure().code == ErrorCode::malformed);
  CHECK(damaged.failure().text.find("'worker-00-000000.tar' is damaged before byte 2048") !=
        std::string::npos);
}

TEST_CASE("what is no shard is damaged, not read for ever") {
  Random random(4);
  for (const bool compressed : {false, true}) {
    const TempFolder out;
    const ShardName name = shard_name(0, 0, compressed);
    for (const std::string& bytes :
         {std::string(100, 'x'), std::string(5'000, 'x'), random_bytes(random, 2'000'000)}) {
      write_file(out / file_of(name), bytes);
      CHECK(damage_of(members_of(out.fd(), name)) != "");
    }
  }
}

TEST_CASE("a body said to be longer than any file is damage, also where its padding wraps around") {
  const TempFolder out;
  for (const uint64_t size : {UINT64_MAX, UINT64_MAX - 511, uint64_t{1} << 63}) {
    std::string archive;
    TarHeaders(0).append(archive, "huge", size);
    const ShardName name = write_shard(out, archive + member("a", "1"));
    Result<ShardReader> reader = ShardReader::open(out.fd(), name, 0, UINT64_MAX);
    REQUIRE(reader->next().value()->size == size);
    CHECK_FALSE(reader->next().ok());
  }
}

TEST_CASE("frames are read whatever their size, with a checksum or without") {
  Random random(5);
  std::string archive;
  Members files;
  for (int i = 0; i < 40; ++i) {
    files.emplace_back(fmt::format("f{}", i), random_bytes(random, random.below(100'000)));
    archive += member(files.back().first, files.back().second);
  }
  for (const size_t step : {300u, 65'000u, 3'000'000u}) {
    const TempFolder out;
    std::string packed;
    for (size_t at = 0; at < archive.size(); at += step) {
      const std::string piece = archive.substr(at, step);
      std::string frame(ZSTD_compressBound(piece.size()), '\0');
      frame.resize(ZSTD_compress(frame.data(), frame.size(), piece.data(), piece.size(), 1));
      packed += frame;
    }
    const ShardName name = shard_name(0, 0, true);
    write_file(out / file_of(name), packed);
    CHECK((members_of(out.fd(), name) == files));
  }
}

TEST_CASE("a reader that lets go of its memory reads on where it was") {
  for (const int level : {0, 1}) {
    const TempFolder out;
    Packer packer(out, tar_options(level));
    Random random(3);
    std::string body(3'000'000, '\0');
    for (char& c : body)
      c = static_cast<char>(random.below(256));
    Lot lot;
    packer.stream(lot, "large", body);
    packer.commit(lot);
    const std::string second = body.substr(0, 700);
    packer.store({{"first", "1"}, {"second", second}});
    for (const uint32_t number : {0u, 1u}) {
      Result<ShardReader> reader =
          ShardReader::open(out.fd(), shard_name(0, number, level > 0), 0, UINT64_MAX);
      REQUIRE(reader.ok());
      for (;;) {
        reader->release();
        Result<std::optional<TarMember>> member = reader->next();
        REQUIRE(member.ok());
        if (!*member) break;
        const MemberPlace place = reader->place();
        std::string read;
        for (;;) {
          Result<std::string_view> piece = reader->body();
          REQUIRE(piece.ok());
          if (piece->empty()) break;
          // Only a part of it is taken.
          const size_t taken = std::min<size_t>(piece->size(), 50'001);
          read += piece->substr(0, taken);
          reader->give_back(piece->size() - taken);
          reader->release();
        }
        const std::string& path = (*member)->path;
        CHECK((read == (path == "large" ? body : path == "first" ? "1" : second)));
        CHECK(reader->place() == place);
      }
    }
  }
}

}  // namespace gigafetch::store
