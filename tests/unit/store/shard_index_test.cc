#include "store/shard_index.h"

#include <doctest/doctest.h>
#include <fcntl.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/byte_order.h"
#include "base/random.h"
#include "base/temp_folder.h"
#include "store/tar_format.h"

namespace gigafetch::store {
namespace {

using Entries = std::vector<IndexEntry>;
using Place = std::pair<uint64_t, uint64_t>;  // offset, bytes to leave out
using Places = std::vector<Place>;

constexpr size_t kHeaderBytes = 40;
constexpr size_t kPairBytes = 8;

// The index of a shard, being written, and its bytes.
class Index {
 public:
  explicit Index(bool compressed = false)
      : writer(UniqueFd(::open((folder_ / "i").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)),
               compressed) {}

  std::string bytes() {
    writer.flush();
    return read_file(folder_ / "i");
  }

 private:
  TempFolder folder_;

 public:
  IndexWriter writer;
};

std::vector<IndexRun> runs_of(std::string_view bytes) {
  std::vector<IndexRun> runs;
  while (const auto run = IndexRun::take(bytes))
    runs.push_back(*run);
  return runs;
}

Places places(const IndexRun& run, uint32_t hash) {
  Places found;
  for (const MemberPlace& place : run.find(hash))
    found.emplace_back(place.offset, place.skip);
  return found;
}

}  // namespace

TEST_CASE("an index without entries has no bytes") {
  Index index;
  CHECK(index.bytes().empty());
  index.writer.add({}, 0, 0, 0);
  CHECK(index.bytes().empty());
  CHECK(runs_of("").empty());
}

TEST_CASE("a run's bytes are those that are documented") {
  Index index(true);
  index.writer.add(Entries{{0xB0, 0}, {0xA0, 3}}, 5, 1000, 1400);
  index.writer.add(Entries{{0xA0, 1}}, 4, 1400, 1500);
  std::string want;
  for (const uint32_t value : {0x49534647u, 3u, 2u, 0u})
    put_le<uint32_t>(want, value);
  put_le<uint64_t>(want, 1000);
  put_le<uint64_t>(want, 1500);
  const std::string bytes = index.bytes();
  REQUIRE(bytes.size() == kHeaderBytes + 5 * kPairBytes);
  CHECK(bytes.substr(0, want.size()) == want);
  std::string pairs;
  for (const uint32_t value : {0xA0u, 3u, 0xA0u, 6u, 0xB0u, 0u, 0u, 0u, 5u, 400u})
    put_le<uint32_t>(pairs, value);
  CHECK(bytes.substr(kHeaderBytes) == pairs);
}

TEST_CASE("a name's member is found by its hash, at its block of the shard") {
  Index index;
  index.writer.add(Entries{{7, 0}, {5, 2}, {9, 9}}, 12, 4096, 4096 + 12 * kTarBlock);
  index.writer.add(Entries{{6, 0}}, 3, 4096 + 12 * kTarBlock, 4096 + 15 * kTarBlock);
  const std::string bytes = index.bytes();
  const std::vector<IndexRun> runs = runs_of(bytes);
  REQUIRE(runs.size() == 1);
  const IndexRun& run = runs.front();
  CHECK(run.begin() == 4096);
  CHECK(run.end() == 4096 + 15 * kTarBlock);
  CHECK(run.intact());
  CHECK(places(run, 7) == Places{{4096, 0}});
  CHECK(places(run, 5) == Places{{4096 + 2 * kTarBlock, 0}});
  CHECK(places(run, 9) == Places{{4096 + 9 * kTarBlock, 0}});
  CHECK(places(run, 6) == Places{{4096 + 12 * kTarBlock, 0}});
  for (const uint32_t hash : {0u, 4u, 8u, 10u, UINT32_MAX})
    CHECK(places(run, hash).empty());
}

TEST_CASE("members of one hash are all found, in the order in which they were written") {
  Index index;
  Entries entries;
  for (uint32_t block = 0; block < 1000; ++block)
    entries.push_back({block % 3 == 0 ? UINT32_MAX : block % 3, block});
  index.writer.add(entries, 1000, 0, 1000 * kTarBlock);
  const std::string bytes = index.bytes();
  const IndexRun run = runs_of(bytes).at(0);
  for (const uint32_t hash : {1u, 2u, UINT32_MAX}) {
    Places want;
    for (const IndexEntry& entry : entries)
      if (entry.hash == hash) want.emplace_back(uint64_t{entry.block} * kTarBlock, 0);
    CHECK(places(run, hash) == want);
  }
}

TEST_CASE("in a compressed shard a member is found in its frame") {
  Index index(true);
  index.writer.add(Entries{{1, 0}, {2, 4}}, 6, 100, 300);
  index.writer.add(Entries{{3, 0}}, 2, 300, 350);
  index.writer.add(Entries{{4, 1}, {5, 7}}, 9, 350, 777);
  const std::string bytes = index.bytes();
  const IndexRun run = runs_of(bytes).at(0);
  CHECK(run.begin() == 100);
  CHECK(run.end() == 777);
  CHECK(places(run, 1) == Places{{100, 0}});
  CHECK(places(run, 2) == Places{{100, 4 * kTarBlock}});
  CHECK(places(run, 3) == Places{{300, 0}});
  CHECK(places(run, 4) == Places{{350, kTarBlock}});
  CHECK(places(run, 5) == Places{{350, 7 * kTarBlock}});
}

TEST_CASE("what comes after a flush is another run") {
  Index index;
  index.writer.add(Entries{{1, 0}}, 2, 0, 1024);
  index.writer.flush();
  index.writer.flush();
  // Behind something that is in no index.
  index.writer.add(Entries{{1, 0}}, 2, 8192, 8192 + 1024);
  const std::string bytes = index.bytes();
  const std::vector<IndexRun> runs = runs_of(bytes);
  REQUIRE(runs.size() == 2);
  CHECK(runs[0].begin() == 0);
  CHECK(runs[0].end() == 1024);
  CHECK(runs[1].begin() == 8192);
  CHECK(places(runs[0], 1) == Places{{0, 0}});
  CHECK(places(runs[1], 1) == Places{{8192, 0}});
}

TEST_CASE("a run that has 2^16 entries, or reaches beyond 4 GiB, is followed by another") {
  constexpr uint32_t kEntries = 1 << 16;
  Index index;
  Entries entries(kEntries / 2);
  for (uint32_t i = 0; i < entries.size(); ++i)
    entries[i] = {i * 0x9E3779B9u, i};
  const uint64_t bytes_each = entries.size() * kTarBlock;
  for (uint64_t i = 0; i < 3; ++i)
    index.writer.add(entries, entries.size(), i * bytes_each, (i + 1) * bytes_each);
  const uint64_t far = 3 * bytes_each + (uint64_t{5} << 30);
  index.writer.add(Entries{{77, 0}}, (far - 3 * bytes_each) / kTarBlock, 3 * bytes_each, far);
  index.writer.add(Entries{{78, 0}}, 2, far, far + 1024);
  const std::string bytes = index.bytes();
  const std::vector<IndexRun> runs = runs_of(bytes);
  REQUIRE(runs.size() == 4);
  CHECK(runs[0].end() == 2 * bytes_each);
  CHECK(runs[1].begin() == 2 * bytes_each);
  CHECK(runs[2].begin() == 3 * bytes_each);
  CHECK(places(runs[2], 77) == Places{{3 * bytes_each, 0}});
  CHECK(places(runs[3], 78) == Places{{far, 0}});
  for (const IndexRun& run : runs)
    CHECK(run.intact());
  for (uint32_t i = 0; i < entries.size(); i += 997) {
    const uint64_t at = i * kTarBlock;
    CHECK(places(runs[0], entries[i].hash) == Places{{at, 0}, {bytes_each + at, 0}});
    CHECK(places(runs[1], entries[i].hash) == Places{{2 * bytes_each + at, 0}});
  }
}

TEST_CASE("a run as long as earlier programs wrote them is read") {
  constexpr uint32_t kEntries = 1 << 18;
  Index index;
  Entries entries(kEntries);
  for (uint32_t i = 0; i < kEntries; ++i)
    entries[i] = {i * 0x9E3779B9u, i};
  index.writer.add(entries, kEntries, 4096, 4096 + uint64_t{kEntries} * kTarBlock);
  const std::string bytes = index.bytes();
  const std::vector<IndexRun> runs = runs_of(bytes);
  REQUIRE(runs.size() == 1);
  CHECK(runs[0].intact());
  for (uint32_t i = 0; i < kEntries; i += 997)
    CHECK(places(runs[0], entries[i].hash) == Places{{4096 + uint64_t{i} * kTarBlock, 0}});
  CHECK(runs[0].members().size() == kEntries);
  // With as many frames as there can be.
  CHECK(IndexRun::kMaxBytes == kHeaderBytes + 2 * kEntries * kPairBytes);
}

TEST_CASE("hashes that are not spread evenly are sorted and found all the same") {
  constexpr uint32_t kEntries = 50'000;
  using Spread = uint32_t (*)(uint64_t);
  const std::vector<Spread> spreads = {
      [](uint64_t) { return 7u; },
      [](uint64_t) { return UINT32_MAX; },
      [](uint64_t random) { return static_cast<uint32_t>(random % 1000); },
      [](uint64_t random) { return UINT32_MAX - static_cast<uint32_t>(random % 1000); },
      [](uint64_t random) { return static_cast<uint32_t>(random % 2 == 0 ? 0 : random >> 33); },
      [](uint64_t random) { return 1u << random % 32; },
      [](uint64_t random) { return static_cast<uint32_t>(random); }};
  for (size_t spread = 0; spread < spreads.size(); ++spread) {
    CAPTURE(spread);
    Random random(spread);
    Index index;
    Entries entries;
    std::map<uint32_t, Places> model;
    for (uint32_t block = 0; block < kEntries; ++block) {
      entries.push_back({spreads[spread](random.next()), block});
      model[entries.back().hash].emplace_back(uint64_t{block} * kTarBlock, 0);
    }
    index.writer.add(entries, kEntries, 0, kEntries * kTarBlock);
    const std::string bytes = index.bytes();
    const IndexRun run = runs_of(bytes).at(0);
    for (uint32_t i = 0; i < kEntries; i += 97) {
      const uint32_t hash = entries[i].hash;
      CHECK(places(run, hash) == model[hash]);
      for (const uint32_t other : {hash - 1, hash + 1, static_cast<uint32_t>(random.next())}) {
        if (!model.contains(other)) CHECK(run.find(other).empty());
      }
      if (model.size() == 1) break;
    }
  }
}

TEST_CASE("whatever is indexed is found, and nothing else") {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    Random random(seed);
    const bool compressed = random.below(2) == 1;
    Index index(compressed);
    std::map<uint32_t, Places> model;
    uint64_t offset = random.below(1 << 20);
    uint64_t blocks_before = 0;
    const uint64_t begin = offset;
    for (int lot = 0; lot < 20; ++lot) {
      Entries entries;
      uint64_t blocks = 0;
      for (uint64_t i = random.below(50) + 1; i > 0; --i) {
        const auto hash = static_cast<uint32_t>(random.below(200) << random.below(25));
        entries.push_back({hash, static_cast<uint32_t>(blocks)});
        model[hash].push_back(compressed ? Place{offset, blocks * kTarBlock}
                                         : Place{begin + (blocks_before + blocks) * kTarBlock, 0});
        blocks += 1 + random.below(9);
      }
      const uint64_t size = compressed ? 1 + random.below(3000) : blocks * kTarBlock;
      index.writer.add(entries, blocks, offset, offset + size);
      offset += size;
      blocks_before += blocks;
    }
    const std::string bytes = index.bytes();
    const IndexRun run = runs_of(bytes).at(0);
    for (const auto& [hash, want] : model)
      CHECK(places(run, hash) == want);
    for (int i = 0; i < 100; ++i) {
      const auto hash = static_cast<uint32_t>(random.next());
      if (!model.contains(hash)) CHECK(places(run, hash).empty());
    }
  }
}

