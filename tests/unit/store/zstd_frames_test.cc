#include "store/zstd_frames.h"

#include <doctest/doctest.h>

#include <string>

#include "base/random.h"

namespace gigafetch::store {
namespace {

// One frame or several, decompressed in steps of `step` bytes; "(broken)" when they are none.
std::string decompressed(std::string_view frames, size_t step = SIZE_MAX) {
  ZSTD_DCtx* const context = ZSTD_createDCtx();
  std::string out;
  size_t left = 0;
  bool broken = false;
  while (!frames.empty() && !broken) {
    ZSTD_inBuffer in{frames.data(), std::min(step, frames.size()), 0};
    while (in.pos < in.size && !broken) {
      char buffer[4096];
      ZSTD_outBuffer piece{buffer, sizeof buffer, 0};
      left = ZSTD_decompressStream(context, &piece, &in);
      broken = ZSTD_isError(left) != 0;
      out.append(buffer, piece.pos);
    }
    frames.remove_prefix(in.size);
  }
  while (left > 0 && !broken) {
    char buffer[4096];
    ZSTD_outBuffer piece{buffer, sizeof buffer, 0};
    ZSTD_inBuffer none{nullptr, 0, 0};
    left = ZSTD_decompressStream(context, &piece, &none);
    broken = ZSTD_isError(left) != 0 || piece.pos == 0;
    out.append(buffer, piece.pos);
  }
  ZSTD_freeDCtx(context);
  return broken ? "(broken)" : out;
}

std::string random_bytes(Random& random, size_t size, uint64_t kinds) {
  std::string bytes(size, '\0');
  for (char& c : bytes)
    c = static_cast<char>(random.below(kinds));
  return bytes;
}

}  // namespace

TEST_CASE("frames one behind the other decompress to their bytes one behind the other") {
  Random random(1);
  for (const int level : {1, 3, 19}) {
    FrameCompressor compressor(level);
    std::string frames, want;
    for (const size_t size : {0, 1, 512, 100'000, 3, 70'000}) {
      const std::string bytes = random_bytes(random, size, 1 + random.below(256));
      frames += compressor.compress(bytes);
      want += bytes;
      if (size >= 256 && size < 65'792) {
        frames += stored_frame(bytes);
        want += bytes;
      }
    }
    CHECK((decompressed(frames) == want));
    CHECK((decompressed(frames, 7) == want));
  }
}

TEST_CASE("each frame stands for itself, whatever came before it") {
  FrameCompressor compressor(3);
  const std::string bytes(10'000, 'b');
  const std::string alone(compressor.compress(bytes));
  compressor.compress(std::string(200'000, 'a'));
  CHECK(compressor.compress(bytes) == alone);
  CHECK(decompressed(alone) == bytes);
  CHECK(ZSTD_findFrameCompressedSize(alone.data(), alone.size()) == alone.size());
}

TEST_CASE("a frame has a checksum: no flipped bit leads to other bytes") {
  FrameCompressor compressor(1);
  const std::string bytes = "body " + std::string(600, 'x') + " end";
  const std::string frame(compressor.compress(bytes));
  for (size_t bit = 0; bit < 8 * frame.size(); ++bit) {
    std::string flipped = frame;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    CAPTURE(bit);
    // Some bits say nothing.
    const std::string read = decompressed(flipped);
    CHECK((read == "(broken)" || read == bytes));
  }
}

TEST_CASE("a stored frame is as long for all bytes of one length, and is read by zstd") {
  Random random(2);
  for (const size_t size : {256, 257, 512, 1536, 2048, 65'535, 65'536, 65'791}) {
    CAPTURE(size);
    const std::string zeros = stored_frame(std::string(size, '\0'));
    const std::string bytes = random_bytes(random, size, 256);
    const std::string frame = stored_frame(bytes);
    CHECK(frame.size() == zeros.size());
    CHECK((decompressed(frame) == bytes));
    CHECK((decompressed(frame, 1) == bytes));
    CHECK((decompressed(zeros) == std::string(size, '\0')));
    CHECK(ZSTD_getFrameContentSize(frame.data(), frame.size()) == size);
    CHECK(ZSTD_findFrameCompressedSize(frame.data(), frame.size()) == frame.size());
  }
}

}  // namespace gigafetch::store
