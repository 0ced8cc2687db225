// ContentDecoder: undoes the Content-Encoding of one body (RFC 9110 section 8.4).
//
//     gzip, x-gzip   RFC 1952; members that follow each other are one body
//     deflate        RFC 1950; raw RFC 1951, which some servers send under that name, is told by
//     its
//                    first two bytes
//     zstd           RFC 8878; frames that follow each other are one body; windows up to 8 MiB
//     br             RFC 7932
//
// Bytes only. What is decoded passes through: besides the windows of its codings (at most 16 MiB
// each) a decoder holds a buffer for each of them. A body counts as whole only when every coding
// says so: one that was cut, even between two bytes of a checksum, is told from a whole one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace gigafetch::http {

enum class ContentCoding : uint8_t { gzip, deflate, zstd, brotli };

// No origin needs more: each has a window of its own.
inline constexpr size_t kMaxContentCodings = 3;

// What a decoded body may grow to: so much, and beyond that so many times the bytes that came.
inline constexpr uint64_t kFreeGrowth = 16 * 1024 * 1024;
inline constexpr uint64_t kMaxGrowth = 256;

// The codings that a Content-Encoding field names, in the order in which they were applied; none
// for an empty field and for "identity". nullopt when one of them is not known, or when there are
// too many.
std::optional<std::vector<ContentCoding>> parse_content_codings(std::string_view field);

enum class DecodeFault : uint8_t {
  none,
  damaged,  // not what the coding says
  cut,      // it ends before its end
  surplus,  // bytes follow its end
  window,   // a zstd window of more than 8 MiB
  growth,   // over kFreeGrowth and kMaxGrowth: made to fill disks, most likely
  stopped,  // whoever takes the decoded bytes wants no more
};
// In words, for the operator.
std::string_view text_of(DecodeFault fault);

class ContentDecoder {
 public:
  // Takes a piece of what was decoded, valid during the call only. False: no more is wanted. It
  // must not destroy the decoder.
  using Output = std::function<bool(std::string_view piece)>;

  // `codings` in the order in which they were applied, at least one.
  ContentDecoder(const std::vector<ContentCoding>& codings, Output output);
  ~ContentDecoder();

  // Decodes the next bytes of the body. After a fault every further call gives the same fault.
  DecodeFault feed(std::string_view coded);
  // The body's bytes are over.
  DecodeFault finish();

  // One coding being undone.
  class Stage;

 private:
  DecodeFault feed_stage(size_t index, std::string_view coded);
  DecodeFault pass_on(size_t index, std::string_view made);

  std::vector<std::unique_ptr<Stage>> stages_;  // the one applied last in front
  Output output_;
  uint64_t coded_ = 0;
  DecodeFault fault_ = DecodeFault::none;
};

}  // namespace gigafetch::http
