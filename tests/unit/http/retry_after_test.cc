#include "http/retry_after.h"

#include <doctest/doctest.h>

#include <string>

using namespace gigafetch;
using gigafetch::http::parse_retry_after;

namespace {

constexpr std::time_t kExample = 784'111'777;     // Sun, 06 Nov 1994 08:49:37 GMT
constexpr std::time_t kIn2026 = 1'790'000'000;    // 2026-09-21
constexpr std::time_t kLeapDay = 1'709'164'800;   // Thu, 29 Feb 2024 00:00:00 GMT
constexpr std::time_t kYear2100 = 4'102'444'800;  // Fri, 01 Jan 2100 00:00:00 GMT

std::optional<int64_t> wait(std::string_view value, std::time_t now = kExample) {
  const std::optional<Millis> parsed = parse_retry_after(value, now);
  if (!parsed) return std::nullopt;
  return parsed->count();
}

}  // namespace

TEST_CASE("seconds, cut to five minutes") {
  CHECK(wait("0") == 0);
  CHECK(wait("1") == 1000);
  CHECK(wait("007") == 7000);
  CHECK(wait(" 120\t") == 120'000);
  CHECK(wait("300") == 300'000);
  CHECK(wait("301") == 300'000);
  CHECK(wait("9223372036854775807") == 300'000);
  CHECK(wait("99999999999999999999999999") == 300'000);
}

TEST_CASE("the three forms of a date are the same date") {
  for (const char* date : {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                           "Sun Nov  6 08:49:37 1994", "  Sun, 06 Nov 1994 08:49:37 GMT "}) {
    CAPTURE(std::string(date));
    CHECK(wait(date, kExample) == 0);
    CHECK(wait(date, kExample - 10) == 10'000);
    CHECK(wait(date, kExample - 300) == 300'000);
    CHECK(wait(date, kExample - 86'400) == 300'000);
    CHECK(wait(date, kExample + 1) == 0);
  }
}

TEST_CASE("a date in the past gives no wait, however far") {
  CHECK(wait("Thu, 01 Jan 1970 00:00:00 GMT") == 0);
  CHECK(wait("Mon, 01 Jan 0001 00:00:00 GMT") == 0);
  CHECK(wait("Fri, 31 Dec 9999 23:59:59 GMT") == 300'000);
}

TEST_CASE("every month, leap days, leap seconds") {
  constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  constexpr int kBefore[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  constexpr std::time_t kNewYear = 1'767'225'600;  // 2026
  for (int month = 0; month < 12; ++month) {
    const std::string date = std::string("Sun, 01 ") + kMonths[month] + " 2026 00:00:09 GMT";
    CAPTURE(date);
    CHECK(wait(date, kNewYear + kBefore[month] * 86'400) == 9000);
  }
  CHECK(wait("Thu, 29 Feb 2024 00:00:05 GMT", kLeapDay) == 5000);
  CHECK(wait("Thu Feb 29 00:00:05 2024", kLeapDay) == 5000);
  CHECK_FALSE(wait("Wed, 29 Feb 2023 00:00:05 GMT", kLeapDay));
  CHECK(wait("Wed, 28 Feb 2024 23:59:60 GMT", kLeapDay) == 0);
  CHECK_FALSE(wait("Wed, 28 Feb 2024 23:59:61 GMT", kLeapDay));
}

TEST_CASE("a year of two digits is at most 50 years ahead") {
  CHECK(wait("Monday, 21-Sep-26 23:59:59 GMT", kIn2026) == 300'000);
  CHECK(wait("Monday, 21-Sep-76 00:00:00 GMT", kIn2026) == 300'000);
  CHECK(wait("Monday, 21-Sep-77 00:00:00 GMT", kIn2026) == 0);
  CHECK(wait("Monday, 21-Sep-99 00:00:00 GMT", kIn2026) == 0);
  CHECK(wait("Friday, 01-Jan-00 00:00:07 GMT", kYear2100 - 3) == 10'000);
}

TEST_CASE("a wrong day of the week does not matter") {
  CHECK(wait("Mon, 06 Nov 1994 08:49:47 GMT") == 10'000);
}

TEST_CASE("what is neither says nothing") {
  for (const char* value : {"",
                            " ",
                            "-1",
                            "+1",
                            "1.5",
                            "1s",
                            "0x10",
                            "1 2",
                            "soon",
                            "1e3",
                            "1,2",
                            "Sun, 06 Nov 1994 08:49:37",
                            "Sun, 06 Nov 1994 08:49:37 UTC",
                            "Sun, 06 Nov 1994 08:49:37 +0000",
                            "Sun, 6 Nov 1994 08:49:37 GMT",
                            "Sun, 06 nov 1994 08:49:37 GMT",
                            "Sun 06 Nov 1994 08:49:37 GMT",
                            "Sun, 06 Nov 94 08:49:37 GMT",
                            "Sun, 00 Nov 1994 08:49:37 GMT",
                            "Sun, 31 Nov 1994 08:49:37 GMT",
                            "Sun, 06 Nov 1994 24:00:00 GMT",
                            "Sun, 06 Nov 1994 08:60:37 GMT",
                            "Sun, 06 Nov 1994 08:49:37 GMT x",
                            "Sun, 06 Nov 1994  8:49:37 GMT",
                            "Sun, -6 Nov 1994 08:49:37 GMT",
                            "Sun, 06-Nov-94 08:49:37 GMT",
                            "Sunday, 06-Nov-1994 08:49:37 GMT",
                            "Sun Nov 6 08:49:37 1994",
                            "Sun Nov  6 08:49:37 1994 GMT",
                            "Sun Nov   6 08:49:37 1994",
                            "1994-11-06T08:49:37Z",
                            "Sun, 06 Nov 1994 08:49:3",
                            "S",
                            "Sun"}) {
    CAPTURE(std::string(value));
    CHECK_FALSE(wait(value));
  }
}

TEST_CASE("every beginning of a date says nothing") {
  for (const std::string date : {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                 "Sun Nov  6 08:49:37 1994"}) {
    for (size_t length = 0; length < date.size(); ++length)
      CHECK_FALSE(wait(date.substr(0, length)));
  }
}
