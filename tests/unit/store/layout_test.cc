#include "store/layout.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <cstdlib>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/escape.h"
#include "base/random.h"

namespace gigafetch::store {
namespace {

using namespace std::string_literals;

constexpr Layout kLayouts[] = {Layout::tree, Layout::flat, Layout::fanout};

#ifdef __SANITIZE_ADDRESS__
constexpr int kRandomNames = 200'000;
constexpr size_t kExhaustiveLength = 4;
#else
// script/fault-suite has the time for more.
const bool kLong = std::getenv("GIGAFETCH_FAULT_LONG") != nullptr;
const int kRandomNames = kLong ? 10'000'000 : 1'500'000;
const size_t kExhaustiveLength = kLong ? 6 : 5;
#endif

// The path of `name`, or "!" and the class of its refusal.
std::string path_of(Layout layout, std::string_view name) {
  std::string path = "left over";
  if (const auto refused = path_of_name(layout, name, path)) {
    return fmt::format("!{}", gigafetch::name_of(*refused));
  }
  return path;
}

std::string without_fanout(const std::string& path) {
  return path.size() > 6 ? path.substr(6) : path;
}

// Why `path` must not be opened below an output folder; empty when it may.
std::string danger_of(Layout layout, std::string_view path) {
  if (path.empty()) return "empty";
  if (path.front() == '/') return "absolute";
  if (path.size() > kMaxPathBytes) return "too long";
  if (path.find('\0') != path.npos) return "NUL";
  bool first = true;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t slash = path.find('/', begin);
    const size_t end = slash == path.npos ? path.size() : slash;
    const std::string_view component = path.substr(begin, end - begin);
    if (component.empty()) return "an empty component";
    if (component == "." || component == "..") return "a component that is a dot or two";
    if (component.size() > kMaxComponentBytes) return "a component that is too long";
    if (first && layout != Layout::fanout && component == kStateFolderName)
      return "the state folder";
    first = false;
    begin = end + 1;
  }
  if (layout == Layout::flat && path.find('/') != path.npos) return "a folder in the flat layout";
  return {};
}

bool is_lower_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

// "hh/hh/", folders that end in '~', a file that does not.
bool has_fanout_shape(std::string_view path) {
  if (path.size() < 7 || path[2] != '/' || path[5] != '/') return false;
  for (const size_t at : {0u, 1u, 3u, 4u}) {
    if (!is_lower_hex(path[at])) return false;
  }
  for (size_t slash = path.find('/', 6); slash != path.npos; slash = path.find('/', slash + 1)) {
    if (path[slash - 1] != '~') return false;
  }
  return path.back() != '~';
}

// What is wrong with the way a layout maps `name`; empty when nothing is.
std::string fault_of(Layout layout, std::string_view name, std::string& path) {
  const auto refused = path_of_name(layout, name, path);
  const bool bad = name.empty() || name.find('\0') != name.npos;
  if (bad) return refused == FailureClass::bad_name ? "" : "a bad name is not refused as such";
  if (refused) {
    if (*refused != FailureClass::name_too_long) return "refused for no reason";
    // Encoding makes three bytes of one at the most.
    const size_t room = layout == Layout::fanout ? kMaxPathBytes - 64 : kMaxComponentBytes;
    return name.size() * 3 > room ? "" : "a short name is refused as too long";
  }
  if (std::string danger = danger_of(layout, path); !danger.empty()) return danger;
  if (layout == Layout::fanout && !has_fanout_shape(path)) return "not the shape of a fanout path";
  const std::optional<std::string> decoded = name_of_path(layout, path);
  if (!decoded) return "the path has no name";
  if (*decoded != name) return fmt::format("the path's name is '{}'", printable(*decoded));
  return {};
}

void check_mapping(std::string_view name, std::string& path) {
  for (const Layout layout : kLayouts) {
    const std::string fault = fault_of(layout, name, path);
    if (fault.empty()) continue;
    FAIL(name_of(layout), ", '", printable(name, 6'000), "' -> '", printable(path, 6'000),
         "': ", fault);
  }
}

// Names in which what could go wrong is common: the bytes that the mapping treats in their own way,
// in every order; lengths around those of a component and of a path; components that have a
// meaning.
class NastyNames {
 public:
  explicit NastyNames(uint64_t seed) : random_(seed) {}

