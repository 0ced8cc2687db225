// Where an answer 301, 302, 303, 307 or 308 may lead (RFC 9110 section 15.4).
//
// A redirect is followed within the origin alone: the same scheme, host and port. Credentials are
// sent with every request, so they would go wherever a redirect leads.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "http/url.h"

namespace gigafetch::http {

// One request is led on so often, at most.
inline constexpr unsigned kMaxRedirects = 5;

// Whether a status is a redirect that can be followed with a GET: 300 and 304 to 306 are not.
constexpr bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// Whether a redirect also holds for the requests to come.
constexpr bool is_permanent_redirect(int status) {
  return status == 301 || status == 308;
}

// The request target that a Location field leads to, relative to `current_target` (RFC 3986 section
// 5.2); its fragment is dropped, and bytes that may not stand in a URI but do are percent-encoded,
// as browsers do. nullopt when it must not be followed: it is empty, no URL, holds credentials, or
// leads to another scheme, host or port than the origin's.
std::optional<std::string> redirect_target(const Url& origin, std::string_view current_target,
                                           std::string_view location);

}  // namespace gigafetch::http
