// WorkerLink: the coordinator's end of the socket to one worker process. Loop thread only.
#pragma once

#include <sys/types.h>

#include <string>

#include "coordinator/plan.h"
#include "net/stream.h"
#include "wire/messages.h"

namespace gigafetch::coordinator {

class WorkerLink final : private net::Stream::Handler {
 public:
  class Client {
   public:
    virtual ~Client() = default;
    // The worker has said who it is; false turns it away.
    virtual bool on_hello(WorkerLink& link, const wire::Hello& hello) = 0;
    virtual void on_outcome(WorkerLink& link, wire::Outcome outcome) = 0;
    virtual void on_pulse(WorkerLink& link, wire::Pulse pulse) = 0;
    virtual void on_pipelining(WorkerLink& link, const wire::Pipelining& found) = 0;
    virtual void on_fatal(WorkerLink& link, const wire::Fatal& fatal) = 0;
    virtual void on_warning(WorkerLink& link, const wire::Warning& warning) = 0;
    // All messages that have come by now have been told.
    virtual void on_read_end() {}
    // The link is closed. `why` is empty for an end of file; anything else is a worker that must be
    // ended. The client must not destroy the link inside this call.
    virtual void on_link_ended(WorkerLink& link, const std::string& why) = 0;
  };

  // Everything given must outlive the link. `spare` is memory for what is to be written, of all
  // links together: few of them gather something at a time.
  WorkerLink(net::Loop& loop, Client& client, HolderId holder, std::string& spare)
      : loop_(loop),
        client_(client),
        holder_(holder),
        stream_(loop, *this),
        heard_(loop.now()),
        spare_(spare) {}

  // For UnixListener::accept.
  net::Stream& stream() { return stream_; }
  // Whether the process at the other end is `pid` and of this user (SO_PEERCRED, unix(7)).
  bool is_peer(pid_t pid) const;

  // Sends one message; dropped when the link has ended.
  template <typename Message>
  void send(const Message& message) {
    wire::append(out_, message);
    flush();
  }
  // Has it sent with the next message or flush, or once enough has gathered: so several batches are
  // one write.
  void queue(const wire::BatchView& batch);
  void flush();
  void send_empty(wire::MessageType type);

  // Ends the link, as if the worker had broken a rule.
  void refuse(const std::string& why);

  HolderId holder() const { return holder_; }
  bool greeted() const { return greeted_; }
  uint32_t worker() const { return hello_.worker; }
  pid_t pid() const { return static_cast<pid_t>(hello_.pid); }
  bool ended() const { return stream_.is_closed(); }
  // When the worker last said something.
  TimePoint heard() const { return heard_; }

 private:
  void on_bytes(std::string_view bytes) override;
  void on_ended(int uv_error) override;
  void take_frames();
  void on_frame(const wire::Frame& frame);

  net::Loop& loop_;
  Client& client_;
  HolderId holder_;
  net::Stream stream_;
  TimePoint heard_;
  wire::FrameReader reader_;
  std::string out_;  // to be written
  std::string& spare_;
  wire::Hello hello_;
  bool greeted_ = false;
};

}  // namespace gigafetch::coordinator