TEST_CASE("a run with a flipped bit is not intact, and no flipped bit ends the program") {
  Index index(true);
  index.writer.add(Entries{{1, 0}, {2, 4}}, 6, 100, 300);
  index.writer.add(Entries{{3, 0}}, 2, 300, 350);
  const std::string bytes = index.bytes();
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    for (const IndexRun& run : runs_of(flipped)) {
      CAPTURE(bit);
      CHECK_FALSE(run.intact());
      for (const uint32_t hash : {0u, 1u, 2u, 3u, 4u})
        places(run, hash);
    }
  }
}

TEST_CASE("a torn run does not count, those before it do") {
  Index index;
  index.writer.add(Entries{{1, 0}}, 2, 0, 1024);
  const size_t first = index.bytes().size();
  index.writer.add(Entries{{2, 0}, {3, 1}}, 2, 1024, 2048);
  const std::string bytes = index.bytes();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::vector<IndexRun> runs = runs_of(std::string_view(bytes).substr(0, size));
    CHECK(runs.size() == (size < first ? 0 : 1));
  }
  std::string promising = bytes;
  promising.replace(first + 4, 8, 8, '\xFF');
  CHECK(runs_of(promising).size() == 1);
}

TEST_CASE("an index that cannot be written is given up, and its shard is not held up") {
  IndexWriter none;
  none.add(Entries{{1, 0}}, 2, 0, 1024);
  none.flush();
  IndexWriter full(UniqueFd(::open("/dev/full", O_WRONLY | O_CLOEXEC)), false);
  full.add(Entries{{1, 0}}, 2, 0, 1024);
  full.flush();
  full.add(Entries{{1, 0}}, 2, 1024, 2048);
  full.flush();
}

TEST_CASE("names are looked for by a hash that is of the name alone") {
  CHECK(index_hash("") == 0x38D394C2);
  CHECK(index_hash("a") == index_hash(std::string("a")));
  CHECK(index_hash("a") != index_hash("b"));
  CHECK(index_hash(std::string("a\0b", 3)) != index_hash("a"));
}

}  // namespace gigafetch::store
