// Frames: how messages travel over a stream socket.
//
//     0        4      5         6         8
//     +--------+------+---------+---------+----------------
//     | length | type | version | zero    | payload (length bytes)
//     +--------+------+---------+---------+----------------
//
// All integers are little-endian. The version stands in every frame, so that a mix of programs is
// found out by the first message either side reads. A frame that breaks a rule ends the connection:
// both sides are this program, and a wrong byte means a bug or memory damage.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gigafetch::wire {

inline constexpr uint8_t kVersion = 5;
inline constexpr size_t kFrameHeaderBytes = 8;
// The largest message is an outcome in which each of a batch's names failed with a full text.
inline constexpr size_t kMaxPayloadBytes = 8 * 1024 * 1024;

enum class MessageType : uint8_t {
  // Between coordinator and workers.
  hello = 1,
  batch = 2,
  outcome = 3,
  drain = 4,
  stop = 5,
  pulse = 6,
  fatal = 7,
  pace = 8,
  shards = 9,
  pipelining = 10,
  warning = 11,
  // Between supervisor and coordinator (drain and stop too).
  figures = 16,
  done = 17,
  kill_worker = 18,
  worker_reaped = 19,
};

// One frame; the payload is a view into the reader's buffer, valid until the next call on it.
struct Frame {
  MessageType type = MessageType::hello;
  std::string_view payload;
};

// Appends a frame header to `out` and, when it goes out of scope, puts in the length of what was
// appended behind it.
class FrameWriter {
 public:
  FrameWriter(std::string& out, MessageType type);
  ~FrameWriter();
  FrameWriter(const FrameWriter&) = delete;
  FrameWriter& operator=(const FrameWriter&) = delete;

 private:
  std::string& out_;
  size_t payload_begin_;
};

// Cuts a byte stream into frames, whatever the pieces it arrives in. Holds at most one incomplete
// frame, so its memory is bounded by the largest frame.
class FrameReader {
 public:
  // Adds bytes as read from the socket.
  void feed(std::string_view bytes);

  enum class Status : uint8_t { frame, need_more, broken };
  // Takes the next whole frame. `broken` is final: unknown version or type, a header rule broken,
  // or a payload over the limit.
  Status next(Frame& frame);

  // Whether the stream ended between frames (true) or inside one.
  bool at_boundary() const { return begin_ == buffer_.size(); }

 private:
  std::string buffer_;
  size_t begin_ = 0;  // of the first byte not yet taken
  bool broken_ = false;
};

}  // namespace gigafetch::wire
