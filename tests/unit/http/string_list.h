// Lists of strings, shown escaped where an assertion fails.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "base/escape.h"

namespace gigafetch::http {
using Strings = std::vector<std::string>;
}  // namespace gigafetch::http

namespace doctest {
template <>
struct StringMaker<gigafetch::http::Strings> {
  static String convert(const gigafetch::http::Strings& strings) {
    std::string text;
    for (const std::string& one : strings) {
      text += (text.empty() ? "" : " | ") + gigafetch::printable(one, 300);
    }
    return text.c_str();
  }
};
}  // namespace doctest
