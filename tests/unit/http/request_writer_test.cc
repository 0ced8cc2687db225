#include "http/request_writer.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace gigafetch::http {
namespace {

using namespace std::string_literals;
using Strings = std::vector<std::string>;

std::string request(const std::string& origin, const std::vector<Header>& headers) {
  const Result<Url> url = parse_url(origin);
  REQUIRE(url.ok());
  std::string out;
  RequestWriter(url.value(), headers).append_get(out, "/get/a%20b?c");
  return out;
}

const std::string kAgent = "User-Agent: gigafetch/" GIGAFETCH_VERSION "\r\n";

std::string refusal(std::string_view option) {
  const Result<Header> header = parse_header_option(option);
  REQUIRE_FALSE(header.ok());
  CHECK(header.failure().code == ErrorCode::usage);
  return header.failure().text;
}

}  // namespace

TEST_CASE("a request is its line, the program's fields and the user's") {
  CHECK(request("http://Example.org/base", {}) ==
        "GET /get/a%20b?c HTTP/1.1\r\nHost: example.org\r\n" + kAgent +
            "Accept-Encoding: identity\r\n\r\n");
  CHECK(request("http://[::1]:8080", {{"X-A", "b c"}, {"X-D", ""}}) ==
        "GET /get/a%20b?c HTTP/1.1\r\nHost: [::1]:8080\r\n" + kAgent +
            "Accept-Encoding: identity\r\nX-A: b c\r\nX-D: \r\n\r\n");
}

TEST_CASE("requests are appended one behind the other") {
  const RequestWriter writer(parse_url("http://h").value(), {});
  std::string one, two;
  writer.append_get(one, "/a");
  writer.append_get(two, "/a");
  writer.append_get_with(two, [](std::string& out) { out += "/b"; });
  CHECK(two == one + "GET /b" + one.substr(6));
}

TEST_CASE("a header option is a name, a colon and a trimmed value") {
  for (const std::string& option :
       Strings{"X-Key: some value", "X-Key:some value", "X-Key: \t some value \t"}) {
    const Result<Header> header = parse_header_option(option);
    REQUIRE(header.ok());
    CHECK(header.value().name == "X-Key");
    CHECK(header.value().value == "some value");
  }
  CHECK(parse_header_option("X:").value().value.empty());
  CHECK(parse_header_option("X: a:b\tc\xC3\xA9").value().value == "a:b\tc\xC3\xA9");
  CHECK(parse_header_option("!#$%&'*+-.^_`|~09AZaz: x").ok());
}

TEST_CASE("a header option that is no header field is refused") {
  for (const std::string& option :
       Strings{"", "X", ":", ": x", "X y: z", " X: y", "X : y", "X\r\n: y", "X\0: y"s, "X(: y",
               "\xC3\xA9: y", "X\"Y: z", "X/Y: z"}) {
    CAPTURE(option);
    CHECK(refusal(option).find("Name: value") != std::string::npos);
  }
}

TEST_CASE("a header value with a control byte is refused: it would end the line") {
  for (const std::string& option : Strings{"X: a\r\nY: b", "X: a\nb", "X: a\rb", "X: a\0b"s,
                                           "X: \x1B[2J", "X: a\x7F", "X: a\r\n", "X: \r\n a"}) {
    CAPTURE(option);
    CHECK(refusal(option).find("control byte") != std::string::npos);
  }
}

TEST_CASE("a header option with a credential is refused, and the credential is not repeated") {
  for (const std::string& name :
       Strings{"Authorization", "authorization", "PROXY-Authorization", "Cookie"}) {
    const std::string text = refusal(name + ": Bearer hunter2");
    CHECK(text.find("--bearer-file") != std::string::npos);
    CHECK(text.find("hunter2") == std::string::npos);
  }
}

TEST_CASE("a header option that would change the framing or the coding is refused") {
  for (const std::string& name :
       Strings{"Host", "CONNECTION", "Keep-Alive", "content-length", "Transfer-Encoding",
               "Accept-Encoding", "Range", "Expect"}) {
    CHECK(refusal(name + ": x").find("itself") != std::string::npos);
  }
}

TEST_CASE("a request carries one User-Agent, also when the user gives one") {
  const Result<Header> header = parse_header_option("User-Agent: mine");
  if (!header) return;
  const std::string out = request("http://h", {header.value()});
  const size_t first = out.find("User-Agent:");
  CHECK(out.find("User-Agent:", first + 1) == std::string::npos);
}

}  // namespace gigafetch::http
