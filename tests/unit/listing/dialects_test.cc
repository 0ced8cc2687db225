#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "listing/dialect.h"

namespace gigafetch::listing {

TEST_CASE("the marker dialect is made by its name, for a service anywhere") {
  Result<std::unique_ptr<Dialect>> dialect = make_dialect("marker", "/base/path");
  REQUIRE(dialect.ok());
  std::string list, file;
  dialect.value()->append_list_target(list, "m");
  dialect.value()->append_file_target(file, "a/b");
  CHECK(list == "/base/path/list?next-marker=m");
  CHECK(file == "/base/path/get/a/b");
}

TEST_CASE("an unknown dialect is refused as usage, escaped, with those that there are") {
  for (const std::string name : {"", "Marker", "s3", "\x1B[2J"}) {
    const Result<std::unique_ptr<Dialect>> dialect = make_dialect(name, "");
    REQUIRE_FALSE(dialect.ok());
    CHECK(dialect.failure().code == ErrorCode::usage);
    CHECK(dialect.failure().text.find("marker") != std::string::npos);
    CHECK(dialect.failure().text.find('\x1B') == std::string::npos);
  }
}

}  // namespace gigafetch::listing
