#include "http/retry_after.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>

#include "http/text.h"

namespace gigafetch::http {
namespace {

using std::chrono::sys_days;
using std::chrono::year_month_day;

constexpr std::array<std::string_view, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<std::string_view, 7> kLongDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                       "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

// Reads a date from left to right. Once something did not fit, nothing does.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}

  bool literal(std::string_view text) {
    if (!rest_.starts_with(text)) return fail();
    rest_.remove_prefix(text.size());
    return true;
  }
  // Exactly so many digits.
  bool digits(size_t count, int& value) {
    if (rest_.size() < count) return fail();
    value = 0;
    for (const char c : rest_.substr(0, count)) {
      if (c < '0' || c > '9') return fail();
      value = value * 10 + (c - '0');
    }
    rest_.remove_prefix(count);
    return true;
  }
  // asctime's day of the month, whose first digit may be a space.
  bool padded_day(int& value) {
    return rest_.starts_with(' ') ? literal(" ") && digits(1, value) : digits(2, value);
  }
  // One of `names`; its place among them, counted from 1.
  template <size_t count>
  bool name(const std::array<std::string_view, count>& names, int& number) {
    const auto found = std::find_if(names.begin(), names.end(),
                                    [&](std::string_view name) { return rest_.starts_with(name); });
    if (found == names.end()) return fail();
    number = static_cast<int>(found - names.begin()) + 1;
    return literal(*found);
  }
  bool at_end() const { return rest_.empty(); }

 private:
  bool fail() {
    rest_ = {};
    return false;
  }
  std::string_view rest_;
};

struct Date {
  int weekday = 0, day = 0, month = 0, year = 0, hour = 0, minute = 0, second = 0;
};

bool read_time(Cursor& in, Date& date) {
  return in.digits(2, date.hour) && in.literal(":") && in.digits(2, date.minute) &&
         in.literal(":") && in.digits(2, date.second);
}

// Sun, 06 Nov 1994 08:49:37 GMT
bool read_imf_fixdate(Cursor in, Date& date) {
  return in.name(kDays, date.weekday) && in.literal(", ") && in.digits(2, date.day) &&
         in.literal(" ") && in.name(kMonths, date.month) && in.literal(" ") &&
         in.digits(4, date.year) && in.literal(" ") && read_time(in, date) && in.literal(" GMT") &&
         in.at_end();
}

int year_of(std::time_t time) {
  const std::chrono::sys_seconds point{std::chrono::seconds(time)};
  return static_cast<int>(year_month_day(std::chrono::floor<std::chrono::days>(point)).year());
}

// Sunday, 06-Nov-94 08:49:37 GMT
bool read_rfc850(Cursor in, std::time_t now, Date& date) {
  const bool read = in.name(kLongDays, date.weekday) && in.literal(", ") &&
                    in.digits(2, date.day) && in.literal("-") && in.name(kMonths, date.month) &&
                    in.literal("-") && in.digits(2, date.year) && in.literal(" ") &&
                    read_time(in, date) && in.literal(" GMT") && in.at_end();
  // Two digits that would be more than 50 years ahead are of the past (RFC 9110 section 5.6.7).
  const int this_year = year_of(now);
  date.year += this_year - this_year % 100;
  if (date.year > this_year + 50) date.year -= 100;
  if (date.year < this_year - 49) date.year += 100;
  return read;
}

// Sun Nov  6 08:49:37 1994
bool read_asctime(Cursor in, Date& date) {
  return in.name(kDays, date.weekday) && in.literal(" ") && in.name(kMonths, date.month) &&
         in.literal(" ") && in.padded_day(date.day) && in.literal(" ") && read_time(in, date) &&
         in.literal(" ") && in.digits(4, date.year) && in.at_end();
}

// The day of the week is not compared: a server that has it wrong still means the date.
std::optional<int64_t> seconds_since_1970(const Date& date) {
  const year_month_day day{std::chrono::year(date.year),
                           std::chrono::month(static_cast<unsigned>(date.month)),
                           std::chrono::day(static_cast<unsigned>(date.day))};
  // 60 is a leap second.
  if (!day.ok() || date.hour > 23 || date.minute > 59 || date.second > 60) return std::nullopt;
  const int64_t midnight = std::chrono::sys_seconds(sys_days(day)).time_since_epoch().count();
  return midnight + (date.hour * 60 + date.minute) * 60 + date.second;
}

std::optional<int64_t> parse_date(std::string_view value, std::time_t now) {
  Date date;
  if (read_imf_fixdate(Cursor(value), date) || read_rfc850(Cursor(value), now, date) ||
      read_asctime(Cursor(value), date)) {
    return seconds_since_1970(date);
  }
  return std::nullopt;
}

Millis cut(int64_t seconds) {
  constexpr int64_t kLongest = kLongestRetryAfter / std::chrono::seconds(1);
  return Millis(std::clamp<int64_t>(seconds, 0, kLongest) * 1000);
}

}  // namespace

std::optional<Millis> parse_retry_after(std::string_view value, std::time_t now) {
  value = trim(value);
  const bool digits =
      !value.empty() && value.find_first_not_of("0123456789") == std::string_view::npos;
  if (digits) {
    int64_t seconds = 0;
    const auto read = std::from_chars(value.data(), value.data() + value.size(), seconds);
    return read.ec == std::errc() ? cut(seconds) : kLongestRetryAfter;  // or more than 64 bits
  }
  const std::optional<int64_t> date = parse_date(value, now);
  if (!date) return std::nullopt;
  return cut(*date - now);
}

}  // namespace gigafetch::http
