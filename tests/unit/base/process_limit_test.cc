#include "base/process_limit.h"

#include <doctest/doctest.h>

#include <cctype>
#include <cerrno>

namespace gigafetch {

TEST_CASE("a process that cannot be made for a limit is told with the limit") {
  const Error failure = process_error(EAGAIN, "cannot fork worker 3");
  CHECK(failure.code == ErrorCode::no_resource);
  const std::string begin =
      "cannot fork worker 3: Resource temporarily unavailable; the limit on processes and threads "
      "is ";
  REQUIRE(failure.text.starts_with(begin));
  CHECK(std::isdigit(failure.text[begin.size()]) != 0);
  CHECK(failure.text.ends_with("): raise it, or use fewer --workers"));
}

TEST_CASE("one that cannot be made for another reason is told with that") {
  CHECK(process_error(ENOMEM, "cannot fork worker 3").text ==
        "cannot fork worker 3: Cannot allocate memory");
}

}  // namespace gigafetch
