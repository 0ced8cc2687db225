// URLs of origins (RFC 3986).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gigafetch::http {

// Where a service lives. `host` has no brackets, even for an IPv6 literal; `base_path` is empty or
// starts with '/' and does not end with one.
struct Url {
  std::string scheme;  // "http"
  std::string host;    // lower case
  uint16_t port = 80;
  std::string base_path;

  // The Host header's value (RFC 9110 section 7.2): brackets for IPv6, no default port.
  std::string authority() const;
  // One spelling for all URLs of the same service: what a job's identity compares.
  std::string canonical() const;
};

// Takes `http://host[:port][/path]`. Refuses, with the reason: other schemes, credentials in the
// URL (they would stand in process lists and logs), queries and fragments, and syntax errors.
Result<Url> parse_url(std::string_view text);

}  // namespace gigafetch::http
