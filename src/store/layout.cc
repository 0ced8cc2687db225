#include "store/layout.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "base/byte_set.h"
#include "base/escape.h"
#include "base/percent.h"

namespace gigafetch::store {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";
constexpr char kContinued = '~';     // ends a folder of a fanout path: the name goes on inside
constexpr size_t kFanoutPrefix = 6;  // "hh/hh/"

// ASCII that always stands for itself inside a component.
constexpr ByteSet plain_bytes() {
  ByteSet table{};
  for (size_t c = 0x20; c < 0x7F; ++c)
    table[c] = c != '/' && c != '%';
  return table;
}
constexpr ByteSet kPlain = plain_bytes();

// A name that is its own path, both as a tree's and as a flat folder's: most are. One pass says so.
bool is_own_path(std::string_view name) {
  return !name.empty() && name.front() != '.' && leading_run(name, kPlain) == name.size();
}

// Appends one component whose bytes are encoded, but which as a whole may be one that is not a
// name.
void append_encoded_component(std::string& path, std::string_view component) {
  if (component != "." && component != "..") {
    path.append(component);
    return;
  }
  for (const char dot : component)
    append_percent_byte(path, dot);
}

// Appends one component. '/' in it is encoded.
void append_component(std::string& path, std::string_view component) {
  if (component == "." || component == "..") return append_encoded_component(path, component);
  while (!component.empty()) {
    const size_t plain = leading_run(component, kPlain);
    path.append(component.substr(0, plain));
    component.remove_prefix(plain);
    if (component.empty()) break;
    const bool literal_percent = component[0] == '%' && !starts_with_escape(component);
    const bool ascii = static_cast<uint8_t>(component[0]) < 0x80;
    const size_t literal = literal_percent ? 1 : ascii ? 0 : utf8_sequence_length(component);
    if (literal == 0) append_percent_byte(path, component[0]);
    path.append(component.substr(0, literal));
    component.remove_prefix(std::max<size_t>(literal, 1));
  }
}

// As append_component, for the first component of a layout that shares its folder with the state.
void append_first_component(std::string& path, std::string_view component) {
  if (component != kStateFolderName) return append_component(path, component);
  append_percent_byte(path, component.front());
  path.append(component.substr(1));
}

// A slash separates only where a non-empty component stands on both of its sides; any other is
// part of the component behind it (or before it, at the end of the name).
std::optional<FailureClass> tree_path(std::string_view name, std::string& path, size_t longest) {
  size_t begin = 0;
  while (begin < name.size()) {
    size_t end = begin;
    while ((end = std::min(name.find('/', end), name.size())) < name.size()) {
      // Slashes at the component's front do not make it non-empty.
      const std::string_view before = name.substr(begin, end - begin);
      if (end + 1 < name.size() && before.find_first_not_of('/') != name.npos) break;
      ++end;
    }
    const size_t component_begin = path.size();
    const std::string_view component = name.substr(begin, end - begin);
    if (begin == 0) {
      append_first_component(path, component);
    } else {
      append_component(path, component);
    }
    if (path.size() - component_begin > longest) return FailureClass::name_too_long;
    if (end < name.size()) path += '/';
    begin = end + 1;
  }
  return std::nullopt;
}

void append_fanout_prefix(std::string& path, std::string_view name) {
  const uint64_t hash = XXH3_64bits(name.data(), name.size());
  for (const unsigned shift : {8u, 0u}) {
    path += kHexDigits[hash >> (shift + 4) & 15];
    path += kHexDigits[hash >> shift & 15];
    path += '/';
  }
}

// Where to cut a piece of at most `limit` bytes off `encoded`, so that neither an escape nor a
// UTF-8 sequence is split.
size_t cut_position(std::string_view encoded, size_t limit) {
  size_t cut = limit;
  while (cut > 1 && (static_cast<uint8_t>(encoded[cut]) & 0xC0) == 0x80)
    --cut;
  for (size_t back = 1; back <= 2 && back < cut; ++back) {
    if (starts_with_escape(encoded.substr(cut - back))) return cut - back;
  }
  return cut;
}

void fanout_path(std::string_view name, std::string& path) {
  append_fanout_prefix(path, name);
  std::string encoded;
  append_component(encoded, name);
  if (encoded.back() == kContinued) {  // a file must not look like a folder that goes on
    encoded.pop_back();
    append_percent_byte(encoded, kContinued);
  }
  std::string_view rest = encoded;
  while (rest.size() > kMaxComponentBytes) {
    const size_t cut = cut_position(rest, kMaxComponentBytes - 1);
    path.append(rest.substr(0, cut));
    path += kContinued;
    path += '/';
    rest.remove_prefix(cut);
  }
  append_encoded_component(path, rest);
}

// Undoes fanout_path, as far as the path has its shape.
std::optional<std::string> fanout_name(std::string_view path) {
  if (path.size() <= kFanoutPrefix) return std::nullopt;
  path.remove_prefix(kFanoutPrefix);
  std::string encoded;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    if (slash == path.npos) {
      encoded.append(path);
      break;
    }
    if (slash == 0 || path[slash - 1] != kContinued) return std::nullopt;
    encoded.append(path.substr(0, slash - 1));
    path.remove_prefix(slash + 1);
  }
  std::string name;
  append_percent_decoded(name, encoded);
  return name;
}

}  // namespace

std::string_view name_of(Layout layout) {
  switch (layout) {
    case Layout::tree:
      return "tree";
    case Layout::flat:
      return "flat";
    case Layout::fanout:
      return "fanout";
  }
  return "unknown";
}

std::optional<Layout> layout_of(std::string_view name) {
  for (const Layout layout : {Layout::tree, Layout::flat, Layout::fanout}) {
    if (name == name_of(layout)) return layout;
  }
  return std::nullopt;
}

std::optional<FailureClass> path_of_name(Layout layout, std::string_view name, std::string& path,
                                         PathLimits limits) {
  const bool limited = limits == PathLimits::file_system;
  const size_t longest = limited ? kMaxComponentBytes : SIZE_MAX;
  if (layout != Layout::fanout && name.size() <= longest && is_own_path(name)) {
    path.assign(name);
    return std::nullopt;
  }
  path.clear();
  if (name.empty() || name.find('\0') != name.npos) return FailureClass::bad_name;
  switch (layout) {
    case Layout::tree:
      if (const auto refused = tree_path(name, path, longest)) return refused;
      break;
    case Layout::flat:
      append_first_component(path, name);
      if (path.size() > longest) return FailureClass::name_too_long;
      break;
    case Layout::fanout:
      fanout_path(name, path);
      break;
  }
  if (limited && path.size() > kMaxPathBytes) return FailureClass::name_too_long;
  return std::nullopt;
}

std::string_view refusal_text(Layout layout, FailureClass refusal) {
  if (refusal == FailureClass::bad_name) {
    return "an empty name, or one with a NUL, cannot be a file";
  }
  if (layout == Layout::fanout)
    return "the path would be over 4095 bytes; a tar sink would take it";
  return "a part of the name is over 255 bytes on disk; --layout fanout or a tar sink would take "
         "it";
}

std::optional<std::string> name_of_path(Layout layout, std::string_view path, PathLimits limits) {
  std::optional<std::string> name;
  if (layout == Layout::fanout) {
    name = fanout_name(path);
  } else {
    name.emplace();
    append_percent_decoded(*name, path);
  }
  // Only the one spelling that path_of_name makes belongs to a name.
  std::string again;
  if (!name || path_of_name(layout, *name, again, limits) || again != path) return std::nullopt;
  return name;
}

}  // namespace gigafetch::store