  const std::string& next() {
    name_.clear();
    switch (random_.below(16)) {
      case 0:
      case 1:
        append_any(random_.below(24));
        break;
      case 2:
        append_any(random_.below(120));
        break;
      case 3:
      case 4:
      case 5:
      case 6:
        append_components();
        break;
      case 7:
        append_utf8(random_.below(30));
        break;
      case 8:
        append_near_limit();
        break;
      default:
        append_from(kSpecial, random_.below(14));
    }
    return name_;
  }

 private:
  static constexpr std::string_view kSpecial = "//..%%~~2eEfF7a\x01\x1F\x7F\xC3\xA9\xFF ";

  void append_from(std::string_view alphabet, uint64_t count) {
    for (; count > 0; --count)
      name_ += alphabet[random_.below(alphabet.size())];
  }
  void append_any(uint64_t count) {
    for (; count > 0; --count)
      name_ += static_cast<char>(random_.below(256));
  }
  void append_components() {
    static const std::string kComponents[] = {
        "",       ".", "..", "...",        ".gigafetch", ".gigafetcH", "%2Egigafetch",
        "a",      "b", "~",  "a~",         "%7E",        "%2F",        "%2f",
        "%2E%2E", "%", "%4", "lost+found", "\xC3\xA9",   "\xC3",       "\n"};
    for (uint64_t count = random_.below(6); count > 0; --count) {
      name_ += kComponents[random_.below(std::size(kComponents))];
      if (count > 1 || random_.below(8) == 0) name_ += '/';
    }
  }
  void append_utf8(uint64_t count) {
    static const std::string kSequences[] = {"\xC3\xA9",
                                             "\xE6\xBC\xA2",
                                             "\xF0\x9F\x98\x80",
                                             "\xED\xA0\x80",
                                             "\xC0\x80",
                                             "\xF4\x90\x80\x80",
                                             "\xE2\x80\xAE",
                                             "\xF0\x9F",
                                             "\x80",
                                             "%",
                                             "a"};
    for (; count > 0; --count)
      name_ += kSequences[random_.below(std::size(kSequences))];
  }
  // Mostly plain, of about as many bytes as components (or, encoded, a third of them) can have.
  void append_near_limit() {
    static const std::string kFillers[] = {"a", "a", "a",  "\xFF", "\xC3\xA9", "\xF0\x9F\x98\x80",
                                           "/", "%", "%4", "."};
    const std::string& filler = kFillers[random_.below(std::size(kFillers))];
    const uint64_t components = random_.below(32) == 0 ? random_.below(17) : 1 + random_.below(3);
    const uint64_t bytes = components * (random_.below(2) == 0 ? 254 : 85) + random_.below(7);
    while (name_.size() + 4 < bytes)
      name_ += filler;
    while (name_.size() < bytes)
      name_ += "a.~%/"[random_.below(5)];
    for (uint64_t touches = random_.below(4); touches > 0 && !name_.empty(); --touches) {
      name_[random_.below(name_.size())] = kSpecial[random_.below(kSpecial.size())];
    }
  }

  Random random_;
  std::string name_;
};

}  // namespace

TEST_CASE("the layouts have their names, and no others") {
  for (const Layout layout : kLayouts)
    CHECK(layout_of(name_of(layout)) == layout);
  CHECK(name_of(Layout::tree) == "tree");
  CHECK(name_of(Layout::flat) == "flat");
  CHECK(name_of(Layout::fanout) == "fanout");
  for (const std::string name : {"", "Tree", "tree ", "unknown"})
    CHECK_FALSE(layout_of(name).has_value());
}

