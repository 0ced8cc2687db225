// A worker of tests that drive a loop: the other end of a WorkerLink.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "base/temp_folder.h"
#include "base/unix_socket.h"
#include "net/drive.h"
#include "net/raw_socket.h"
#include "wire/messages.h"

namespace gigafetch::testing {

class FakeWorker {
 public:
  // Connects to the socket in the state folder, and says hello.
  FakeWorker(net::Loop& loop, const TempFolder& state, uint64_t run_id, uint32_t index = 0,
             pid_t pid = ::getpid())
      : loop_(loop), socket_(loop, connected(state)) {
    send(wire::Hello{run_id, index, static_cast<uint32_t>(pid)});
  }

  template <typename Message>
  void send(const Message& message) {
    std::string out;
    wire::append(out, message);
    socket_.send(out);
  }
  void hang_up() { socket_.close(); }
  bool gone() const { return socket_.gone(); }

  struct Message {
    wire::MessageType type;
    std::string payload;
  };
  // What has come and was not yet taken.
  std::optional<Message> next() {
    reader_.feed(socket_.received);
    socket_.received.clear();
    wire::Frame frame;
    if (reader_.next(frame) != wire::FrameReader::Status::frame) return std::nullopt;
    return Message{frame.type, std::string(frame.payload)};
  }
  // Waits for it.
  std::optional<Message> await() {
    std::optional<Message> message;
    run_until(loop_, [&] { return message || (message = next()) || gone(); });
    return message;
  }

 private:
  static UniqueFd connected(const TempFolder& state) {
    Result<UniqueFd> fd = connect_in_folder(state.fd(), "socket");
    REQUIRE(fd.ok());
    return std::move(fd).value();
  }

  net::Loop& loop_;
  RawSocket socket_;
  wire::FrameReader reader_;
};

}  // namespace gigafetch::testing
