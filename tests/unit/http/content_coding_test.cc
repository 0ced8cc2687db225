#include "http/content_coding.h"

#include <brotli/encode.h>
#include <doctest/doctest.h>
#include <zlib.h>
#include <zstd.h>

#include <string>

using namespace gigafetch::http;

namespace {

using Codings = std::vector<ContentCoding>;

constexpr int kGzipWindow = MAX_WBITS + 16, kZlibWindow = MAX_WBITS, kRawWindow = -MAX_WBITS;

std::string deflated(std::string_view body, int window) {
  z_stream stream = {};
  REQUIRE(::deflateInit2(&stream, 6, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(::deflateBound(&stream, body.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));
  stream.avail_in = static_cast<uInt>(body.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(::deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

// Of a size that is not known as it begins: with one that is, the window is no larger than that.
std::string zstd(std::string_view body, int window_log = 0) {
  std::string out(::ZSTD_compressBound(body.size()) + 64, '\0');
  ZSTD_CCtx* context = ::ZSTD_createCCtx();
  ::ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
  ::ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  ZSTD_inBuffer in{body.data(), body.size(), 0};
  ZSTD_outBuffer coded{out.data(), out.size(), 0};
  REQUIRE(::ZSTD_compressStream2(context, &coded, &in, ZSTD_e_flush) == 0);
  REQUIRE(::ZSTD_compressStream2(context, &coded, &in, ZSTD_e_end) == 0);
  ::ZSTD_freeCCtx(context);
  out.resize(coded.pos);
  return out;
}

std::string brotli(std::string_view body) {
  std::string out(::BrotliEncoderMaxCompressedSize(body.size()) + 64, '\0');
  size_t size = out.size();
  REQUIRE(::BrotliEncoderCompress(5, BROTLI_DEFAULT_WINDOW, BROTLI_MODE_GENERIC, body.size(),
                                  reinterpret_cast<const uint8_t*>(body.data()), &size,
                                  reinterpret_cast<uint8_t*>(out.data())) == BROTLI_TRUE);
  out.resize(size);
  return out;
}

std::string encoded(ContentCoding coding, std::string_view body) {
  switch (coding) {
    case ContentCoding::gzip:
      return deflated(body, kGzipWindow);
    case ContentCoding::deflate:
      return deflated(body, kZlibWindow);
    case ContentCoding::zstd:
      return zstd(body);
    case ContentCoding::brotli:
      return brotli(body);
  }
  return {};
}

struct Decoded {
  std::string body;
  DecodeFault fault = DecodeFault::none;
};

// Decodes `coded`, given `piece` bytes at a time.
Decoded decode(const Codings& codings, std::string_view coded, size_t piece = SIZE_MAX) {
  Decoded result;
  ContentDecoder decoder(codings, [&](std::string_view made) {
    result.body += made;
    return true;
  });
  for (; !coded.empty(); coded.remove_prefix(std::min(piece, coded.size())))
    decoder.feed(coded.substr(0, piece));
  result.fault = decoder.finish();
  return result;
}

std::string text_of_size(size_t size) {
  std::string text;
  for (uint32_t x = 1; text.size() < size; x = x * 1664525 + 1013904223)
    text += "0123456789abcdef"[x >> 28];
  return text;
}

const Codings kAll = {ContentCoding::gzip, ContentCoding::deflate, ContentCoding::zstd,
                      ContentCoding::brotli};

}  // namespace

TEST_CASE("a Content-Encoding field names its codings in the order in which they were applied") {
  CHECK(parse_content_codings("gzip") == Codings{ContentCoding::gzip});
  CHECK(parse_content_codings("X-GZip") == Codings{ContentCoding::gzip});
  CHECK(parse_content_codings("br") == Codings{ContentCoding::brotli});
  CHECK(parse_content_codings("zstd , deflate") ==
        Codings{ContentCoding::zstd, ContentCoding::deflate});
  CHECK(parse_content_codings(", gzip,,identity") == Codings{ContentCoding::gzip});
  CHECK(parse_content_codings("identity") == Codings{});
  CHECK(parse_content_codings("") == Codings{});
  for (const char* unknown : {"compress", "gzip, aws-chunked", "gzip;q=1", "g zip"})
    CHECK(parse_content_codings(unknown) == std::nullopt);
}

TEST_CASE("more codings than any origin needs are as good as unknown") {
  CHECK(parse_content_codings("gzip, gzip, gzip").has_value());
  CHECK(parse_content_codings("gzip, gzip, gzip, gzip") == std::nullopt);
}

TEST_CASE("each coding is undone, however its bytes are cut into pieces") {
  for (const ContentCoding coding : kAll) {
    for (const size_t size : {0, 1, 100, 70'000, 300'000}) {
      const std::string body = text_of_size(size), coded = encoded(coding, body);
      for (const size_t piece : {size_t{1}, size_t{7}, size_t{64 * 1024}, SIZE_MAX}) {
        if (piece == 1 && size > 100'000) continue;
        const Decoded decoded = decode({coding}, coded, piece);
        CHECK(decoded.fault == DecodeFault::none);
        CHECK(decoded.body == body);
      }
    }
  }
}

TEST_CASE("deflate may come raw, without the frame that the standard asks for") {
  for (const size_t size : {0, 1, 100, 70'000}) {
    const std::string body = text_of_size(size), coded = deflated(body, kRawWindow);
    for (const size_t piece : {size_t{1}, SIZE_MAX}) {
      const Decoded decoded = decode({ContentCoding::deflate}, coded, piece);
      CHECK(decoded.fault == DecodeFault::none);
      CHECK(decoded.body == body);
    }
  }
}

TEST_CASE("several codings are undone in turn, the last one first") {
  const std::string body = text_of_size(100'000);
  for (const ContentCoding first : kAll) {
    for (const ContentCoding second : kAll) {
      const std::string coded = encoded(second, encoded(first, body));
      const Decoded decoded = decode({first, second}, coded, 1000);
      CHECK(decoded.fault == DecodeFault::none);
      CHECK(decoded.body == body);
    }
  }
}

TEST_CASE("members of gzip and frames of zstd that follow each other are one body") {
  for (const ContentCoding coding : {ContentCoding::gzip, ContentCoding::zstd}) {
    const std::string coded =
        encoded(coding, "one ") + encoded(coding, "") + encoded(coding, "two");
    for (const size_t piece : {size_t{1}, SIZE_MAX}) {
      const Decoded decoded = decode({coding}, coded, piece);
      CHECK(decoded.fault == DecodeFault::none);
      CHECK(decoded.body == "one two");
    }
  }
}

TEST_CASE("a body cut anywhere is not whole") {
  const std::string body = text_of_size(3000);
  for (const ContentCoding coding : kAll) {
    const std::string coded = encoded(coding, body);
    for (size_t size = 0; size < coded.size(); ++size)
      CHECK(decode({coding}, coded.substr(0, size)).fault == DecodeFault::cut);
  }
  // Whole outside, cut inside.
  const std::string inner = deflated(body, kGzipWindow);
  const std::string coded = brotli(inner.substr(0, inner.size() - 1));
  CHECK(decode({ContentCoding::gzip, ContentCoding::brotli}, coded).fault == DecodeFault::cut);
}

TEST_CASE("bytes behind the end are noticed, also when they come later") {
  for (const ContentCoding coding : kAll) {
    // Long enough to be no header of a further member or frame.
    const std::string coded = encoded(coding, "body") + std::string(20, '\0');
    for (const size_t piece : {coded.size() - 20, SIZE_MAX})
      CHECK(decode({coding}, coded, piece).fault == DecodeFault::surplus);
    CHECK(decode({coding}, coded, 1).fault != DecodeFault::none);
  }
}

TEST_CASE("damage is noticed") {
  const std::string body = text_of_size(3000);
  // The ones that carry a checksum, in each byte behind the header's.
  constexpr size_t kGzipHeader = 10, kZstdHeader = 6;
  for (const auto& [coding, header] :
       {std::pair(ContentCoding::gzip, kGzipHeader), std::pair(ContentCoding::zstd, kZstdHeader)}) {
    const std::string coded = encoded(coding, body);
    for (size_t at = header; at < coded.size(); ++at) {
      std::string damaged = coded;
      damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
      const Decoded decoded = decode({coding}, damaged);
      // There are bits that mean nothing.
      CHECK_MESSAGE((decoded.fault != DecodeFault::none || decoded.body == body), at);
    }
  }
  for (const ContentCoding coding : kAll)
    CHECK(decode({coding}, "<html>no such thing</html>").fault != DecodeFault::none);
}

TEST_CASE(
    "a zstd frame that holds less than it tells is damaged, also when its last block is empty") {
  // A single segment of 32 bytes, and one block: the last, raw, of no bytes.
  const std::string_view frame("\x28\xb5\x2f\xfd\x20\x20\x01\x00\x00", 9);
  CHECK(decode({ContentCoding::zstd}, frame).fault == DecodeFault::damaged);
  CHECK(decode({ContentCoding::zstd}, frame, 3).fault == DecodeFault::damaged);
}

TEST_CASE("a fault stays") {
  ContentDecoder decoder({ContentCoding::gzip}, [](std::string_view) { return true; });
  CHECK(decoder.feed("no gzip at all") == DecodeFault::damaged);
  CHECK(decoder.feed(deflated("body", kGzipWindow)) == DecodeFault::damaged);
  CHECK(decoder.finish() == DecodeFault::damaged);
}

TEST_CASE("nothing more is decoded for one who wants no more") {
  int pieces = 0;
  ContentDecoder decoder({ContentCoding::gzip}, [&](std::string_view) {
    ++pieces;
    return false;
  });
  CHECK(decoder.feed(deflated(text_of_size(500'000), kGzipWindow)) == DecodeFault::stopped);
  CHECK(pieces == 1);
}

TEST_CASE("a body that grows beyond all reason is refused soon, wherever in the chain it grows") {
  const std::string zeros(64 * 1024 * 1024, '\0');
  const auto grown = [](const Codings& codings, std::string_view coded) {
    uint64_t bytes = 0;
    ContentDecoder decoder(codings, [&](std::string_view made) {
      bytes += made.size();
      return true;
    });
    CHECK(decoder.feed(coded) == DecodeFault::growth);
    CHECK(bytes <= kFreeGrowth + 64 * 1024);
  };
  for (const ContentCoding coding : kAll)
    grown({coding}, encoded(coding, zeros));
  // Much in the middle, and nothing at the end.
  const std::string empty = deflated("", kGzipWindow);
  std::string nothing;
  while (nothing.size() < zeros.size())
    nothing += empty;
  grown({ContentCoding::gzip, ContentCoding::brotli}, brotli(nothing));
}

TEST_CASE("a body may grow as much as texts do, and a little beyond any share") {
  const std::string zeros(kFreeGrowth, '\0');
  for (const ContentCoding coding : kAll)
    CHECK(decode({coding}, encoded(coding, zeros)).fault == DecodeFault::none);
  constexpr size_t kWord = 100, kWords = 4000;
  const std::string words = text_of_size(kWord * kWords);
  std::string text;
  for (size_t i = 0; i < kWords; ++i)
    text += words.substr(i * kWord, kWord) + std::string(10'000, ' ');
  REQUIRE(text.size() > 2 * kFreeGrowth);
  CHECK(decode({ContentCoding::gzip}, deflated(text, kGzipWindow)).fault == DecodeFault::none);
}

TEST_CASE("a zstd window of more than 8 MiB is refused for what it is") {
  const std::string body = text_of_size(1000);
  CHECK(decode({ContentCoding::zstd}, zstd(body, 23)).fault == DecodeFault::none);
  CHECK(decode({ContentCoding::zstd}, zstd(body, 24)).fault == DecodeFault::window);
}
