#include "base/failure.h"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>

namespace gigafetch {

TEST_CASE("the failure classes have the wire values and names that are promised") {
  const std::map<int, std::string> promised = {
      {1, "bad-name"},     {2, "name-too-long"},     {16, "http-status"},
      {17, "redirect"},    {18, "content-encoding"}, {19, "too-large"},
      {20, "bad-framing"}, {21, "truncated"},        {22, "reset"},
      {23, "stalled"},     {26, "bad-coding"},       {32, "name-conflict"},
      {33, "unsafe-path"}, {34, "store-error"},      {48, "missing"},
      {49, "different"},
  };
  std::map<int, std::string> found;
  for (int value = 0; value < 256; ++value) {
    const auto failure = failure_class_of(static_cast<uint8_t>(value));
    if (!failure) continue;
    CHECK(static_cast<int>(*failure) == value);
    found.emplace(value, name_of(*failure));
  }
  CHECK(found == promised);
}

TEST_CASE("a value that is no failure class is called unknown") {
  CHECK(name_of(static_cast<FailureClass>(0)) == "unknown");
  CHECK(name_of(static_cast<FailureClass>(255)) == "unknown");
}

TEST_CASE("only what the name policy refuses counts as rejected") {
  std::set<std::string> rejections;
  for (int value = 0; value < 256; ++value) {
    const auto failure = failure_class_of(static_cast<uint8_t>(value));
    if (failure && is_rejection(*failure)) rejections.emplace(name_of(*failure));
  }
  CHECK(rejections == std::set<std::string>{"bad-name", "name-too-long"});
}

TEST_CASE("a failure is passing when the same request may do better, and a decision is not") {
  std::set<std::string> passing;
  for (int value = 0; value < 256; ++value) {
    const auto cause = failure_class_of(static_cast<uint8_t>(value));
    if (cause && is_passing(FileFailure{*cause, 404, 1, ""})) passing.emplace(name_of(*cause));
  }
  CHECK(passing == std::set<std::string>{"bad-framing", "truncated", "reset", "stalled",
                                         "bad-coding", "store-error"});
}

TEST_CASE("an answer's status says whether it is passing, in failures and before") {
  const std::set<int> passing = {408, 425, 429};
  for (int status = 100; status < 600; ++status) {
    const bool expected =
        passing.contains(status) || (status >= 500 && status != 501 && status != 505);
    CAPTURE(status);
    CHECK(is_passing_status(status) == expected);
    const auto answered = static_cast<uint16_t>(status);
    CHECK(is_passing(FileFailure{FailureClass::http_status, answered, 1, ""}) == expected);
    CHECK_FALSE(is_passing(FileFailure{FailureClass::too_large, answered, 1, ""}));
  }
}

}  // namespace gigafetch
