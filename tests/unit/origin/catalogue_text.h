// What a catalogue appends, as strings.
#pragma once

#include <string>
#include <string_view>

#include "origin/catalogue.h"

namespace gigafetch::testing {

inline std::string name_of(const origin::Catalogue& catalogue, uint64_t index) {
  std::string name;
  catalogue.append_name(name, index);
  return name;
}
inline std::string body_of(const origin::Catalogue& catalogue, std::string_view name) {
  std::string body;
  catalogue.append_body(body, name, catalogue.size());
  return body;
}

}  // namespace gigafetch::testing
