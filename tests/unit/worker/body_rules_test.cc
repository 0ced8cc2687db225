#include "worker/body_rules.h"

#include <doctest/doctest.h>

#include <string>

using namespace gigafetch;
using namespace gigafetch::worker;

namespace {

http::ResponseHead head_of(std::string_view coding) {
  http::ResponseHead head;
  head.status = 200;
  head.content_encoding = coding;
  head.has_length = true;
  return head;
}

bool takes(ContentEncoding choice, std::string_view coding) {
  const auto refused = BodyRules{.content_encoding = choice}.refuses(head_of(coding));
  if (refused) CHECK(refused->cause == FailureClass::content_encoding);
  return !refused;
}

}  // namespace

TEST_CASE("a coding is refused, kept or undone as was asked for") {
  for (const ContentEncoding choice :
       {ContentEncoding::refuse, ContentEncoding::keep, ContentEncoding::decode}) {
    CHECK(content_encoding_of(name_of(choice)) == choice);
    CHECK(takes(choice, ""));
    CHECK(takes(choice, "Identity"));
  }
  for (const char* known : {"gzip", "x-gzip", "BR", "zstd", "deflate", "gzip, br"}) {
    CHECK_FALSE(takes(ContentEncoding::refuse, known));
    CHECK(takes(ContentEncoding::keep, known));
    CHECK(takes(ContentEncoding::decode, known));
  }
  for (const char* unknown : {"compress", "gzip, aws-chunked", "gzip,gzip,gzip,gzip"}) {
    CHECK_FALSE(takes(ContentEncoding::refuse, unknown));
    CHECK(takes(ContentEncoding::keep, unknown));
    CHECK_FALSE(takes(ContentEncoding::decode, unknown));
  }
  CHECK_FALSE(takes(ContentEncoding::keep, std::string(1000, 'x')));
  CHECK(content_encoding_of("other") == std::nullopt);
}

TEST_CASE("a body without a length or chunks is refused unless that is allowed") {
  http::ResponseHead head;
  head.status = 200;
  head.until_end = true;
  const auto refused = BodyRules{}.refuses(head);
  REQUIRE(refused.has_value());
  CHECK(refused->cause == FailureClass::bad_framing);
  CHECK(refused->status == 200);
  CHECK_FALSE(BodyRules{.allow_unframed = true}.refuses(head).has_value());
}
