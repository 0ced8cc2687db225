#include "store/zstd_frames.h"

#include <bit>
#include <new>

#include "base/byte_order.h"

namespace gigafetch::store {
namespace {

// RFC 8878 section 3.1.1: a single segment, whose size has two bytes (less 256).
constexpr uint8_t kSingleSegmentSize16 = 0x60;
constexpr size_t kSize16Base = 256;

}  // namespace

FrameCompressor::FrameCompressor(int level) : context_(ZSTD_createCCtx()) {
  if (context_ == nullptr) throw std::bad_alloc();
  ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1);
}

std::string_view FrameCompressor::compress(std::string_view bytes) {
  const size_t bound = ZSTD_compressBound(bytes.size());
  if (capacity_ < bound) {
    capacity_ = 0;
    buffer_.reset();  // first: never both are there
    buffer_ = std::make_unique_for_overwrite<char[]>(std::bit_ceil(bound));
    capacity_ = std::bit_ceil(bound);
  }
  const size_t size =
      ZSTD_compress2(context_.get(), buffer_.get(), capacity_, bytes.data(), bytes.size());
  // With room for the bound, only memory can be short.
  if (ZSTD_isError(size)) throw std::bad_alloc();
  return {buffer_.get(), size};
}

std::string stored_frame(std::string_view bytes) {
  std::string frame;
  put_le<uint32_t>(frame, ZSTD_MAGICNUMBER);
  frame += static_cast<char>(kSingleSegmentSize16);
  put_le<uint16_t>(frame, static_cast<uint16_t>(bytes.size() - kSize16Base));
  // The header of one block, 24 bits: the last one, raw, its size.
  const auto header = static_cast<uint32_t>(bytes.size() << 3 | 1);
  for (const unsigned shift : {0u, 8u, 16u})
    frame += static_cast<char>(header >> shift);
  frame += bytes;
  return frame;
}

}  // namespace gigafetch::store
