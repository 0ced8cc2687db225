// Standard error: messages, log and progress of this process. It is a LossyStream: whoever reads it
// can neither hold up a run nor end it.
#pragma once

#include <string_view>

#include "base/clock.h"

namespace gigafetch::standard_error {

// Begins anew: after fork(2), which has copied what waits, and when the process has a name to sign
// with. What waits is forgotten.
void open(std::string_view who);

// As in LossyStream.
void write(std::string_view line);
void show(std::string_view text);
void flush();
bool waits();
void drain(Millis patience);
// Does nothing before open().
void write_now(std::string_view text);

// How long the last lines of a process may take.
inline constexpr Millis kLastPatience{1'000};
// How long before something that waits is tried again.
inline constexpr Millis kRetryPeriod{100};

}  // namespace gigafetch::standard_error
