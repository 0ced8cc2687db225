#include "http/redirect.h"

#include <doctest/doctest.h>

namespace gigafetch::http {
namespace {

using Target = std::optional<std::string>;

Target lead(std::string_view url, std::string_view current, std::string_view location) {
  return redirect_target(parse_url(url).value(), current, location);
}

Target lead(std::string_view location) {
  return lead("http://files.example:8080/base", "/base/list?next-marker=a%2Fb", location);
}

TEST_CASE("a Location of the same origin gives its target") {
  CHECK(lead("http://files.example:8080/base/list/") == "/base/list/");
  CHECK(lead("http://files.example:8080/other?x=1") == "/other?x=1");
  CHECK(lead("HTTP://FILES.Example:8080/A%2fb") == "/A%2fb");
  CHECK(lead("http://files.example:8080") == "/");
  CHECK(lead("http://files.example:8080?x") == "/?x");
  CHECK(lead("http://files.example:8080//a//b/") == "//a//b/");
}

TEST_CASE("a relative Location is resolved against the target that was asked for") {
  CHECK(lead("/list/") == "/list/");
  CHECK(lead("/list/?next-marker=a%2Fb") == "/list/?next-marker=a%2Fb");
  CHECK(lead("list/") == "/base/list/");
  CHECK(lead("?next-marker=c") == "/base/list?next-marker=c");
  CHECK(lead("../x") == "/x");
  CHECK(lead("../../../x") == "/x");
  CHECK(lead("./") == "/base/");
  CHECK(lead("//files.example:8080/x") == "/x");
  CHECK(lead("http://h", "/get/a/b", "c") == "/get/a/c");
}

TEST_CASE("a fragment is dropped") {
  CHECK(lead("/list/#top") == "/list/");
  CHECK(lead("#top") == "/base/list?next-marker=a%2Fb");
}

TEST_CASE("bytes that should have been percent-encoded are") {
  CHECK(lead("/a b/{c}|\xC3\xA9") == "/a%20b/%7Bc%7D%7C%C3%A9");
}

TEST_CASE("a default port may stand there or not") {
  CHECK(lead("http://h", "/", "http://h:80/x") == "/x");
  CHECK(lead("http://h:80", "/", "http://h/x") == "/x");
  CHECK(lead("http://h:8080", "/", "http://h/x") == Target());
  CHECK(lead("http://h", "/", "http://h:8080/x") == Target());
}

TEST_CASE("an IPv6 host is compared without its brackets") {
  CHECK(lead("http://[::1]:81", "/", "http://[::1]:81/x") == "/x");
  CHECK(lead("http://[::1]:81", "/", "http://[::2]:81/x") == Target());
}

TEST_CASE("whatever leads elsewhere, or is no URL, is not followed") {
  for (const std::string_view location :
       {"", "http://elsewhere.example:8080/base/list/", "https://files.example:8080/base/list/",
        "http://files.example/base/list/", "http://files.example:8081/x", "//elsewhere.example/x",
        "ftp://files.example:8080/x", "http://me:secret@files.example:8080/x",
        "http://files.example.evil.example:8080/x", "http://files.example:8080@evil.example/x",
        "mailto:a@b", "/a\r\nX: y", "/a\\b", "http:///x", "/%zz"}) {
    CAPTURE(location);
    CHECK(lead(location) == Target());
  }
  CHECK(lead(std::string(20'000, '/')) == Target());
}

TEST_CASE("an https origin never leads to http") {
  Url origin = parse_url("http://h:443").value();
  origin.scheme = "https";
  CHECK(redirect_target(origin, "/", "https://h/x") == "/x");
  CHECK(redirect_target(origin, "/", "http://h:443/x") == Target());
}

TEST_CASE("some statuses are redirects, and some of them hold for good") {
  for (const int status : {301, 302, 303, 307, 308})
    CHECK(is_redirect(status));
  for (const int status : {200, 300, 304, 305, 306, 309, 400})
    CHECK_FALSE(is_redirect(status));
  CHECK(is_permanent_redirect(301));
  CHECK(is_permanent_redirect(308));
  CHECK_FALSE(is_permanent_redirect(302));
}

}  // namespace
}  // namespace gigafetch::http
