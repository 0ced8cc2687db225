// NonblockingWriter: writes to a descriptor that others hold too, without ever waiting for its
// reader.
//
// O_NONBLOCK cannot be set for it: that is a property of the open file description, which standard
// error shares with the shell and with whatever else the shell starts. poll(2) before a write does
// not do either: another process may take the room in between, and a terminal has room for a byte
// when a line is to be written. A thread that may block cannot be had where processes are forked,
// and a process that relays would have to be looked after in its turn. So the way depends on what
// the descriptor is:
//
//     pipe, terminal       opened once more through /proc/self/fd: a description of our own
//     socket               send(2) with MSG_DONTWAIT
//     somebody else's pipe (sudo, a container's): a pipe of our own, and splice(2) from there,
//     which
//                          can be told not to wait
//     somebody else's terminal: the same one as /dev/tty, if it controls this process; else poll(2)
//                          and hope
//     file, /dev/null      write(2); a disk has no reader that could be waited for
#pragma once

#include <cstdint>
#include <string_view>

#include "base/unique_fd.h"

namespace gigafetch {

class NonblockingWriter {
 public:
  enum class Way : uint8_t { write, own, send, splice, poll };

  // `fd` is borrowed. Chooses the way.
  explicit NonblockingWriter(int fd);
  // For tests: that way and no other.
  NonblockingWriter(int fd, Way way);

  // Writes what there is room for and sets `written` to its bytes. 0, EAGAIN when there is room for
  // nothing, or another errno. Up to PIPE_BUF bytes go into a pipe as a whole or not at all. Only
  // system calls: a signal handler may use it.
  int write(std::string_view bytes, size_t& written);

  Way way() const { return way_; }

 private:
  bool open_again();
  bool open_pipe();
  ssize_t write_some(std::string_view bytes);
  ssize_t splice_some(std::string_view bytes);
  ssize_t poll_and_write(std::string_view bytes);

  int fd_;
  Way way_;
  UniqueFd own_;                 // Way::own
  UniqueFd pipe_out_, pipe_in_;  // Way::splice
};

}  // namespace gigafetch
