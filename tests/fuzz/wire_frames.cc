// Frames and messages: whole input and a split of it give the same frames, and what parses is
// written again with the same bytes.
//
// Input: a frame type and its payload, or, when the first byte is 0x80 or more, the split (2 bytes)
// and a stream of frames.
#include <string>

#include "input.h"
#include "wire/messages.h"

using namespace gigafetch;
using namespace gigafetch::wire;
using fuzz::feed_in_pieces;
using fuzz::Input;
using fuzz::require;
using fuzz::Split;

namespace {

constexpr uint8_t kStream = 0x80;

template <typename Message>
void check_same(const Result<Message>& parsed, std::string_view payload) {
  if (!parsed) {
    require(parsed.failure().code == ErrorCode::malformed, "a refused message is malformed");
    return;
  }
  std::string again;
  append(again, parsed.value());
  require(again.substr(kFrameHeaderBytes) == payload, "what parses is written again the same");
}

void check_message(MessageType type, std::string_view payload) {
  switch (type) {
    case MessageType::hello:
      return check_same(parse_hello(payload), payload);
    case MessageType::batch:
      return check_same(parse_batch(payload), payload);
    case MessageType::outcome:
      return check_same(parse_outcome(payload), payload);
    case MessageType::pulse:
      return check_same(parse_pulse(payload), payload);
    case MessageType::fatal:
      return check_same(parse_fatal(payload), payload);
    case MessageType::warning:
      return check_same(parse_warning(payload), payload);
    case MessageType::pace:
      return check_same(parse_pace(payload), payload);
    case MessageType::shards:
      return check_same(parse_shards(payload), payload);
    case MessageType::pipelining:
      return check_same(parse_pipelining(payload), payload);
    case MessageType::figures:
      return check_same(parse_figures(payload), payload);
    case MessageType::done:
      return check_same(parse_done(payload), payload);
    case MessageType::kill_worker:
      return check_same(parse_kill_worker(payload), payload);
    case MessageType::worker_reaped:
      return check_same(parse_worker_reaped(payload), payload);
    case MessageType::drain:
    case MessageType::stop:
      return;
  }
}

// The frames of a stream as they were read, written again, and how the reading ended.
std::string frames_of(std::string_view stream, Split split) {
  FrameReader reader;
  std::string frames;
  auto status = FrameReader::Status::need_more;
  feed_in_pieces(stream, split, [&](std::string_view piece) {
    reader.feed(piece);
    Frame frame;
    while ((status = reader.next(frame)) == FrameReader::Status::frame) {
      check_message(frame.type, frame.payload);
      FrameWriter writer(frames, frame.type);
      frames.append(frame.payload);
    }
  });
  require(stream.substr(0, frames.size()) == frames, "frames are what the stream began with");
  const bool broken = status == FrameReader::Status::broken;
  require(broken || reader.at_boundary() == (frames.size() == stream.size()),
          "at a boundary when nothing is left");
  return frames + (broken ? "broken" : "");
}

void check_stream(std::string_view stream, Split split) {
  const std::string whole = frames_of(stream, Split::whole());
  require(frames_of(stream, split) == whole, "a split gives the frames of the whole");
  require(frames_of(stream, Split::bytewise()) == whole, "bytes give the frames of the whole");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const uint8_t choice = input.take_byte();
  if (choice < kStream) {
    check_message(static_cast<MessageType>(choice), input.rest());
  } else {
    const Split split = Split::of(input);
    check_stream(input.rest(), split);
  }
  return 0;
}
