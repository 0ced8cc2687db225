// What a response's status means for another try.
#pragma once

namespace gigafetch::http {

// Whether the same request may succeed later: the origin was busy, or failed for a moment (RFC 9110
// sections 15.5 and 15.6, RFC 6585, RFC 8470). 501 and 505 say that it never will.
constexpr bool is_passing(int status) {
  return status == 408 || status == 425 || status == 429 ||
         (status >= 500 && status != 501 && status != 505);
}

}  // namespace gigafetch::http
