#include "base/lossy_stream.h"

#include <fmt/core.h>
#include <poll.h>

#include <cerrno>

namespace gigafetch {
namespace {

constexpr int kDrainPollMs = 10;

bool is_final(int error_number) {
  return error_number == EPIPE || error_number == EBADF || error_number == ENXIO;
}

}  // namespace

std::string LossyStream::notice() const {
  return fmt::format("{}gigafetch: {} of log {} lost here ({}): standard error did not take more\n",
                     torn_ ? "\n" : "", lost_ == 1 ? "a line" : fmt::format("{} lines", lost_),
                     lost_ == 1 ? "was" : "were", who_);
}

void LossyStream::write(std::string_view line) {
  if (given_up_) return;
  waiting_.emplace_back(line);
  waiting_bytes_ += line.size();
  flush();
  give_way();
}

void LossyStream::show(std::string_view text) {
  flush();
  if (given_up_ || waits() || lost_ > 0) return;
  size_t written = 0;
  const int failed = writer_.write(text, written);
  if (is_final(failed)) return fail(failed);
  // What is begun is ended: half of it may be half of what a terminal takes for a command.
  if (written == 0 || written == text.size()) return;
  waiting_.emplace_back(text.substr(written));
  waiting_bytes_ += waiting_.back().size();
  begun_ = true;
}

void LossyStream::flush() {
  while (!given_up_ && (lost_ > 0 || waits())) {
    const bool of_lost = lost_ > 0 && !begun_;
    const std::string lost = of_lost ? notice() : std::string();
    const std::string_view text = of_lost ? std::string_view(lost) : waiting_.front();
    size_t written = 0;
    const int failed = writer_.write(text, written);
    if (failed == EAGAIN) return;
    if (failed != 0) return fail(failed);
    if (of_lost) {
      lost_ = 0;
      torn_ = false;
      if (written == lost.size()) continue;
      waiting_.push_front(lost);
      waiting_bytes_ += lost.size();
    }
    take_off(written);
  }
}

void LossyStream::take_off(size_t written) {
  waiting_bytes_ -= written;
  begun_ = written < waiting_.front().size();
  if (begun_) {
    waiting_.front().erase(0, written);
  } else {
    waiting_.pop_front();
  }
}

void LossyStream::give_way() {
  while (waiting_bytes_ > kMostWaiting) {
    const size_t oldest = begun_ ? 1 : 0;
    if (waiting_.size() < oldest + 2) return;
    waiting_bytes_ -= waiting_[oldest].size();
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(oldest));
    ++lost_;
  }
}

void LossyStream::fail(int error_number) {
  given_up_ = is_final(error_number);
  lost_ += waiting_.size();
  torn_ |= begun_;
  begun_ = false;
  waiting_.clear();
  waiting_bytes_ = 0;
}

void LossyStream::drain(Millis patience) {
  const TimePoint deadline = monotonic_now() + patience;
  for (flush(); waits() && monotonic_now() < deadline; flush())
    ::poll(nullptr, 0, kDrainPollMs);
}

void LossyStream::write_now(std::string_view text) {
  size_t written = 0;
  if (!given_up_) writer_.write(text, written);
}

}  // namespace gigafetch
