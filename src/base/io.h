// Whole reads and writes: short counts and EINTR handled in one place.
#pragma once

#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace gigafetch {

// Writes all of `bytes`, however long that takes, also where somebody has set O_NONBLOCK. 0, or the
// errno of the write that failed.
int write_all(int fd, std::string_view bytes);

// The same, but ETIMEDOUT when the reader has not taken all of it within `patience`.
int write_within(int fd, std::string_view bytes, Millis patience);

// Reads from the descriptor's position to the end. Fails with too_large beyond `max_bytes`; `what`
// names the file in the error.
Result<std::string> read_to_end(int fd, size_t max_bytes, std::string_view what);

}  // namespace gigafetch
