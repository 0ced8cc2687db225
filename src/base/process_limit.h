// The limit on processes and threads, for when the system makes no more of them: EAGAIN from
// fork(2) and pthread_create(3) says no more than "Resource temporarily unavailable".
#pragma once

#include <string_view>

#include "base/result.h"

namespace gigafetch {

// The error for `what` ("cannot fork worker 3"), which failed with `error_number`. With EAGAIN it
// says which limit that is, as far as it can be found out, and what to do.
Error process_error(int error_number, std::string_view what);

}  // namespace gigafetch
