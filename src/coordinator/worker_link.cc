#include "coordinator/worker_link.h"

#include <sys/socket.h>
#include <unistd.h>

namespace gigafetch::coordinator {
namespace {

// So much is gathered for one write. Batches of usual names are some 25 KB.
constexpr size_t kWriteBytes = 128 * 1024;

}  // namespace

bool WorkerLink::is_peer(pid_t pid) const {
  ucred peer{};
  socklen_t length = sizeof peer;
  return ::getsockopt(stream_.fd(), SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
         peer.pid == pid && peer.uid == ::geteuid();
}

void WorkerLink::send_empty(wire::MessageType type) {
  wire::append_empty(out_, type);
  flush();
}

void WorkerLink::queue(const wire::BatchView& batch) {
  if (out_.empty()) out_.swap(spare_);
  wire::append(out_, batch);
  if (out_.size() >= kWriteBytes) flush();
}

void WorkerLink::flush() {
  if (out_.empty()) return;
  stream_.write(out_);
  out_.clear();
  if (out_.capacity() > spare_.capacity()) out_.swap(spare_);
  out_.shrink_to_fit();
}

void WorkerLink::refuse(const std::string& why) {
  stream_.close();
  client_.on_link_ended(*this, why);
}

void WorkerLink::on_ended(int) {
  client_.on_link_ended(*this, reader_.at_boundary() ? "" : "it ended inside a message");
}

void WorkerLink::on_bytes(std::string_view bytes) {
  heard_ = loop_.now();
  reader_.feed(bytes);
  take_frames();
  client_.on_read_end();
}

void WorkerLink::take_frames() {
  wire::Frame frame;
  while (!stream_.is_closed()) {
    switch (reader_.next(frame)) {
      case wire::FrameReader::Status::need_more:
        return;
      case wire::FrameReader::Status::broken:
        return refuse("it sent a broken frame");
      case wire::FrameReader::Status::frame:
        on_frame(frame);
    }
  }
}

void WorkerLink::on_frame(const wire::Frame& frame) {
  // Before the hello nothing else is taken, and after it no second one.
  if ((frame.type == wire::MessageType::hello) == greeted_) {
    return refuse("it did not keep to the order of messages");
  }
  switch (frame.type) {
    case wire::MessageType::hello: {
      Result<wire::Hello> hello = wire::parse_hello(frame.payload);
      if (!hello) return refuse(hello.failure().text);
      hello_ = *hello;
      greeted_ = true;
      if (client_.on_hello(*this, hello_)) return;
      greeted_ = false;
      return refuse("it is not a worker of this run");
    }
    case wire::MessageType::outcome: {
      Result<wire::Outcome> outcome = wire::parse_outcome(frame.payload);
      if (!outcome) return refuse(outcome.failure().text);
      for (ShardEnd& shard : outcome->shards)
        shard.worker = hello_.worker;
      return client_.on_outcome(*this, std::move(outcome).value());
    }
    case wire::MessageType::pulse: {
      Result<wire::Pulse> pulse = wire::parse_pulse(frame.payload);
      if (!pulse) return refuse(pulse.failure().text);
      return client_.on_pulse(*this, std::move(pulse).value());
    }
    case wire::MessageType::pipelining: {
      Result<wire::Pipelining> found = wire::parse_pipelining(frame.payload);
      if (!found) return refuse(found.failure().text);
      return client_.on_pipelining(*this, *found);
    }
    case wire::MessageType::warning: {
      Result<wire::Warning> warning = wire::parse_warning(frame.payload);
      if (!warning) return refuse(warning.failure().text);
      return client_.on_warning(*this, *warning);
    }
    case wire::MessageType::fatal: {
      Result<wire::Fatal> fatal = wire::parse_fatal(frame.payload);
      if (!fatal) return refuse(fatal.failure().text);
      return client_.on_fatal(*this, *fatal);
    }
    default:
      return refuse("it sent a message that workers do not send");
  }
}

}  // namespace gigafetch::coordinator