TEST_CASE("names map to the paths that are promised") {
  struct Case {
    std::string name, tree, flat, fanout;  // fanout without its two folders
  };
  for (const Case& c : {
           Case{"a/b c.txt", "a/b c.txt", "a%2Fb c.txt", "a%2Fb c.txt"},
           Case{"plain-._~!@#$&()*,;:?<>|\"'`\\^[]{} x", "plain-._~!@#$&()*,;:?<>|\"'`\\^[]{} x",
                "plain-._~!@#$&()*,;:?<>|\"'`\\^[]{} x", "plain-._~!@#$&()*,;:?<>|\"'`\\^[]{} x"},
           Case{"file..txt", "file..txt", "file..txt", "file..txt"},
           Case{".", "%2E", "%2E", "%2E"},
           Case{"..", "%2E%2E", "%2E%2E", "%2E%2E"},
           Case{"...", "...", "...", "..."},
           Case{"../x", "%2E%2E/x", "..%2Fx", "..%2Fx"},
           Case{"a/../../x", "a/%2E%2E/%2E%2E/x", "a%2F..%2F..%2Fx", "a%2F..%2F..%2Fx"},
           Case{"a/./b", "a/%2E/b", "a%2F.%2Fb", "a%2F.%2Fb"},
           Case{"/", "%2F", "%2F", "%2F"},
           Case{"//", "%2F%2F", "%2F%2F", "%2F%2F"},
           Case{"/etc/passwd", "%2Fetc/passwd", "%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd"},
           Case{"//x", "%2F%2Fx", "%2F%2Fx", "%2F%2Fx"},
           Case{"a/", "a%2F", "a%2F", "a%2F"},
           Case{"a/b/", "a/b%2F", "a%2Fb%2F", "a%2Fb%2F"},
           Case{"a//b", "a/%2Fb", "a%2F%2Fb", "a%2F%2Fb"},
           Case{"a//", "a/%2F", "a%2F%2F", "a%2F%2F"},
           Case{"/..", "%2F..", "%2F..", "%2F.."},
           Case{"../", "..%2F", "..%2F", "..%2F"},
           Case{"./", ".%2F", ".%2F", ".%2F"},
           Case{".gigafetch", "%2Egigafetch", "%2Egigafetch", ".gigafetch"},
           Case{".gigafetch/ledger", "%2Egigafetch/ledger", ".gigafetch%2Fledger",
                ".gigafetch%2Fledger"},
           Case{"a/.gigafetch/x", "a/.gigafetch/x", "a%2F.gigafetch%2Fx", "a%2F.gigafetch%2Fx"},
           Case{".gigafetch2/x", ".gigafetch2/x", ".gigafetch2%2Fx", ".gigafetch2%2Fx"},
           Case{".Gigafetch/x", ".Gigafetch/x", ".Gigafetch%2Fx", ".Gigafetch%2Fx"},
           Case{"%2Egigafetch/x", "%252Egigafetch/x", "%252Egigafetch%2Fx", "%252Egigafetch%2Fx"},
           Case{"100%", "100%", "100%", "100%"},
           Case{"%4", "%4", "%4", "%4"},
           Case{"%41", "%2541", "%2541", "%2541"},
           Case{"%2f", "%252f", "%252f", "%252f"},
           Case{"%%41", "%%2541", "%%2541", "%%2541"},
           Case{"%\x01", "%%01", "%%01", "%%01"},
           Case{"%/41", "%/41", "%%2F41", "%%2F41"},
           Case{"a\nb\x7F\x1B[2J", "a%0Ab%7F%1B[2J", "a%0Ab%7F%1B[2J", "a%0Ab%7F%1B[2J"},
           Case{"gr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F",
                "gr\xC3\xBC\xC3\x9F"},
           Case{"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
           Case{"\xFF\xC3(\x80", "%FF%C3(%80", "%FF%C3(%80", "%FF%C3(%80"},
           Case{"\xC0\xAF\xED\xA0\x80", "%C0%AF%ED%A0%80", "%C0%AF%ED%A0%80", "%C0%AF%ED%A0%80"},
           Case{"a~", "a~", "a~", "a%7E"},
           Case{"~", "~", "~", "%7E"},
           Case{"a%7~", "a%7~", "a%7~", "a%7%7E"},
           Case{"a%7E", "a%257E", "a%257E", "a%257E"},
           Case{"", "!bad-name", "!bad-name", "!bad-name"},
           Case{"\0"s, "!bad-name", "!bad-name", "!bad-name"},
           Case{"a\0b"s, "!bad-name", "!bad-name", "!bad-name"},
           Case{"a/b\0"s, "!bad-name", "!bad-name", "!bad-name"},
       }) {
    CAPTURE(printable(c.name));
    CHECK(path_of(Layout::tree, c.name) == c.tree);
    CHECK(path_of(Layout::flat, c.name) == c.flat);
    const std::string fanout = path_of(Layout::fanout, c.name);
    CHECK((fanout[0] == '!' ? fanout : without_fanout(fanout)) == c.fanout);
  }
}

// Whoever changes this loses sight of every file that is stored already.
TEST_CASE("fanout's folders are the last four digits of the name's XXH3 hash") {
  // XXH3-64 of it is febf568a65d598bd.
  CHECK(path_of(Layout::fanout, "a/b c.txt") == "98/bd/a%2Fb c.txt");
}

TEST_CASE("fanout spreads names over all of its folders") {
  std::unordered_map<std::string, int> outer, inner;
  std::string path;
  for (int i = 0; i < 100'000; ++i) {
    REQUIRE_FALSE(path_of_name(Layout::fanout, fmt::format("file-{}", i), path).has_value());
    ++outer[path.substr(0, 2)];
    ++inner[path.substr(3, 2)];
  }
  for (const auto* folders : {&outer, &inner}) {
    CHECK(folders->size() == 256);
    for (const auto& [folder, files] : *folders) {
      CHECK(files > 250);
      CHECK(files < 550);
    }
  }
}

TEST_CASE("a component of 255 bytes is taken, a longer one is refused") {
  const std::string most(255, 'a');
  CHECK(path_of(Layout::tree, most) == most);
  CHECK(path_of(Layout::flat, most) == most);
  CHECK(path_of(Layout::tree, most + "a") == "!name-too-long");
  CHECK(path_of(Layout::flat, most + "a") == "!name-too-long");
  CHECK(path_of(Layout::tree, most + "/" + most) == most + "/" + most);
  CHECK(path_of(Layout::tree, "b/" + most + "a/c") == "!name-too-long");
  // It is the encoded length that counts.
  CHECK(path_of(Layout::tree, std::string(85, '\x01')).size() == 255);
  CHECK(path_of(Layout::tree, std::string(86, '\x01')) == "!name-too-long");
  CHECK(path_of(Layout::tree, std::string(254, 'a') + "/") == "!name-too-long");
  CHECK(path_of(Layout::flat, std::string(127, 'a') + "/" + std::string(126, 'a')) ==
        "!name-too-long");
}

TEST_CASE("fanout cuts a long name into folders, and never inside an escape or a character") {
  const auto fanout = [](const std::string& name) {
    return without_fanout(path_of(Layout::fanout, name));
  };
  const std::string a254(254, 'a');
  CHECK(fanout(a254 + "b") == a254 + "b");
  CHECK(fanout(a254 + "bc") == a254 + "~/bc");
  CHECK(fanout(a254 + "~") == a254 + "~/%7E");
  CHECK(fanout(a254.substr(1) + "/bc") == a254.substr(1) + "~/%2Fbc");
  CHECK(fanout(a254.substr(2) + "/bc") == a254.substr(2) + "~/%2Fbc");
  CHECK(fanout(a254.substr(3) + "/bc") == a254.substr(3) + "%2F~/bc");
  CHECK(fanout(a254.substr(1) + "\xC3\xA9"
                                "b") == a254.substr(1) +
                                            "~/\xC3\xA9"
                                            "b");
  CHECK(fanout(a254.substr(3) + "\xF0\x9F\x98\x80") == a254.substr(3) + "\xF0\x9F\x98\x80");
  CHECK(fanout(a254.substr(2) + "\xF0\x9F\x98\x80") == a254.substr(2) + "~/\xF0\x9F\x98\x80");
  CHECK(fanout(a254 + a254 + "b") == a254 + "~/" + a254 + "b");
}

TEST_CASE("what fanout cuts off is never a dot or two") {
  for (const size_t plain : {size_t{254}, size_t{508}, size_t{762}}) {
    for (const std::string end : {".", "..", "...", "../", "/.."}) {
      const std::string path = path_of(Layout::fanout, std::string(plain, 'a') + end);
      CAPTURE(path);
      CHECK(danger_of(Layout::fanout, path) == "");
    }
  }
}

TEST_CASE("a path of 4095 bytes is taken, a longer one is refused") {
  std::string name;
  for (int i = 0; i < 15; ++i)
    name += std::string(255, 'a') + "/";
  name += std::string(255, 'a');
  REQUIRE(name.size() == 4095);
  CHECK(path_of(Layout::tree, name) == name);
  CHECK(path_of(Layout::tree, name + "/b") == "!name-too-long");
  CHECK(path_of(Layout::fanout, std::string(4'000, 'a')).size() <= kMaxPathBytes);
  CHECK(path_of(Layout::fanout, std::string(4'096, 'a')) == "!name-too-long");
  CHECK(path_of(Layout::fanout, std::string(1'400, '\xFF')) == "!name-too-long");
}

TEST_CASE("a refusal says what would help") {
  for (const Layout layout : kLayouts) {
    CHECK(refusal_text(layout, FailureClass::bad_name).find("NUL") != std::string_view::npos);
    CHECK(refusal_text(layout, FailureClass::name_too_long).find("tar") != std::string_view::npos);
  }
  CHECK(refusal_text(Layout::tree, FailureClass::name_too_long).find("fanout") !=
        std::string_view::npos);
  CHECK(refusal_text(Layout::fanout, FailureClass::name_too_long).find("fanout") ==
        std::string_view::npos);
}

TEST_CASE("a path that no name maps to has no name") {
  for (const std::string& path : {""s,     "/"s,          "/a"s,
                                  "a/"s,   "a//b"s,       "."s,
                                  ".."s,   "../a"s,       "a/./b"s,
                                  "a/.."s, ".gigafetch"s, "%41"s,
                                  "%2f"s,  "%2e"s,        "a%2Fb/%41"s,
                                  "\n"s,   "\xFF"s,       "a\0b"s,
                                  "%00"s,  "%C3%A9"s,     std::string(256, 'a')}) {
    CAPTURE(printable(path));
    for (const Layout layout : kLayouts)
      CHECK_FALSE(name_of_path(layout, path).has_value());
  }
  CHECK_FALSE(name_of_path(Layout::tree, ".gigafetch/ledger").has_value());
  CHECK_FALSE(name_of_path(Layout::tree, "a%2Fb").has_value());
  CHECK_FALSE(name_of_path(Layout::flat, "a/b").has_value());
  for (const std::string path :
       {"a", "98/bd/", "98/bd/a", "98/be/a%2Fb c.txt", "98/BD/a%2Fb c.txt", "98/bd/a/b c.txt",
        "98/bd/a%2Fb c.txt/", "98/bd/a~/%2Fb c.txt", "98/bd/~/a%2Fb c.txt", "98/bd//a%2Fb c.txt",
        "98-bd-a%2Fb c.txt", "98/bd/~"}) {
    CAPTURE(path);
    CHECK_FALSE(name_of_path(Layout::fanout, path).has_value());
  }
}

TEST_CASE("every short name of nasty bytes has a path of its own, which leads back to it") {
  constexpr std::string_view kAlphabet = "/.%2F~\x01\xFF";
  std::string path;
  for (const Layout layout : kLayouts) {
    std::unordered_map<std::string, std::string> names;
    std::string name;
    size_t clashes = 0;
    for (size_t length = 1; length <= kExhaustiveLength; ++length) {
      std::vector<size_t> digits(length, 0);
      for (bool done = false; !done;) {
        name.clear();
        for (const size_t digit : digits)
          name += kAlphabet[digit];
        const std::string fault = fault_of(layout, name, path);
        if (!fault.empty())
          FAIL(name_of(layout), ", '", printable(name), "' -> '", printable(path), "': ", fault);
        clashes += !names.emplace(path, name).second;
        done = true;
        for (size_t& digit : digits) {
          digit = (digit + 1) % kAlphabet.size();
          if (digit != 0) {
            done = false;
            break;
          }
        }
      }
    }
    CHECK(clashes == 0);
  }
}

TEST_CASE("millions of random names have safe paths, which lead back to them") {
  NastyNames names(11);
  std::string path;
  for (int i = 0; i < kRandomNames; ++i)
    check_mapping(names.next(), path);
}

TEST_CASE("random paths have a name only if it maps back to exactly them") {
  NastyNames paths(12);
  std::string path;
  size_t named = 0;
  for (int i = 0; i < kRandomNames / 20; ++i) {
    std::string given = paths.next();
    for (const Layout layout : kLayouts) {
      const std::optional<std::string> name = name_of_path(layout, given);
      if (!name) continue;
      ++named;
      REQUIRE_FALSE(path_of_name(layout, *name, path).has_value());
      REQUIRE(path == given);
    }
  }
  CHECK(named > 1'000);
}

}  // namespace gigafetch::store
