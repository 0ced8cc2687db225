// RequestWriter: GET requests built from parts made once, so that a file's request costs two
// copies.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "http/url.h"

namespace gigafetch::http {

struct Header {
  std::string name;
  std::string value;
};

// Reads "Name: value" as given by --header. Refuses what is not a header field (RFC 9110 section
// 5), fields that the program sets itself, and fields that carry credentials: those would stand in
// process lists.
Result<Header> parse_header_option(std::string_view text);

class RequestWriter {
 public:
  // `headers` go on every request; the caller has checked them.
  RequestWriter(const Url& origin, const std::vector<Header>& headers);

  // Appends one request. `target` is the path and query, already encoded.
  void append_get(std::string& out, std::string_view target) const {
    out += "GET ";
    out += target;
    out += rest_;
  }
  // The same, with a target that `append_target(out)` appends in place.
  template <typename AppendTarget>
  void append_get_with(std::string& out, AppendTarget&& append_target) const {
    out += "GET ";
    append_target(out);
    out += rest_;
  }
  // Turns the request that was appended last into one that asks the origin to close the connection
  // behind its answer (RFC 9112 section 9.6).
  static void make_last(std::string& out) {
    out.resize(out.size() - kLineEnd.size());
    out += "Connection: close\r\n\r\n";
  }

 private:
  static constexpr std::string_view kLineEnd = "\r\n";
  std::string rest_;  // from behind the target to the empty line
};

}  // namespace gigafetch::http
