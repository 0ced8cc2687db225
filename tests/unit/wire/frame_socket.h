// One end of a socket on which frames travel, blocking: a test plays the other process.
#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <optional>
#include <string>

#include "base/readable.h"
#include "base/unique_fd.h"
#include "wire/messages.h"

namespace gigafetch::testing {

class FrameSocket {
 public:
  explicit FrameSocket(UniqueFd fd = UniqueFd()) : fd_(std::move(fd)) {}

  struct Message {
    wire::MessageType type;
    std::string payload;
  };
  // The next message; nullopt at the end of the stream.
  std::optional<Message> next() {
    wire::Frame frame;
    for (;;) {
      const auto status = reader_.next(frame);
      if (status == wire::FrameReader::Status::frame) {
        return Message{frame.type, std::string(frame.payload)};
      }
      char bytes[64 * 1024];
      ssize_t got = 0;
      if (status == wire::FrameReader::Status::broken || !readable(fd_.get()) ||
          (got = ::recv(fd_.get(), bytes, sizeof bytes, 0)) <= 0) {
        return std::nullopt;
      }
      reader_.feed(std::string_view(bytes, static_cast<size_t>(got)));
    }
  }
  bool is_silent() const { return reader_.at_boundary() && !readable(fd_.get(), 0); }

  template <typename Message>
  void send(const Message& message) const {
    std::string out;
    wire::append(out, message);
    send_bytes(out);
  }
  void send_empty(wire::MessageType type) const {
    std::string out;
    wire::append_empty(out, type);
    send_bytes(out);
  }
  void send_bytes(const std::string& bytes) const {
    CHECK(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(bytes.size()));
  }
  void hang_up() { fd_.reset(); }

 private:
  UniqueFd fd_;
  wire::FrameReader reader_;
};

}  // namespace gigafetch::testing
