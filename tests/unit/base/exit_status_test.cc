#include "base/exit_status.h"

#include <doctest/doctest.h>

namespace gigafetch {

TEST_CASE("the exit statuses are those that scripts know") {
  CHECK(static_cast<int>(ExitStatus::complete) == 0);
  CHECK(static_cast<int>(ExitStatus::fatal) == 1);
  CHECK(static_cast<int>(ExitStatus::usage) == 2);
  CHECK(static_cast<int>(ExitStatus::failures) == 3);
  CHECK(static_cast<int>(ExitStatus::interrupted) == 4);
}

TEST_CASE("only usage and interrupted errors have an exit status of their own") {
  for (const ErrorCode code :
       {ErrorCode::io, ErrorCode::not_found, ErrorCode::exists, ErrorCode::permission,
        ErrorCode::no_space, ErrorCode::no_resource, ErrorCode::busy, ErrorCode::unsafe,
        ErrorCode::malformed, ErrorCode::too_large, ErrorCode::origin}) {
    CAPTURE(static_cast<int>(code));
    CHECK(exit_status_of(code) == ExitStatus::fatal);
  }
  CHECK(exit_status_of(ErrorCode::usage) == ExitStatus::usage);
  CHECK(exit_status_of(ErrorCode::interrupted) == ExitStatus::interrupted);
}

}  // namespace gigafetch
