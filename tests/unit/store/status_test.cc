#include "store/status.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <initializer_list>
#include <string>

namespace gigafetch::store {
namespace {

using Kind = StoreStatus::Kind;

void check_all(std::initializer_list<int> numbers, Kind kind, FailureClass cause) {
  for (const int number : numbers) {
    CAPTURE(number);
    const StoreStatus status = StoreStatus::of_errno(number, "write", "a/b");
    CHECK_FALSE(status.ok());
    CHECK(status.kind() == kind);
    CHECK(status.cause() == cause);
    CHECK(status.text().find("'a/b'") != std::string::npos);
  }
}

}  // namespace

TEST_CASE("a status is ok unless something is wrong") {
  CHECK(StoreStatus().ok());
  const StoreStatus failed = StoreStatus::file(FailureClass::different, "text");
  CHECK_FALSE(failed.ok());
  CHECK(failed.kind() == Kind::file);
  CHECK(failed.cause() == FailureClass::different);
  CHECK(failed.text() == "text");
}

TEST_CASE("a disk that is full or fails stops the run") {
  check_all({ENOSPC, EDQUOT, EROFS, EIO}, Kind::run, FailureClass::store_error);
}

TEST_CASE("a lack that passes asks for another try") {
  check_all({EMFILE, ENFILE, ENOMEM, EAGAIN}, Kind::busy, FailureClass::store_error);
}

TEST_CASE("what concerns one file names its class") {
  check_all({ENOENT}, Kind::file, FailureClass::missing);
  check_all({ENOTDIR, EISDIR}, Kind::file, FailureClass::name_conflict);
  check_all({ELOOP, EXDEV}, Kind::file, FailureClass::unsafe_path);
  check_all({ENAMETOOLONG}, Kind::file, FailureClass::name_too_long);
  check_all({EACCES, EPERM, EFBIG, EINVAL, ETXTBSY}, Kind::file, FailureClass::store_error);
}

TEST_CASE("a path is shown escaped") {
  for (const int number : {ENOENT, EISDIR, ELOOP, ENOSPC, EMFILE, EACCES}) {
    const std::string text = StoreStatus::of_errno(number, "write", "a\x1B[2J\n").text();
    CHECK(text.find("a\\x1b[2J\\x0a") != std::string::npos);
    CHECK(text.find('\x1B') == std::string::npos);
  }
}

}  // namespace gigafetch::store
