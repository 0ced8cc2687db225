#include "http/content_coding.h"

#include <brotli/decode.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>

#include "http/text.h"

namespace gigafetch::http {
namespace {

constexpr size_t kBufferBytes = 64 * 1024;
// What a zstd body may ask for: RFC 9659.
constexpr int kZstdWindowLog = 23;
constexpr size_t kZstdHeadBytes = 18;  // of the longest frame header

std::optional<ContentCoding> coding_of(std::string_view name) {
  if (equals_ignoring_case(name, "gzip") || equals_ignoring_case(name, "x-gzip")) {
    return ContentCoding::gzip;
  }
  if (equals_ignoring_case(name, "deflate")) return ContentCoding::deflate;
  if (equals_ignoring_case(name, "zstd")) return ContentCoding::zstd;
  if (equals_ignoring_case(name, "br")) return ContentCoding::brotli;
  return std::nullopt;
}

// RFC 1950 section 2.2: method and window, and a check over both bytes.
bool is_zlib_header(uint8_t first, uint8_t second) {
  return (first & 0x0F) == Z_DEFLATED && (first >> 4) <= 7 && (first << 8 | second) % 31 == 0;
}

}  // namespace

// Works in steps, each of which fills the buffer once at most, so that little coming in never
// becomes much in memory.
class ContentDecoder::Stage {
 public:
  Stage() : buffer_(std::make_unique_for_overwrite<char[]>(kBufferBytes)) {}
  virtual ~Stage() = default;

  // Decodes from the front of `coded`, and takes off what it used. `made` is what came out, in the
  // buffer. Stops at the end of `coded`, with a full buffer, or behind the end of a stream.
  virtual DecodeFault step(std::string_view& coded, std::string_view& made) = 0;
  // Whether the bytes so far are a whole body.
  bool at_end() const { return at_end_; }
  bool is_full(std::string_view made) const { return made.size() == kBufferBytes; }
  uint64_t made_bytes = 0;

 protected:
  std::unique_ptr<char[]> buffer_;
  bool at_end_ = false;
};

namespace {

class InflateStage final : public ContentDecoder::Stage {
 public:
  explicit InflateStage(ContentCoding coding) : coding_(coding) {}
  ~InflateStage() override {
    if (begun_) ::inflateEnd(&stream_);
  }

  DecodeFault step(std::string_view& coded, std::string_view& made) override {
    made = {};
    if (!begun_ && !begin(coded)) return DecodeFault::none;
    if (at_end_ && !coded.empty()) {
      if (coding_ != ContentCoding::gzip) return DecodeFault::surplus;
      ::inflateReset(&stream_);
      at_end_ = false;
      later_member_ = true;
    }
    stream_.next_out = reinterpret_cast<Bytef*>(buffer_.get());
    stream_.avail_out = kBufferBytes;
    // The two bytes that were held back to tell raw deflate by come first.
    if (held_ > 0) {
      if (DecodeFault fault = inflate(std::string_view(head_.data(), held_));
          fault != DecodeFault::none) {
        return fault;
      }
      held_ = 0;
    }
    const size_t size = std::min<size_t>(coded.size(), kBufferBytes);
    const DecodeFault fault = inflate(coded.substr(0, size));
    coded.remove_prefix(size - stream_.avail_in);
    made = std::string_view(buffer_.get(), kBufferBytes - stream_.avail_out);
    return fault;
  }

 private:
  // False as long as too little has come to tell what it is.
  bool begin(std::string_view& coded) {
    constexpr int kGzip = 16;
    int window = MAX_WBITS;
    if (coding_ == ContentCoding::gzip) {
      window += kGzip;
    } else {
      while (held_ < head_.size() && !coded.empty()) {
        head_[held_++] = coded.front();
        coded.remove_prefix(1);
      }
      if (held_ < head_.size()) return false;
      const bool framed =
          is_zlib_header(static_cast<uint8_t>(head_[0]), static_cast<uint8_t>(head_[1]));
      if (!framed) window = -window;
    }
    begun_ = ::inflateInit2(&stream_, window) == Z_OK;
    return begun_;
  }

