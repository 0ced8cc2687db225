#include "wire/frame.h"

#include <doctest/doctest.h>

#include <vector>

#include "base/byte_order.h"
#include "base/random.h"

using namespace gigafetch::wire;
using gigafetch::put_le;
using gigafetch::Random;
using Status = FrameReader::Status;

namespace {

std::string frame_of(MessageType type, std::string_view payload) {
  std::string out;
  FrameWriter frame(out, type);
  out.append(payload);
  return out;
}

std::string header(uint32_t length, uint8_t type, uint8_t version, uint16_t zero) {
  std::string out;
  put_le<uint32_t>(out, length);
  put_le<uint8_t>(out, type);
  put_le<uint8_t>(out, version);
  put_le<uint16_t>(out, zero);
  return out;
}

struct Taken {
  MessageType type;
  std::string payload;
  bool operator==(const Taken&) const = default;
};

// Feeds the pieces one by one and takes every frame as soon as it is whole.
struct Run {
  std::vector<Taken> frames;
  Status last = Status::need_more;
  bool at_boundary = false;
};
Run read_in_pieces(const std::vector<std::string_view>& pieces) {
  FrameReader reader;
  Run run;
  for (const std::string_view piece : pieces) {
    reader.feed(piece);
    Frame frame;
    while ((run.last = reader.next(frame)) == Status::frame) {
      run.frames.push_back({frame.type, std::string(frame.payload)});
    }
  }
  run.at_boundary = reader.at_boundary();
  return run;
}

const std::vector<Taken>& three_frames() {
  static const std::vector<Taken> frames = {{MessageType::pulse, "first"},
                                            {MessageType::drain, ""},
                                            {MessageType::worker_reaped, std::string(300, 'x')}};
  return frames;
}

std::string three_frames_bytes() {
  std::string stream;
  for (const Taken& frame : three_frames())
    stream += frame_of(frame.type, frame.payload);
  return stream;
}

}  // namespace

TEST_CASE("a frame is its length, type, version and two zeros before the payload") {
  std::string out = "before";
  {
    FrameWriter frame(out, MessageType::outcome);
    out += "abc";
  }
  CHECK(out == std::string("before\x03\0\0\0\x03\x05\0\0abc", 17));
}

TEST_CASE("frames written one behind the other are read as they were written") {
  const Run run = read_in_pieces({three_frames_bytes()});
  CHECK(run.frames == three_frames());
  CHECK(run.last == Status::need_more);
  CHECK(run.at_boundary);
}

TEST_CASE("every split of a stream in two gives the frames of the whole") {
  const std::string stream = three_frames_bytes();
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    CAPTURE(cut);
    const std::string_view whole = stream;
    const Run run = read_in_pieces({whole.substr(0, cut), whole.substr(cut)});
    CHECK(run.frames == three_frames());
    CHECK(run.at_boundary);
  }
}

TEST_CASE("every split of a short stream in three gives the frames of the whole") {
  const std::string stream = frame_of(MessageType::stop, "") + frame_of(MessageType::done, "abc");
  const std::string_view whole = stream;
  for (size_t first = 0; first <= stream.size(); ++first) {
    for (size_t second = first; second <= stream.size(); ++second) {
      const Run run = read_in_pieces(
          {whole.substr(0, first), whole.substr(first, second - first), whole.substr(second)});
      CHECK(run.frames == std::vector<Taken>{{MessageType::stop, ""}, {MessageType::done, "abc"}});
    }
  }
}

TEST_CASE("a stream that comes byte by byte gives the frames of the whole") {
  const std::string stream = three_frames_bytes();
  std::vector<std::string_view> pieces;
  for (size_t i = 0; i < stream.size(); ++i)
    pieces.push_back(std::string_view(stream).substr(i, 1));
  const Run run = read_in_pieces(pieces);
  CHECK(run.frames == three_frames());
}

TEST_CASE("frames may be left in the reader while more is fed") {
  const std::string stream = three_frames_bytes();
  FrameReader reader;
  Frame frame;
  reader.feed(std::string_view(stream).substr(0, 20));
  REQUIRE(reader.next(frame) == Status::frame);
  CHECK(frame.payload == "first");
  reader.feed(std::string_view(stream).substr(20));
  REQUIRE(reader.next(frame) == Status::frame);
  CHECK(frame.type == MessageType::drain);
  REQUIRE(reader.next(frame) == Status::frame);
  CHECK(frame.payload == std::string(300, 'x'));
  CHECK(reader.next(frame) == Status::need_more);
}

