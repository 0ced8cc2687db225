#include "http/request_writer.h"

#include <algorithm>
#include <array>

#include "http/text.h"

namespace gigafetch::http {
namespace {

// token, RFC 9110 section 5.6.2
bool is_token(std::string_view text) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kOthers.find(c) != kOthers.npos;
  });
}

template <size_t N>
bool is_one_of(std::string_view name, const std::array<std::string_view, N>& lower_case_names) {
  return std::any_of(lower_case_names.begin(), lower_case_names.end(),
                     [&](std::string_view other) { return equals_ignoring_case(name, other); });
}

}  // namespace

Result<Header> parse_header_option(std::string_view text) {
  const auto colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  if (colon == text.npos || !is_token(name)) {
    return error(ErrorCode::usage, "--header takes 'Name: value'");
  }
  const std::string_view value = trim(text.substr(colon + 1));
  const bool has_control = std::any_of(value.begin(), value.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F;
  });
  if (has_control) {
    return error(ErrorCode::usage, "--header '{}': the value holds a control byte", name);
  }
  constexpr std::array<std::string_view, 3> kCredentials = {"authorization", "proxy-authorization",
                                                            "cookie"};
  constexpr std::array<std::string_view, 8> kOwn = {
      "host",  "connection", "keep-alive", "content-length", "transfer-encoding", "accept-encoding",
      "range", "expect"};
  if (is_one_of(name, kCredentials)) {
    return error(ErrorCode::usage,
                 "--header '{}' is not taken: process lists and configurations show it; put the "
                 "token in a file of its own and use --bearer-file",
                 name);
  }
  if (is_one_of(name, kOwn)) {
    return error(ErrorCode::usage, "--header '{}' is set by gigafetch itself; leave it out", name);
  }
  return Header{std::string(name), std::string(value)};
}

RequestWriter::RequestWriter(const Url& origin, const std::vector<Header>& headers) {
  const bool named = std::any_of(headers.begin(), headers.end(), [](const Header& header) {
    return equals_ignoring_case(header.name, "user-agent");
  });
  rest_ = fmt::format(" HTTP/1.1\r\nHost: {}\r\n", origin.authority());
  if (!named) rest_ += "User-Agent: gigafetch/" GIGAFETCH_VERSION "\r\n";
  // Without Accept-Encoding any coding would be acceptable (RFC 9110 section 12.5.3), and the bytes
  // stored would not be the file's.
  rest_ += "Accept-Encoding: identity\r\n";
  for (const Header& header : headers)
    rest_ += fmt::format("{}: {}\r\n", header.name, header.value);
  rest_ += "\r\n";
}

}  // namespace gigafetch::http