  DecodeFault inflate(std::string_view bytes) {
    // zlib's interface is not const; it does not write there.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());
    switch (::inflate(&stream_, Z_NO_FLUSH)) {
      case Z_STREAM_END:
        at_end_ = true;
        return DecodeFault::none;
      case Z_OK:
      case Z_BUF_ERROR:  // nothing to do: no byte came, or none fits
        return DecodeFault::none;
      default:
        // Before its first byte was decoded: no member, then.
        return later_member_ && stream_.total_out == 0 ? DecodeFault::surplus
                                                       : DecodeFault::damaged;
    }
  }

  ContentCoding coding_;
  z_stream stream_ = {};
  bool begun_ = false;
  bool later_member_ = false;
  std::array<char, 2> head_ = {};
  size_t held_ = 0;
};

class ZstdStage final : public ContentDecoder::Stage {
 public:
  ZstdStage() : stream_(::ZSTD_createDStream()) {
    ::ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, kZstdWindowLog);
  }

  DecodeFault step(std::string_view& coded, std::string_view& made) override {
    made = {};
    if (coded.empty() && at_end_) return DecodeFault::none;
    const bool later_frame = at_end_;
    if (at_end_) head_size_ = frame_made_ = 0;
    // Of a frame that it is given whole at once, the library checks other things than of one in
    // pieces: none is.
    ZSTD_inBuffer in{coded.data(),
                     head_size_ == 0 ? std::min<size_t>(coded.size(), 1) : coded.size(), 0};
    ZSTD_outBuffer out{buffer_.get(), kBufferBytes, 0};
    const size_t left = ::ZSTD_decompressStream(stream_.get(), &out, &in);
    if (::ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge) {
      return DecodeFault::window;
    }
    if (::ZSTD_isError(left)) return later_frame ? DecodeFault::surplus : DecodeFault::damaged;
    head_size_ +=
        coded.copy(head_.data() + head_size_, std::min(in.pos, head_.size() - head_size_));
    frame_made_ += out.pos;
    coded.remove_prefix(in.pos);
    made = std::string_view(buffer_.get(), out.pos);
    at_end_ = left == 0;
    return at_end_ && !has_told_size() ? DecodeFault::damaged : DecodeFault::none;
  }

 private:
  // The library does not look at the size that a frame tells when its last block is empty.
  bool has_told_size() const {
    const unsigned long long told = ::ZSTD_getFrameContentSize(head_.data(), head_size_);
    return told == ZSTD_CONTENTSIZE_UNKNOWN || told == frame_made_;
  }

  struct Free {
    void operator()(ZSTD_DStream* stream) const { ::ZSTD_freeDStream(stream); }
  };
  std::unique_ptr<ZSTD_DStream, Free> stream_;
  std::array<char, kZstdHeadBytes> head_ = {};  // of the present frame
  size_t head_size_ = 0;
  uint64_t frame_made_ = 0;
};

class BrotliStage final : public ContentDecoder::Stage {
 public:
  BrotliStage() : state_(::BrotliDecoderCreateInstance(nullptr, nullptr, nullptr)) {}

  DecodeFault step(std::string_view& coded, std::string_view& made) override {
    made = {};
    if (at_end_) return coded.empty() ? DecodeFault::none : DecodeFault::surplus;
    size_t in_left = coded.size(), out_left = kBufferBytes;
    auto* in = reinterpret_cast<const uint8_t*>(coded.data());
    auto* out = reinterpret_cast<uint8_t*>(buffer_.get());
    const BrotliDecoderResult result =
        ::BrotliDecoderDecompressStream(state_.get(), &in_left, &in, &out_left, &out, nullptr);
    if (result == BROTLI_DECODER_RESULT_ERROR) return DecodeFault::damaged;
    coded.remove_prefix(coded.size() - in_left);
    made = std::string_view(buffer_.get(), kBufferBytes - out_left);
    at_end_ = result == BROTLI_DECODER_RESULT_SUCCESS;
    return DecodeFault::none;
  }

