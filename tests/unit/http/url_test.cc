#include "http/url.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace gigafetch::http {
namespace {

using namespace std::string_literals;
using Strings = std::vector<std::string>;

std::string refusal(std::string_view text) {
  CAPTURE(text);
  const Result<Url> url = parse_url(text);
  REQUIRE_FALSE(url.ok());
  CHECK(url.failure().code == ErrorCode::usage);
  return url.failure().text;
}

}  // namespace

TEST_CASE("a URL is taken apart") {
  struct Case {
    std::string text, host;
    uint16_t port;
    std::string base_path, authority, canonical;
  };
  for (const Case& c : {
           Case{"http://example.org", "example.org", 80, "", "example.org", "http://example.org"},
           Case{"http://example.org/", "example.org", 80, "", "example.org", "http://example.org"},
           Case{"http://example.org//", "example.org", 80, "", "example.org", "http://example.org"},
           Case{"HTTP://Example.ORG:80/Api/", "example.org", 80, "/Api", "example.org",
                "http://example.org/Api"},
           Case{"http://h:", "h", 80, "", "h", "http://h"},
           Case{"http://h:8080/a/b%20c", "h", 8080, "/a/b%20c", "h:8080", "http://h:8080/a/b%20c"},
           Case{"http://h:1", "h", 1, "", "h:1", "http://h:1"},
           Case{"http://h:65535", "h", 65535, "", "h:65535", "http://h:65535"},
           Case{"http://h:0080", "h", 80, "", "h", "http://h"},
           Case{"http://h//a", "h", 80, "//a", "h", "http://h//a"},
           Case{"http://h/@a:b", "h", 80, "/@a:b", "h", "http://h/@a:b"},
           Case{"http://127.0.0.1:80/", "127.0.0.1", 80, "", "127.0.0.1", "http://127.0.0.1"},
           Case{"http://[::1]", "::1", 80, "", "[::1]", "http://[::1]"},
           Case{"http://[2001:DB8::1]:8080/x", "2001:db8::1", 8080, "/x", "[2001:db8::1]:8080",
                "http://[2001:db8::1]:8080/x"},
           Case{"http://[::ffff:1.2.3.4]:80", "::ffff:1.2.3.4", 80, "", "[::ffff:1.2.3.4]",
                "http://[::ffff:1.2.3.4]"},
       }) {
    CAPTURE(c.text);
    const Result<Url> url = parse_url(c.text);
    REQUIRE(url.ok());
    CHECK(url.value().scheme == "http");
    CHECK(url.value().host == c.host);
    CHECK(url.value().port == c.port);
    CHECK(url.value().base_path == c.base_path);
    CHECK(url.value().authority() == c.authority);
    CHECK(url.value().canonical() == c.canonical);
  }
}

TEST_CASE("a canonical URL is its own canonical form") {
  for (const std::string& text :
       Strings{"HTTP://Example.ORG:80/Api//", "http://[2001:DB8::1]:8080/x/", "http://h:0081"}) {
    const std::string canonical = parse_url(text).value().canonical();
    CHECK(parse_url(canonical).value().canonical() == canonical);
  }
}

TEST_CASE("a URL with credentials is refused, and they are not repeated") {
  for (const std::string& text :
       Strings{"http://hunter2@h/", "http://user:hunter2@h/", "http://:hunter2@h/",
               "https://user:hunter2@h", "http://user:hunter2@h:99999/",
               "http://user:hunter2@[::1]/a?b#c", "http://user:hunter2@",
               "http://user:hunter2@h h/", "http://user:hunter2@h\n/", "http://us er:hunter2@h/",
               "user:hunter2@h", "ftp://user:hunter2@h", "http://user:hunter2@h:port/",
               "http://user:hunter2@[::1/", "http://user:hunter2@%/"}) {
    CHECK(refusal(text).find("hunter2") == std::string::npos);
  }
  CHECK(refusal("http://user:hunter2@h/").find("--bearer-file") != std::string::npos);
}

TEST_CASE("another scheme is refused") {
  for (const std::string& text :
       Strings{"https://h", "ftp://h", "file:///etc/passwd", "httpx://h", "s3://bucket"}) {
    CHECK(refusal(text).find("only http://") != std::string::npos);
  }
  for (const std::string& text :
       Strings{"h", "h:8080", "//h", "/a", "", "http", "localhost:8080/a"})
    refusal(text);
}

TEST_CASE("a URL without a usable host is refused") {
  for (const std::string& text :
       Strings{"http:", "http:/", "http://", "http:///", "http:///a", "http://:80", "http:a",
               "http:/a", "http://%00/", "http://a%2Fb/", "http://[::1", "http://::1/",
               "http://[::1%25eth0]/", "http://[nonsense]/"}) {
    refusal(text);
  }
}

TEST_CASE("an address literal of a future kind is refused or keeps its brackets") {
  const Result<Url> url = parse_url("http://[v1.abc]:8080/");
  if (url.ok()) CHECK(url.value().authority() == "[v1.abc]:8080");
}

TEST_CASE("a query or a fragment is refused") {
  for (const std::string& text :
       Strings{"http://h?", "http://h/?a=b", "http://h#", "http://h/a#b", "http://h/a?b#c"}) {
    CHECK(refusal(text).find("base URL") != std::string::npos);
  }
}

TEST_CASE("a port outside 1 to 65535 is refused") {
  for (const std::string& text :
       Strings{"http://h:0", "http://h:65536", "http://h:99999999999999999999", "http://h:-1",
               "http://h:+1", "http://h:8o", "http://h: 80", "http://h:80:80", "http://[::1]:0"}) {
    refusal(text);
  }
  CHECK(refusal("http://h:65536").find("1 to 65535") != std::string::npos);
}

TEST_CASE("bytes that could split a request are refused") {
  for (const std::string& bad :
       Strings{" ", "\r\n", "\n", "\t", "\0"s, "\x7F", "\"", "<", ">", "\\", "^", "`", "{", "|",
               "}", "\xC3\xA9", "%", "%4", "%zz"}) {
    refusal("http://h/a" + bad);
    refusal("http://h/" + bad + "/b");
    refusal("http://h" + bad + "/b");
    refusal(bad + "http://h/b");
  }
}

TEST_CASE("a refused URL is shown escaped") {
  CHECK(refusal("http://h/\x1B[2J").find('\x1B') == std::string::npos);
}

}  // namespace gigafetch::http
