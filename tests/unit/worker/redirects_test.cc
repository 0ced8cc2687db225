#include "worker/redirects.h"

#include <doctest/doctest.h>

#include "worker/batch_of.h"

using namespace gigafetch;
using namespace gigafetch::worker;
using namespace gigafetch::testing;

namespace {

const http::Url kOrigin{"http", "h", 80, ""};

}  // namespace

// The names of a billion files go through it.
static_assert(sizeof(Task) == 24);

TEST_CASE("a task is led on from where it was, and from its name again when it begins anew") {
  Redirects redirects(kOrigin);
  const auto batch = batch_of({"a"});
  Task task{batch.get(), 0};
  CHECK_FALSE(task.is_redirected());
  REQUIRE(redirects.follow(task, "/get/a", "../store/1?x=y#part"));
  REQUIRE(task.is_redirected());
  CHECK(redirects.target(task) == "/store/1?x=y");
  REQUIRE(redirects.follow(task, redirects.target(task), "http://h:80/2"));
  CHECK(redirects.target(task) == "/2");
  CHECK(redirects.size() == 1);
  redirects.forget(task);
  CHECK(redirects.size() == 0);
}

TEST_CASE("what leads out of the origin is not followed, and changes nothing") {
  Redirects redirects(kOrigin);
  const auto batch = batch_of({"a"});
  Task task{batch.get(), 0};
  for (const char* location : {"http://other/1", "https://h/1", "http://h:81/1", "//other/1", ""}) {
    CHECK_FALSE(redirects.follow(task, "/get/a", location));
    CHECK_FALSE(task.is_redirected());
  }
  REQUIRE(redirects.follow(task, "/get/a", "/1"));
  CHECK_FALSE(redirects.follow(task, "/1", "http://other/1"));
  CHECK(redirects.target(task) == "/1");
}

TEST_CASE("a task is led on five times, and no further") {
  Redirects redirects(kOrigin);
  const auto batch = batch_of({"a"});
  Task task{batch.get(), 0};
  for (int i = 0; i < 5; ++i)
    CHECK(redirects.follow(task, "/get/a", "/get/a"));
  CHECK_FALSE(redirects.follow(task, "/get/a", "/get/a"));
}

TEST_CASE("places are used again") {
  Redirects redirects(kOrigin);
  const auto batch = batch_of({"a", "b", "c"});
  Task a{batch.get(), 0}, b{batch.get(), 1}, c{batch.get(), 2};
  REQUIRE(redirects.follow(a, "/get/a", "/1"));
  REQUIRE(redirects.follow(b, "/get/b", "/2"));
  redirects.forget(a);
  redirects.forget(c);
  REQUIRE(redirects.follow(c, "/get/c", "/3"));
  CHECK(c.redirect == a.redirect);
  CHECK(redirects.target(b) == "/2");
  CHECK(redirects.target(c) == "/3");
  for (int i = 0; i < 4; ++i)
    CHECK(redirects.follow(c, "/3", "/3"));
  CHECK(redirects.size() == 2);
}
