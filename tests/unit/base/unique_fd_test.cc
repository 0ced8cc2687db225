#include "base/unique_fd.h"

#include <doctest/doctest.h>
#include <fcntl.h>

namespace gigafetch {
namespace {

int open_one() {
  const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  return fd;
}

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

}  // namespace

TEST_CASE("a descriptor is closed with its owner") {
  const int fd = open_one();
  {
    const UniqueFd owner(fd);
    CHECK(owner);
    CHECK(owner.get() == fd);
    CHECK(is_open(fd));
  }
  CHECK_FALSE(is_open(fd));
}

TEST_CASE("a moved descriptor has its new owner only") {
  const int fd = open_one();
  UniqueFd first(fd);
  UniqueFd second(std::move(first));
  CHECK_FALSE(first);
  CHECK(second.get() == fd);
  const int replaced = open_one();
  UniqueFd third(replaced);
  third = std::move(second);
  CHECK_FALSE(is_open(replaced));
  CHECK(third.get() == fd);
  UniqueFd& itself = third;
  third = std::move(itself);
  CHECK(third.get() == fd);
  CHECK(is_open(fd));
}

TEST_CASE("a released descriptor stays open, a reset one does not") {
  const int fd = open_one();
  UniqueFd owner(fd);
  CHECK(owner.release() == fd);
  CHECK_FALSE(owner);
  CHECK(is_open(fd));
  owner.reset(fd);
  owner.reset();
  CHECK_FALSE(is_open(fd));
  CHECK_FALSE(owner);
}

TEST_CASE("descriptor 0 counts as open") {
  UniqueFd owner(0);
  CHECK(owner);
  owner.release();
  CHECK_FALSE(UniqueFd());
}

}  // namespace gigafetch
