#include "store/room.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <vector>

using namespace gigafetch;
using namespace gigafetch::store;

namespace {

constexpr uint64_t kMiB = 1024 * 1024;
using Kind = StoreStatus::Kind;

// Counts bytes, and takes them from what is free.
struct Disk final : Sink {
  uint64_t free = 0;
  uint64_t written = 0;
  int opened = 0, looks = 0;
  bool full = false;

  Room::Free look() {
    return [this] {
      ++looks;
      return std::optional(free);
    };
  }
  std::optional<FailureClass> refuses(std::string_view) override { return std::nullopt; }
  std::string_view refusal_text(FailureClass) const override { return ""; }
  StoreStatus put(Lot&, std::string_view, std::string_view) override { return {}; }
  StoreStatus open(Lot&, std::string_view, std::optional<uint64_t>,
                   std::unique_ptr<BodyWriter>& writer) override {
    ++opened;
    writer = std::make_unique<Writer>(*this);
    return {};
  }
  void discard(std::string_view) override {}

  struct Writer final : BodyWriter {
    explicit Writer(Disk& on) : disk(on) {}
    StoreStatus append(std::string_view piece) override {
      if (disk.full) return StoreStatus::of_errno(ENOSPC, "write", "f");
      disk.written += piece.size();
      disk.free -= piece.size();
      return {};
    }
    StoreStatus close() override { return {}; }
    Disk& disk;
  };
};

struct Scene {
  explicit Scene(uint64_t free, uint64_t min_free = 64 * kMiB, bool packed = false)
      : room(disk.look(), min_free, packed) {
    disk.free = free;
  }

  // Writes so much of a file, or as much as is taken.
  StoreStatus store(std::optional<uint64_t> announced, uint64_t bytes) {
    std::unique_ptr<BodyWriter> writer;
    StoreStatus status = room.open(disk, lot, "f", announced, writer);
    const std::string piece(64 * 1024, 'x');
    for (; status.ok() && bytes > 0; bytes -= std::min<uint64_t>(bytes, piece.size()))
      status = writer->append(std::string_view(piece).substr(0, bytes));
    return status.ok() ? writer->close() : status;
  }

  Disk disk;
  Lot lot;
  Room room;
};

bool says(const StoreStatus& status, std::string_view words) {
  return status.text().find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("a file that tells its size and does not fit fails before a byte of it is written") {
  Scene scene(74 * kMiB);
  const StoreStatus status = scene.store(10 * kMiB + 1, 10 * kMiB + 1);
  CHECK(status.kind() == Kind::later);
  CHECK(scene.disk.opened == 0);
  CHECK(says(status, "10485761 bytes"));
  CHECK(says(status, "--min-free"));
  CHECK(says(status, "--max-file-size"));
  CHECK(scene.store(10 * kMiB, 10 * kMiB).ok());
}

TEST_CASE("a file without an end fails when it would cross the line, and names the way out") {
  Scene scene(1000 * kMiB);
  const StoreStatus status = scene.store(std::nullopt, 10'000 * kMiB);
  CHECK(status.kind() == Kind::file);
  CHECK(status.cause() == FailureClass::store_error);
  CHECK(says(status, "--max-file-size"));
  CHECK(scene.disk.free <= 66 * kMiB);
  CHECK(scene.disk.free >= 64 * kMiB - Room::kLarge);
  CHECK(scene.disk.looks < 200);
}

TEST_CASE("a file whose room others have taken meanwhile fails, for now") {
  Scene scene(200 * kMiB);
  std::unique_ptr<BodyWriter> writer;
  REQUIRE(scene.room.open(scene.disk, scene.lot, "f", 100 * kMiB, writer).ok());
  scene.disk.free = 64 * kMiB;
  StoreStatus status;
  const std::string piece(64 * 1024, 'x');
  while (status.ok() && scene.disk.written < 100 * kMiB)
    status = writer->append(piece);
  CHECK(status.kind() == Kind::later);
  CHECK(scene.disk.written <= Room::kLarge);
}

TEST_CASE("small files are never looked at") {
  Scene scene(0);
  CHECK(scene.store(Room::kLarge - 1, 0).ok());
  CHECK(scene.disk.looks == 0);
}

TEST_CASE("without a line nothing is looked at, but a full disk names a file without an end") {
  Scene scene(0, 0);
  scene.disk.free = 10 * kMiB;
  CHECK(scene.store(std::nullopt, 2 * kMiB).ok());
  CHECK(scene.disk.looks == 0);
  std::unique_ptr<BodyWriter> writer;
  REQUIRE(scene.room.open(scene.disk, scene.lot, "the\nname", std::nullopt, writer).ok());
  REQUIRE(writer->append(std::string(kMiB, 'x')).ok());
  scene.disk.full = true;
  const StoreStatus status = writer->append("x");
  CHECK(status.kind() == Kind::run);
  CHECK(says(status, "had 1048576 bytes"));
  CHECK_FALSE(says(status, "\n"));
  CHECK(says(status, "--max-file-size"));
}

TEST_CASE("a file that is packed smaller than it says is not refused for what it says") {
  Scene scene(70 * kMiB, 64 * kMiB, true);
  std::unique_ptr<BodyWriter> writer;
  CHECK(scene.room.open(scene.disk, scene.lot, "f", 1000 * kMiB, writer).ok());
}

TEST_CASE("a disk on which none fits of many files is full: the run stops") {
  Scene scene(65 * kMiB);
  for (uint32_t i = 1; i < Room::kMostRefused; ++i)
    CHECK(scene.store(2 * kMiB, 0).kind() == Kind::later);
  SUBCASE("") {
    const StoreStatus status = scene.store(2 * kMiB, 0);
    CHECK(status.kind() == Kind::run);
    CHECK(says(status, "free some space"));
  }
  SUBCASE("unless others are stored between them") {
    scene.room.on_stored();
    CHECK(scene.store(2 * kMiB, 0).kind() == Kind::later);
  }
}

TEST_CASE("a file system that does not tell what is free takes what it takes") {
  Disk disk;
  Lot lot;
  Room room([] { return std::nullopt; }, 64 * kMiB, false);
  std::unique_ptr<BodyWriter> writer;
  CHECK(room.open(disk, lot, "f", UINT64_MAX, writer).ok());
}
