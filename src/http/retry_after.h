// Retry-After: how long a server asks to be left alone (RFC 9110 section 10.2.3). Pure.
#pragma once

#include <ctime>
#include <optional>
#include <string_view>

#include "base/clock.h"

namespace gigafetch::http {

// A longer wait is cut to this: an origin must not put a job to sleep for a day.
inline constexpr Millis kLongestRetryAfter{300'000};

// The wait that the field's `value` asks for: seconds, or any of the three forms of a date (RFC
// 9110 section 5.6.7), which counts from `now` (seconds since 1970, UTC). A date in the past gives
// 0; nothing when the value is neither.
std::optional<Millis> parse_retry_after(std::string_view value, std::time_t now);

}  // namespace gigafetch::http
