#include "http/url.h"

#include <fmt/format.h>
#include <uriparser/Uri.h>

#include <charconv>
#include <memory>

#include "base/escape.h"
#include "http/text.h"

namespace gigafetch::http {
namespace {

struct UriDeleter {
  void operator()(UriUriA* uri) const {
    uriFreeUriMembersA(uri);
    delete uri;
  }
};

std::string text_of(const UriTextRangeA& range) {
  return range.first == nullptr ? std::string() : std::string(range.first, range.afterLast);
}

std::string lower(std::string text) {
  for (char& c : text)
    c = to_lower(c);
  return text;
}

}  // namespace

std::string Url::authority() const {
  const bool ipv6 = host.find(':') != std::string::npos;
  std::string out = ipv6 ? fmt::format("[{}]", host) : host;
  if (port != 80) out += fmt::format(":{}", port);
  return out;
}

std::string Url::canonical() const {
  return fmt::format("{}://{}{}", scheme, authority(), base_path);
}

Result<Url> parse_url(std::string_view text) {
  // What stands before an '@' may be a password, also in a URL that does not parse.
  const std::string shown = text.find('@') == text.npos ? printable(text) : "the URL given";
  auto uri = std::unique_ptr<UriUriA, UriDeleter>(new UriUriA{});
  const char* error_position = nullptr;
  // uriparser reads control bytes and spaces as errors, so nothing of them reaches a request.
  if (uriParseSingleUriExA(uri.get(), text.data(), text.data() + text.size(), &error_position) !=
      URI_SUCCESS) {
    return error(ErrorCode::usage, "'{}' is not a URL; write it as http://HOST:PORT/PATH", shown);
  }
  if (uri->userInfo.first != nullptr) {
    return error(ErrorCode::usage,
                 "the URL holds credentials, which process lists and logs would show; leave them "
                 "out and use --bearer-file");
  }
  Url url;
  url.scheme = lower(text_of(uri->scheme));
  if (url.scheme != "http") {
    return error(ErrorCode::usage, "'{}': only http:// URLs can be fetched", shown);
  }
  url.host = lower(text_of(uri->hostText));
  if (url.host.empty() || url.host.find('%') != std::string::npos ||
      uri->hostData.ipFuture.first != nullptr) {
    return error(ErrorCode::usage, "'{}' has no usable host", shown);
  }
  if (uri->query.first != nullptr || uri->fragment.first != nullptr) {
    return error(ErrorCode::usage,
                 "'{}': a '?' or '#' has no meaning here; give the service's base URL", shown);
  }
  const std::string port = text_of(uri->portText);
  if (!port.empty()) {
    const auto [end, status] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (status != std::errc() || end != port.data() + port.size() || url.port == 0) {
      return error(ErrorCode::usage, "'{}': the port must be 1 to 65535", shown);
    }
  }
  for (const UriPathSegmentA* segment = uri->pathHead; segment != nullptr;
       segment = segment->next) {
    url.base_path += '/';
    url.base_path += text_of(segment->text);
  }
  while (url.base_path.ends_with('/'))
    url.base_path.pop_back();
  return url;
}

}  // namespace gigafetch::http
