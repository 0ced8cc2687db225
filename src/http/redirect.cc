#include "http/redirect.h"

#include <uriparser/Uri.h>

#include "base/percent.h"
#include "http/text.h"

namespace gigafetch::http {
namespace {

// A longer one is not sent to anybody.
constexpr size_t kMaxLocation = 16 * 1024;

class Uri {
 public:
  Uri() = default;
  ~Uri() { uriFreeUriMembersA(&uri_); }
  Uri(const Uri&) = delete;
  Uri& operator=(const Uri&) = delete;
  bool parse(const std::string& text) {
    const char* error_position = nullptr;
    return uriParseSingleUriExA(&uri_, text.data(), text.data() + text.size(), &error_position) ==
           URI_SUCCESS;
  }
  UriUriA* get() { return &uri_; }
  const UriUriA* operator->() const { return &uri_; }

 private:
  UriUriA uri_{};
};

std::string_view text_of(const UriTextRangeA& range) {
  if (range.first == nullptr) return {};
  return {range.first, static_cast<size_t>(range.afterLast - range.first)};
}

// What servers write into a Location although RFC 3986 does not let it stand there.
std::string repaired(std::string_view location) {
  constexpr std::string_view kEncoded = " \"<>^`{|}";
  std::string out;
  for (const char c : location) {
    const bool odd = static_cast<unsigned char>(c) >= 0x80 || kEncoded.find(c) != kEncoded.npos;
    if (odd) {
      append_percent_byte(out, c);
    } else {
      out += c;
    }
  }
  return out;
}

bool is_same_origin(const Url& origin, const Uri& uri) {
  if (uri->userInfo.first != nullptr) return false;
  const std::string_view port = text_of(uri->portText);
  const std::string_view default_port = origin.scheme == "https" ? "443" : "80";
  return equals_ignoring_case(text_of(uri->scheme), origin.scheme) &&
         equals_ignoring_case(text_of(uri->hostText), origin.host) &&
         (port.empty() ? default_port : port) == std::to_string(origin.port);
}

}  // namespace

std::optional<std::string> redirect_target(const Url& origin, std::string_view current_target,
                                           std::string_view location) {
  if (location.empty() || location.size() > kMaxLocation) return std::nullopt;
  const std::string base_text = origin.scheme + "://" + origin.authority() + "/";
  std::string current(base_text);
  current += current_target.substr(current_target.starts_with('/') ? 1 : 0);
  const std::string relative_text = repaired(location);
  Uri base, relative, target;
  if (!base.parse(current) || !relative.parse(relative_text) ||
      uriAddBaseUriA(target.get(), relative.get(), base.get()) != URI_SUCCESS ||
      !is_same_origin(origin, target)) {
    return std::nullopt;
  }
  std::string out;
  for (const UriPathSegmentA* segment = target->pathHead; segment != nullptr;
       segment = segment->next) {
    out += '/';
    out += text_of(segment->text);
  }
  if (out.empty()) out = "/";
  if (target->query.first != nullptr) {
    out += '?';
    out += text_of(target->query);
  }
  return out;
}

}  // namespace gigafetch::http
