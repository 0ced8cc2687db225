// ShardReader: the members of a shard, one after the other, compressed or not. Bounded memory.
#pragma once

#include <zstd.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "store/shard_index.h"
#include "store/shard_name.h"
#include "store/tar_format.h"

namespace gigafetch::store {

class ShardReader {
 public:
  // Reads the shard's bytes from `begin`, where a member (of a compressed one, a frame) begins, to
  // `end` or the file's end. `output_fd` is borrowed for the call.
  static Result<ShardReader> open(int output_fd, const ShardName& name, uint64_t begin,
                                  uint64_t end);

  // Of a compressed shard: appends the frame that it stands before to `out`; false, and `out` is of
  // no use, when `most` bytes do not suffice. Then nothing but destruction is left.
  Result<bool> read_frame(std::string& out, size_t most);
  // Leaves out so many bytes of the archive.
  Result<void> skip(uint64_t bytes);

  // The next member, whatever is left of the last one; nullopt behind the last one of all. Fails
  // (malformed, with the place) when the bytes are no archive.
  Result<std::optional<TarMember>> next();
  // Where the last member's header stands, for another reader.
  MemberPlace place() const { return place_; }
  // How far the shard has been read, in the file: what failed, or where the archive ended, stands
  // there, or in a frame that begins there.
  uint64_t consumed() const;
  // The next piece of the member's body; empty at its end. Valid until the next call.
  Result<std::string_view> body();
  // So many bytes at the end of the last piece come again with the next one.
  void give_back(size_t bytes);
  // Lets go of the memory that it reads into. The next call takes it again, and reads on.
  void release();

  const ShardName& name() const { return name_; }

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };

  ShardReader(ShardName name, UniqueFd fd, uint64_t begin, uint64_t end);
  Error broken(std::string_view how) const;
  std::string_view view() const { return {buffer_.get() + begin_, end_ - begin_}; }
  // Of the archive's next byte, in the archive.
  uint64_t position() const { return produced_ - (end_ - begin_); }
  void drop_frames();
  void note_place();
  void acquire();
  void acquire_packed();
  // Makes more of the archive available; false at its end.
  Result<bool> fill();
  Result<size_t> read(char* to, size_t room);
  Result<size_t> decompress(char* to, size_t room);

  ShardName name_;
  UniqueFd fd_;
  uint64_t first_;  // where the reading began
  uint64_t at_;     // in the file, of what is read next
  uint64_t last_;   // where to stop
  std::unique_ptr<ZSTD_DCtx, Free> decompressor_;
  size_t read_bytes_;               // to be asked for at once: little at first, for one small file
  std::unique_ptr<char[]> packed_;  // read, and not yet decompressed
  size_t packed_begin_ = 0, packed_end_ = 0;
  bool in_frame_ = false;
  struct Frame {
    uint64_t offset = 0;    // in the file
    uint64_t position = 0;  // of its first byte, in the archive
  };
  std::deque<Frame> frames_;  // from the one that is being read on
  uint64_t produced_ = 0;     // bytes of the archive that were made available
  uint64_t again_ = 0;        // of those that come next, bytes that were read before release()
  MemberPlace place_;
  std::unique_ptr<char[]> buffer_;  // of the archive
  size_t begin_ = 0, end_ = 0;
  uint64_t body_left_ = 0;
  size_t padding_ = 0;  // behind the body
};

}  // namespace gigafetch::store
