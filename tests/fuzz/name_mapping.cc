// Names and paths: in every layout a name's path is safe to open below the output folder and leads
// back to the name; a path that belongs to a name is that name's.
//
// Input: a name, and at the same time a path.
#include <string>

#include "input.h"
#include "store/layout.h"

using namespace gigafetch;
using namespace gigafetch::store;
using fuzz::require;

namespace {

void check_component(std::string_view component) {
  require(!component.empty(), "no component is empty");
  require(component != "." && component != "..", "no component is a dot or two");
  require(component.size() <= kMaxComponentBytes, "no component is over 255 bytes");
  require(component != kStateFolderName, "no component is the state folder");
}

void check_path(Layout layout, std::string_view path) {
  require(!path.empty() && path.front() != '/', "a path is relative");
  require(path.size() <= kMaxPathBytes, "a path is not over 4095 bytes");
  for (const char c : path)
    require(static_cast<uint8_t>(c) >= 0x20 && c != 0x7F, "a path holds no control bytes");
  require(layout != Layout::flat || path.find('/') == path.npos, "flat has no folders");
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    // Below the first component the state folder's name is as good as any.
    const std::string_view component = path.substr(begin, end - begin);
    if (begin == 0 || component != kStateFolderName) check_component(component);
    begin = end + 1;
  }
}

void check_name(Layout layout, std::string_view name) {
  std::string path;
  const bool bad = name.empty() || name.find('\0') != name.npos;
  if (const auto refusal = path_of_name(layout, name, path)) {
    require(*refusal == (bad ? FailureClass::bad_name : FailureClass::name_too_long),
            "a refusal is for the one reason that there is");
    return;
  }
  require(!bad, "an empty name, or one with a NUL, is refused");
  check_path(layout, path);
  require(name_of_path(layout, path) == name, "a path leads back to its name");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const Layout layout : {Layout::tree, Layout::flat, Layout::fanout}) {
    check_name(layout, bytes);
    if (const auto name = name_of_path(layout, bytes)) {
      std::string path;
      require(!path_of_name(layout, *name, path) && path == bytes, "a name has one path");
      check_path(layout, bytes);
    }
  }
  return 0;
}
