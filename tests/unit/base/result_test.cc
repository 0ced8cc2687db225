#include "base/result.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

namespace gigafetch {

TEST_CASE("an errno has the kind that decides what to do about it") {
  const auto all_are = [](std::initializer_list<int> numbers, ErrorCode code) {
    for (const int number : numbers) {
      CAPTURE(number);
      CHECK(code_of_errno(number) == code);
    }
  };
  all_are({ENOENT}, ErrorCode::not_found);
  all_are({EEXIST, ENOTEMPTY}, ErrorCode::exists);
  all_are({EACCES, EPERM, EROFS}, ErrorCode::permission);
  all_are({ENOSPC, EDQUOT}, ErrorCode::no_space);
  all_are({EMFILE, ENFILE, ENOMEM, ENOBUFS, EAGAIN, EADDRNOTAVAIL}, ErrorCode::no_resource);
  all_are({ELOOP, EXDEV}, ErrorCode::unsafe);
  all_are({ECONNREFUSED}, ErrorCode::refused);
  all_are({EIO, EBADF, 0, -1, 4'096}, ErrorCode::io);
}

TEST_CASE("the error of an errno says what failed and why") {
  const Error failed = errno_error(ENOSPC, "cannot write the ledger");
  CHECK(failed.code == ErrorCode::no_space);
  CHECK(failed.text == "cannot write the ledger: No space left on device");
}

TEST_CASE("a result holds its value or its error") {
  Result<std::string> good("value");
  CHECK(good.ok());
  CHECK(static_cast<bool>(good));
  CHECK(*good == "value");
  CHECK(good->size() == 5);
  Result<std::string> bad(error(ErrorCode::busy, "{} is busy", 7));
  CHECK_FALSE(bad.ok());
  CHECK(bad.failure().code == ErrorCode::busy);
  CHECK(bad.failure().text == "7 is busy");
  CHECK(std::move(bad).failure().text == "7 is busy");
}

TEST_CASE("a result gives away what can only be moved") {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(5));
  const std::unique_ptr<int> taken = std::move(result).value();
  CHECK(*taken == 5);
}

TEST_CASE("a result without a value is ok or an error") {
  const Result<void> good;
  CHECK(good.ok());
  const Result<void> bad(error(ErrorCode::io, "broken"));
  CHECK_FALSE(bad.ok());
  CHECK(bad.failure().text == "broken");
}

}  // namespace gigafetch
