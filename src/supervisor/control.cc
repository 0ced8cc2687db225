#include "supervisor/control.h"

#include <sys/socket.h>

#include <cerrno>

namespace gigafetch::supervisor {

Result<UniqueFd> Control::open() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return errno_error(errno, "socketpair");
  }
  fd_ = UniqueFd(ends[0]);
  reader_ = {};
  return UniqueFd(ends[1]);
}

Control::Heard Control::read(Listener& listener) {
  using Status = wire::FrameReader::Status;
  Heard heard = Heard::nothing;
  char bytes[16 * 1024];
  ssize_t got = -1;
  while (fd_ && (got = ::recv(fd_.get(), bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
    reader_.feed(std::string_view(bytes, static_cast<size_t>(got)));
    wire::Frame frame;
    Status status;
    while ((status = reader_.next(frame)) == Status::frame) {
      if (!pass_on(frame, listener)) return Heard::rubbish;
      heard = Heard::something;
    }
    if (status == Status::broken) return Heard::rubbish;
  }
  // At its end, or after a reset, poll would report the socket for ever.
  if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) fd_.reset();
  return heard;
}

bool Control::pass_on(const wire::Frame& frame, Listener& listener) {
  switch (frame.type) {
    case wire::MessageType::figures: {
      const Result<Figures> figures = wire::parse_figures(frame.payload);
      if (figures) listener.on_figures(figures.value());
      return figures.ok();
    }
    case wire::MessageType::done: {
      const Result<wire::Done> done = wire::parse_done(frame.payload);
      if (done) listener.on_done(done.value());
      return done.ok();
    }
    case wire::MessageType::kill_worker: {
      const Result<wire::KillWorker> kill = wire::parse_kill_worker(frame.payload);
      if (kill) listener.on_kill_worker(kill.value());
      return kill.ok();
    }
    default:
      return false;
  }
}

void Control::tell_drain() {
  std::string frame;
  wire::append_empty(frame, wire::MessageType::drain);
  send(frame);
}

void Control::send(const std::string& frame) {
  // A coordinator that does not read for so long that the buffer is full is not helped by more.
  if (fd_) ::send(fd_.get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace gigafetch::supervisor
