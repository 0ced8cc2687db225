// TarSink: packed output. Each worker appends to shards of its own in the output folder, plain tar
// archives, or the same in zstd frames (store/tar_format.h, zstd_frames.h).
//
// Files are gathered in their batch's lot, and commit() appends the lot in one write (one frame):
// so a shard always ends where some batch's outcome says that it ends. Files too large to be
// gathered are written as they come, to shards that take no lots: each such shard takes one file at
// a time, and the next one only when the last one is told.
//
//     gathered: put, or open, append, close --> lot --commit--> the main shard
//     streamed: append --> a stream shard --close, commit--> its tail --told--> free
//
// What is committed stays in the tail of its shard (store/shard_tail.h) until it is proven and
// told. A file that is taken back leaves its lot, or its shard: the tail is written again without
// it. That is safe, since what is not told does not count: a death cuts it off.
//
// A shard that has reached its size gets its end of archive with the commit that reaches it, unless
// lots are waiting and no other shard can be made for want of descriptors: then it grows until one
// can. The others get it when the run ends or the next one begins (store/shard_recovery.h).
//
// Rejected: one buffer for all batches of a worker, appended when one of them is done. A shard
// would then hold files whose outcomes are still to come, and after a death they would be in two
// shards. Holding lots back until all in them is proven: the answers of all connections would have
// to be held, a thousand bytes each.
#pragma once

#include <ctime>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "store/layout.h"
#include "store/shard_file.h"
#include "store/shard_tail.h"
#include "store/sink.h"
#include "store/tar_format.h"
#include "store/zstd_frames.h"

namespace gigafetch::store {

class TarSink final : public Sink {
 public:
  struct Options {
    uint32_t worker = 0;
    Layout layout = Layout::tree;
    uint64_t shard_size = uint64_t{1} << 30;  // bytes as written; one lot or file goes beyond
    uint64_t gather_bytes = 512 * 1024;       // larger files are streamed
    int zstd_level = 0;                       // 0: not compressed
    bool sync_files = false;                  // fdatasync before a lot counts (--durability file)
  };

  // `output_fd` is the output folder's descriptor, borrowed.
  TarSink(int output_fd, const Options& options);
  ~TarSink() override;

  void set_first_shard(uint32_t number) override { next_number_ = std::max(next_number_, number); }
  std::optional<FailureClass> refuses(std::string_view name) override;
  std::string_view refusal_text(FailureClass refusal) const override;
  StoreStatus put(Lot& lot, std::string_view name, std::string_view body) override;
  StoreStatus open(Lot& lot, std::string_view name, std::optional<uint64_t> size,
                   std::unique_ptr<BodyWriter>& writer) override;
  void discard(std::string_view) override {}  // what was not committed is in no shard
  bool gathers() const override { return true; }
  bool wants_commit(const Lot& lot) const override;
  StoreStatus commit(Lot& lot, Receipt& receipt) override;
  StoreStatus commit_streamed(Lot& lot, Receipt& receipt) override;
  void prove(Receipt receipt) override;
  bool take_tellable(Tellable& tellable, StoreStatus& status) override;
  StoreStatus take_back(std::span<const TakenBack> files) override;
  void step_aside(uint32_t calls) override;
  // Writes the indexes as far as they go. Nothing is put behind them.
  void finish_run() override;

 private:
  class Writer;
  using Paths = std::unordered_set<std::string>;
  struct Shard {
    std::unique_ptr<ShardFile> file;
    ShardTail tail;
    bool full = false;    // its end of archive is written
    bool broken = false;  // a write to it has failed: nothing is appended any more
    // A shard for streamed files: no lot is appended to it.
    bool streams = false;
    std::string pending;      // not yet written
    bool busy = false;        // a file is being written, or the last one is not told yet
    uint32_t entry_hash = 0;  // of the file in it that is not committed
    uint64_t entry_begin = 0;
  };
  struct Commit {
    Lot* lot = nullptr;
    bool proven = false;
    Shard* shard = nullptr;
  };

  StoreStatus map(std::string_view name);  // to path_
  StoreStatus create(std::unique_ptr<ShardFile>& file);
  Shard& adopt(std::unique_ptr<ShardFile> file);
  void begin(Lot& lot);
  void gather(Lot& lot, uint32_t hash, std::string_view path, std::string_view body);
  // The shard that takes lots.
  StoreStatus want_main();
  Shard* shard_aside();
  // A shard for a file to be streamed to.
  StoreStatus take_stream(Shard*& stream);
  StoreStatus append_to_main(Lot& lot, Receipt receipt, Commit& commit);
  Commit& new_commit(Lot& lot, Receipt& receipt);
  StoreStatus sealed(Commit& commit, StoreStatus status);
  bool is_full(const ShardFile& file) const { return file.size() >= options_.shard_size; }
  StoreStatus tell(Shard& shard, ShardEnd& end);
  void forget(Shard& shard);
  void drop_gathered(Lot& lot, const Paths& paths);
  StoreStatus undo(Receipt receipt, const Paths& paths);
  StoreStatus gather_again(Receipt receipt, const Commit& commit, const Paths& paths);
  std::string_view packed(std::string_view bytes);
  void update_time();

  int output_fd_;
  Options options_;
  std::optional<FrameCompressor> compressor_;
  uint32_t next_number_ = 0;
  std::list<Shard> shards_;  // in a list, for writers and commits point at them
  Shard* main_ = nullptr;
  Receipt next_receipt_ = 1;
  std::unordered_map<Receipt, Commit> commits_;  // not told
  std::deque<Shard*> to_look_at_;                // whose first commit may be tellable now
  Receipt held_up_by_ = 0;                       // the first in the main shard's tail
  uint32_t held_up_ = 0;                         // calls of step_aside for which it was that
  TarHeaders headers_;
  std::time_t time_ = 0;            // in headers_
  size_t gathered_ = 0;             // bytes in all lots
  size_t coming_ = 0;               // bytes of files that are gathered and not whole yet
  std::vector<std::string> spare_;  // buffers of lots that are committed
  std::string path_;                // of the last name mapped
};

}  // namespace gigafetch::store