 private:
  struct Free {
    void operator()(BrotliDecoderState* state) const { ::BrotliDecoderDestroyInstance(state); }
  };
  std::unique_ptr<BrotliDecoderState, Free> state_;
};

std::unique_ptr<ContentDecoder::Stage> make_stage(ContentCoding coding) {
  switch (coding) {
    case ContentCoding::zstd:
      return std::make_unique<ZstdStage>();
    case ContentCoding::brotli:
      return std::make_unique<BrotliStage>();
    case ContentCoding::gzip:
    case ContentCoding::deflate:
      break;
  }
  return std::make_unique<InflateStage>(coding);
}

}  // namespace

std::optional<std::vector<ContentCoding>> parse_content_codings(std::string_view field) {
  std::vector<ContentCoding> codings;
  while (!field.empty()) {
    const size_t comma = field.find(',');
    const std::string_view name = trim(field.substr(0, comma));
    field = comma == field.npos ? std::string_view() : field.substr(comma + 1);
    // A list may have empty elements: RFC 9110 section 5.6.1.2.
    if (name.empty() || equals_ignoring_case(name, "identity")) continue;
    const std::optional<ContentCoding> coding = coding_of(name);
    if (!coding || codings.size() == kMaxContentCodings) return std::nullopt;
    codings.push_back(*coding);
  }
  return codings;
}

std::string_view text_of(DecodeFault fault) {
  switch (fault) {
    case DecodeFault::none:
      return "is whole";
    case DecodeFault::damaged:
      return "is damaged";
    case DecodeFault::cut:
      return "ends before its end";
    case DecodeFault::surplus:
      return "has bytes behind its end";
    case DecodeFault::window:
      return "asks for a window of more than 8 MiB";
    case DecodeFault::growth:
      return "grows more than 256-fold";
    case DecodeFault::stopped:
      return "was not wanted";
  }
  return "unknown";
}

ContentDecoder::ContentDecoder(const std::vector<ContentCoding>& codings, Output output)
    : output_(std::move(output)) {
  for (auto coding = codings.rbegin(); coding != codings.rend(); ++coding)
    stages_.push_back(make_stage(*coding));
}

ContentDecoder::~ContentDecoder() = default;

DecodeFault ContentDecoder::feed(std::string_view coded) {
  if (fault_ != DecodeFault::none || coded.empty()) return fault_;
  coded_ += coded.size();
  return fault_ = feed_stage(0, coded);
}

DecodeFault ContentDecoder::feed_stage(size_t index, std::string_view coded) {
  Stage& stage = *stages_[index];
  std::string_view made;
  do {
    const size_t before = coded.size();
    const DecodeFault fault = stage.step(coded, made);
    // What came out before the fault goes nowhere any more: the file is not stored.
    if (fault != DecodeFault::none) return fault;
    if (made.empty()) {
      if (coded.size() == before) return coded.empty() ? fault : DecodeFault::damaged;
      continue;
    }
    stage.made_bytes += made.size();
    if (stage.made_bytes > kFreeGrowth && stage.made_bytes / kMaxGrowth > coded_) {
      return DecodeFault::growth;
    }
    if (DecodeFault next = pass_on(index, made); next != DecodeFault::none) return next;
  } while (!coded.empty() || stage.is_full(made));
  return DecodeFault::none;
}

DecodeFault ContentDecoder::pass_on(size_t index, std::string_view made) {
  if (index + 1 < stages_.size()) return feed_stage(index + 1, made);
  return output_(made) ? DecodeFault::none : DecodeFault::stopped;
}

DecodeFault ContentDecoder::finish() {
  if (fault_ != DecodeFault::none) return fault_;
  const bool whole = std::all_of(stages_.begin(), stages_.end(),
                                 [](const auto& stage) { return stage->at_end(); });
  return fault_ = whole ? DecodeFault::none : DecodeFault::cut;
}

}  // namespace gigafetch::http