TEST_CASE("a stream that ended inside a frame is not at a boundary") {
  const std::string stream = frame_of(MessageType::pulse, "payload");
  for (size_t length = 1; length < stream.size(); ++length) {
    const Run run = read_in_pieces({std::string_view(stream).substr(0, length)});
    CAPTURE(length);
    CHECK(run.frames.empty());
    CHECK(run.last == Status::need_more);
    CHECK_FALSE(run.at_boundary);
  }
  CHECK(read_in_pieces({stream}).at_boundary);
  CHECK(FrameReader().at_boundary());
}

TEST_CASE("a header that breaks a rule is broken, and stays so whatever follows") {
  const uint8_t hello = static_cast<uint8_t>(MessageType::hello);
  std::vector<std::string> bad = {
      header(0, hello, kVersion + 1, 0),
      header(0, hello, kVersion - 1, 0),
      header(0, hello, 0, 0),
      header(0, hello, kVersion, 1),
      header(0, hello, kVersion, 0x0100),
      header(kMaxPayloadBytes + 1, hello, kVersion, 0),
      header(UINT32_MAX, hello, kVersion, 0),
  };
  for (unsigned type = 0; type < 256; ++type) {
    const bool known = (type >= 1 && type <= 11) || (type >= 16 && type <= 19);
    if (!known) bad.push_back(header(0, static_cast<uint8_t>(type), kVersion, 0));
  }
  const std::string good = frame_of(MessageType::hello, "");
  for (const std::string& bytes : bad) {
    CAPTURE(bytes);
    FrameReader reader;
    Frame frame;
    reader.feed(bytes);
    CHECK(reader.next(frame) == Status::broken);
    CHECK(reader.next(frame) == Status::broken);
    reader.feed(good);
    CHECK(reader.next(frame) == Status::broken);
  }
}

TEST_CASE("a bad header is told from its eight bytes alone, not only when its payload is there") {
  FrameReader reader;
  Frame frame;
  const std::string bytes = header(1000, 99, kVersion, 0);
  reader.feed(std::string_view(bytes).substr(0, kFrameHeaderBytes - 1));
  CHECK(reader.next(frame) == Status::need_more);
  reader.feed(std::string_view(bytes).substr(kFrameHeaderBytes - 1));
  CHECK(reader.next(frame) == Status::broken);
}

TEST_CASE("good frames before a bad header are delivered") {
  const Run run = read_in_pieces({frame_of(MessageType::drain, "") + header(0, 0, kVersion, 0)});
  CHECK(run.frames == std::vector<Taken>{{MessageType::drain, ""}});
  CHECK(run.last == Status::broken);
}

TEST_CASE("every known type passes") {
  for (const unsigned type : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 18, 19}) {
    FrameReader reader;
    Frame frame;
    reader.feed(header(0, static_cast<uint8_t>(type), kVersion, 0));
    REQUIRE(reader.next(frame) == Status::frame);
    CHECK(static_cast<unsigned>(frame.type) == type);
    CHECK(frame.payload.empty());
  }
}

TEST_CASE("a payload of exactly the limit passes") {
  const std::string payload(kMaxPayloadBytes, 'p');
  const Run run = read_in_pieces({frame_of(MessageType::batch, payload)});
  REQUIRE(run.frames.size() == 1);
  CHECK(run.frames[0].payload == payload);
}

TEST_CASE("random streams in random pieces give back every frame") {
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<Taken> sent;
    std::string stream;
    for (uint64_t n = random.below(20); n > 0; --n) {
      std::string payload;
      for (uint64_t size = random.below(200); size > 0; --size) {
        payload += static_cast<char>(random.below(256));
      }
      sent.push_back({static_cast<MessageType>(1 + random.below(8)), payload});
      stream += frame_of(sent.back().type, payload);
    }
    std::vector<std::string_view> pieces;
    for (std::string_view rest = stream; !rest.empty();) {
      const size_t size = std::min<size_t>(rest.size(), 1 + random.below(64));
      pieces.push_back(rest.substr(0, size));
      rest.remove_prefix(size);
    }
    CHECK(read_in_pieces(pieces).frames == sent);
  }
}
