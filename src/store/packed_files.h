// PackedFiles: what a TarSink has stored. Not thread-safe.
//
// For one file (cat) the indexes say where a name may stand; the member that stands there says
// whether it does. What no index covers (the last files of a process that died), or one that is
// damaged does, is read once, and where its members stand is kept; when that is over a million, it
// is read anew for each name. For all files (verify) a MemberTable stands for the indexes, and
// frames that were read last are kept, for the next name's member is likely to be in one of them.
// However many files are read side by side, few of their readers hold memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/layout.h"
#include "store/member_table.h"
#include "store/set_hash.h"
#include "store/shard_ends.h"
#include "store/shard_index.h"
#include "store/shard_reader.h"
#include "store/stored_bodies.h"

namespace gigafetch::store {

// A shard as it is on disk, as far as it counts.
struct CountedShard {
  ShardName name;
  uint64_t end = 0;  // bytes
  size_t epoch = 0;  // store/shard_ends.h
};

// The shards in the folder of which something is committed, by worker and number. Fails when one
// that is not finished is gone or too short; of the finished ones those that are there are given.
Result<std::vector<CountedShard>> counted_shards(int output_fd, const ShardEnds& ends);

class PackedFiles final : public StoredBodies {
 public:
  // `output_fd` is borrowed and must stay open.
  static Result<PackedFiles> open(int output_fd, const ShardEnds& ends, Layout layout);
  // `table` is of the same shards as they are now, and must outlive this.
  static Result<PackedFiles> open(int output_fd, const ShardEnds& ends, Layout layout,
                                  const MemberTable& table);
  PackedFiles(PackedFiles&&) noexcept;
  PackedFiles& operator=(PackedFiles&&) noexcept;
  ~PackedFiles() override;

  std::optional<FailureClass> refuses(std::string_view name) override;
  std::string_view refusal_text(FailureClass refusal) const override;
  StoreStatus open(std::string_view name, std::unique_ptr<BodyReader>& reader) override;
  StoreStatus hash(std::string_view name, uint64_t& bytes, Hash128& content,
                   const std::function<void()>& on_read) override;
  const std::string& path() const override { return path_; }

  void on_look(std::function<void()> on_look) override { on_look_ = std::move(on_look); }

 private:
  class Reader;
  class LotReader;
  using Readers = std::vector<Reader*>;
  struct Shard;
  // Where a member is said to be.
  struct Place {
    size_t shard = 0;
    MemberPlace at;
  };
  // Bytes of a shard that no good run of its index covers.
  struct Gap {
    uint64_t begin = 0;
    uint64_t end = 0;
    // Once it has been read: its members by the hash of their name, and whether they are all there.
    enum class State : uint8_t { unread, read, too_many } state = State::unread;
    std::vector<std::pair<uint32_t, MemberPlace>> members = {};
    Result<void> damage = {};  // behind which there may be more
  };

  PackedFiles(int output_fd, Layout layout);
  // Members that were read together: a frame of a shard, unpacked.
  struct Lot {
    Place frame;
    std::string bytes;
  };
  // A member's body, in a lot or where a reader stands, and when that was stored.
  struct Found {
    std::shared_ptr<const Lot> lot;
    std::string_view body;
    std::optional<ShardReader> reader;
    uint64_t mtime = 0;
  };

  // The name's member; nullopt when there is none. Of several (the listing has changed, and the
  // name was fetched again) it is the one stored last, as far as indexes or the table go: that of
  // the last epoch; within one, that of the latest time.
  Result<std::optional<Found>> find(std::string_view name);
  Result<std::optional<Found>> find_in_table(std::string_view name, std::string_view path);
  Result<std::optional<Found>> try_place(const Place& place, std::string_view path);
  Result<std::optional<Found>> try_lot(const Place& place, std::string_view path);
  std::shared_ptr<const Lot> lot_at(const Place& frame);
  Result<std::optional<Found>> look_through(size_t shard, uint64_t begin, uint64_t end,
                                            std::string_view path);
  static std::vector<Gap>& gaps_of(Shard& shard);
  Result<std::optional<Found>> look_in(size_t shard, Gap& gap, std::string_view name,
                                       std::string_view path);
  void read_gap(size_t shard, Gap& gap);
  void look_up();

  int output_fd_;
  Layout layout_;
  std::vector<Shard> shards_;
  const MemberTable* table_ = nullptr;
  std::vector<std::shared_ptr<Lot>> lots_;  // the one used last comes last
  std::function<void()> on_look_;
  uint64_t looks_ = 0;
  size_t gap_members_ = 0;                // in all gaps
  std::unique_ptr<Readers> with_memory_;  // the one read last comes last
  std::string path_;                      // of the last name mapped
};

}  // namespace gigafetch::store
