#include "wire/frame.h"

#include <cassert>
#include <cstring>

#include "base/byte_order.h"

namespace gigafetch::wire {
namespace {

bool is_known(uint8_t type) {
  return (type >= static_cast<uint8_t>(MessageType::hello) &&
          type <= static_cast<uint8_t>(MessageType::warning)) ||
         (type >= static_cast<uint8_t>(MessageType::figures) &&
          type <= static_cast<uint8_t>(MessageType::worker_reaped));
}

}  // namespace

FrameWriter::FrameWriter(std::string& out, MessageType type) : out_(out) {
  put_le<uint32_t>(out_, 0);
  put_le<uint8_t>(out_, static_cast<uint8_t>(type));
  put_le<uint8_t>(out_, kVersion);
  put_le<uint16_t>(out_, 0);
  payload_begin_ = out_.size();
}

FrameWriter::~FrameWriter() {
  const size_t payload = out_.size() - payload_begin_;
  assert(payload <= kMaxPayloadBytes);
  const auto length = static_cast<uint32_t>(payload);
  std::memcpy(out_.data() + payload_begin_ - kFrameHeaderBytes, &length, sizeof length);
}

void FrameReader::feed(std::string_view bytes) {
  if (begin_ == buffer_.size()) {
    buffer_.clear();
    begin_ = 0;
  } else if (begin_ > 0) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
  buffer_.append(bytes);
}

FrameReader::Status FrameReader::next(Frame& frame) {
  if (broken_) return Status::broken;
  const size_t have = buffer_.size() - begin_;
  if (have < kFrameHeaderBytes) return Status::need_more;
  const char* header = buffer_.data() + begin_;
  const auto length = get_le<uint32_t>(header);
  const auto type = get_le<uint8_t>(header + 4);
  const auto version = get_le<uint8_t>(header + 5);
  const auto zero = get_le<uint16_t>(header + 6);
  if (length > kMaxPayloadBytes || !is_known(type) || version != kVersion || zero != 0) {
    broken_ = true;
    return Status::broken;
  }
  if (have < kFrameHeaderBytes + length) return Status::need_more;
  frame.type = static_cast<MessageType>(type);
  frame.payload = std::string_view(header + kFrameHeaderBytes, length);
  begin_ += kFrameHeaderBytes + length;
  return Status::frame;
}

}  // namespace gigafetch::wire
