// Zstandard frames (RFC 8878), each of them whole in memory: a file of frames is read back with
// `zstd -d`, and one frame can be read alone.
#pragma once

#include <zstd.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace gigafetch::store {

class FrameCompressor {
 public:
  // `level` as zstd(1) has them, from 1.
  explicit FrameCompressor(int level);

  // `bytes` as one frame, with a checksum; valid until the next call.
  std::string_view compress(std::string_view bytes);

 private:
  struct Free {
    void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  };
  std::unique_ptr<ZSTD_CCtx, Free> context_;
  // Never filled: pages of it that no frame has reached take no memory.
  std::unique_ptr<char[]> buffer_;
  size_t capacity_ = 0;
};

// `bytes` (256 to 65,791 of them) as a frame that does not compress them: as long for all bytes of
// one length, so that it can be written over.
std::string stored_frame(std::string_view bytes);

}  // namespace gigafetch::store
