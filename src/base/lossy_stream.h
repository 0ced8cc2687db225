// LossyStream: lines for a reader who may be slow, stuck or gone, and whom nobody must wait for.
//
//     write --> waiting (bounded, the oldest is lost) --flush--> the descriptor
//
// What the descriptor does not take at once waits, until the next write or flush. When too much is
// waiting, the oldest lines are lost, and counted; so are lines that cannot be written because the
// disk is full, say. "N lines ... were lost" stands in their place once it goes on. A stream whose
// reader is gone, or that is closed, is given up: what is written to it from then on is nowhere.
// Nothing here fails or blocks but drain(). One process and one thread; a child that was forked
// begins one of its own.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/nonblocking_writer.h"

namespace gigafetch {

class LossyStream {
 public:
  static constexpr size_t kMostWaiting = 64 * 1024;  // bytes, the last line aside

  // `fd` is borrowed. `who` is named where lines were lost ("worker 3").
  LossyStream(int fd, std::string_view who) : writer_(fd), who_(who) {}

  // `line` has its end, and may be several lines.
  void write(std::string_view line);
  // A text that the next one replaces: it is dropped, and not counted, when it cannot be shown now.
  void show(std::string_view text);

  // Whether something waits for room.
  bool waits() const { return !waiting_.empty(); }
  // Tries again.
  void flush();
  // Tries again until nothing waits or `patience` is over.
  void drain(Millis patience);

  // Past whatever waits, if there is room. Only system calls: for signal handlers.
  void write_now(std::string_view text);

 private:
  std::string notice() const;
  void take_off(size_t written);
  void give_way();
  void fail(int error_number);

  NonblockingWriter writer_;
  std::string who_;
  std::deque<std::string> waiting_;
  size_t waiting_bytes_ = 0;
  bool begun_ = false;  // a part of the first of those is written
  bool torn_ = false;   // what was written last is a line without its end
  bool given_up_ = false;
  uint64_t lost_ = 0;
};

}  // namespace gigafetch
