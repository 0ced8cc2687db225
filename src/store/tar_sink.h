// TarSink: packed output. Each worker appends to shards of its own in the output folder, plain tar
// archives, or the same in zstd frames (store/tar_format.h, zstd_frames.h).
//
// Files are gathered in their batch's lot, and commit() appends the lot in one write (one frame):
// so a shard always ends where some batch's outcome says that it ends. Files too large to be
// gathered are written as they come, to shards that take no lots: each such shard takes one file at
// a time, and the next one only when the batch of the last one is committed.
//
//     gathered: put, or open, append, close --> lot --commit--> the main shard
//     streamed: append --> a stream shard --close--> held by the lot --commit--> free for the next
//
// A shard that has reached its size gets its end of archive with the commit that reaches it, unless
// lots are waiting and no other shard can be made for want of descriptors: then it grows until one
// can. The others get it when the run ends or the next one begins (store/shard_recovery.h).
//
// Rejected: one buffer for all batches of a worker, appended when one of them is done. A shard
// would then hold files whose outcomes are still to come, and after a death they would be in two
// shards.
#pragma once

#include <ctime>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/layout.h"
#include "store/shard_file.h"
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
  bool wants_commit(const Lot& lot) const override;
  StoreStatus commit(Lot& lot) override;
  // Writes the indexes as far as they go. Nothing is put behind them.
  void finish_run() override;

 private:
  class Writer;
  // A shard for streamed files.
  struct Stream {
    std::unique_ptr<ShardFile> shard;
    std::string pending;      // not yet written
    bool free = true;         // no file is being written, and the last one is committed
    uint32_t entry_hash = 0;  // of the file in it that is not committed
    uint64_t entry_begin = 0;
  };

  StoreStatus map(std::string_view name);  // to path_
  StoreStatus create(std::unique_ptr<ShardFile>& shard);
  void begin(Lot& lot);
  // A shard for a file to be streamed to.
  StoreStatus take_stream(Stream*& stream);
  StoreStatus append_to_main(Lot& lot);
  StoreStatus commit_stream(Lot& lot, const ShardEnd& streamed);
  bool is_full(const ShardFile& shard) const { return shard.size() >= options_.shard_size; }
  // Ends the archive when the shard is full; syncs it if need be, and notes its end in the lot.
  StoreStatus seal(ShardFile& shard, Lot& lot, bool full);
  std::string_view packed(std::string_view bytes);
  void update_time();

  int output_fd_;
  Options options_;
  std::optional<FrameCompressor> compressor_;
  uint32_t next_number_ = 0;
  std::unique_ptr<ShardFile> main_;
  std::deque<Stream> streams_;  // in a deque, for writers point at them
  TarHeaders headers_;
  std::time_t time_ = 0;            // in headers_
  size_t gathered_ = 0;             // bytes in all lots
  size_t coming_ = 0;               // bytes of files that are gathered and not whole yet
  std::vector<std::string> spare_;  // buffers of lots that are committed
  std::string path_;                // of the last name mapped
};

}  // namespace gigafetch::store
