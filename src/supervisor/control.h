// Control: the supervisor's end of the socket pair that joins it to one coordinator.
//
// Nothing here blocks. A coordinator that closed its end, or that sends what is no message, is not
// judged here: it says nothing from then on, and who listens finds it silent or broken.
#pragma once

#include <string>

#include "base/exit_status.h"
#include "base/figures.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "wire/messages.h"

namespace gigafetch::supervisor {

class Control {
 public:
  // What the coordinator says.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void on_figures(const Figures& figures) = 0;
    virtual void on_done(const wire::Done& done) = 0;
    virtual void on_kill_worker(const wire::KillWorker& kill) = 0;
  };

  // A fresh pair, for a fresh coordinator: the end that is to be its. What was open is closed, and
  // what was half read is forgotten.
  Result<UniqueFd> open();
  void close() { fd_.reset(); }
  // For poll(2), which passes over -1: closed.
  int fd() const { return fd_.get(); }

  enum class Heard : uint8_t { nothing, something, rubbish };
  // Reads what is there and tells `listener`. After `rubbish` nothing more can be understood.
  Heard read(Listener& listener);

  template <typename Message>
  void tell(const Message& message) {
    std::string frame;
    wire::append(frame, message);
    send(frame);
  }
  void tell_drain();

 private:
  // Whether the frame is a message that a coordinator may send.
  static bool pass_on(const wire::Frame& frame, Listener& listener);
  void send(const std::string& frame);

  UniqueFd fd_;
  wire::FrameReader reader_;
};

}  // namespace gigafetch::supervisor
