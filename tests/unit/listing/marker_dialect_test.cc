#include <doctest/doctest.h>
#include <fmt/core.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/escape.h"
#include "listing/dialect.h"

namespace gigafetch::listing {
namespace {

using namespace std::string_literals;
using Names = std::vector<std::string>;

class Collector final : public NameReceiver {
 public:
  explicit Collector(size_t wanted = SIZE_MAX) : wanted_(wanted) {}
  bool on_name(std::string_view name) override {
    names.emplace_back(name);
    return names.size() < wanted_;
  }
  bool on_bad_name(std::string_view shown, FailureClass cause, std::string_view why) override {
    CHECK((cause == FailureClass::bad_name || cause == FailureClass::name_too_long));
    CHECK_FALSE(why.empty());
    bad.emplace_back(shown);
    return true;
  }
  Names names;
  Names bad;

 private:
  size_t wanted_;
};

struct Page {
  std::optional<Error> failure;
  std::optional<std::string> marker;
  Names names;
  Names bad;  // what stands in a name's place and is none
  bool refused() const { return failure.has_value(); }
};

Page read_in_place(Dialect& dialect, std::string& bytes) {
  Page page;
  PageReader& reader = dialect.open_page(bytes);
  Result<std::optional<std::string>> marker = reader.next_marker();
  if (!marker) {
    page.failure = marker.failure();
    return page;
  }
  page.marker = marker.value();
  Collector collector;
  if (const Result<void> read = reader.read_names(collector); !read) page.failure = read.failure();
  page.names = collector.names;
  page.bad = collector.bad;
  return page;
}

Page read(Dialect& dialect, std::string_view bytes) {
  std::string page(bytes);
  return read_in_place(dialect, page);
}

std::unique_ptr<Dialect> fresh(std::string_view base_path = "") {
  return std::move(make_dialect("marker", base_path)).value();
}

// A dialect is made once a run; most tests share one, so that every page is read behind others.
Dialect& shared() {
  static const std::unique_ptr<Dialect> dialect = fresh("/api");
  return *dialect;
}

Page read(std::string_view bytes) {
  return read(shared(), bytes);
}

void check_refused(std::string_view bytes) {
  CAPTURE(printable(bytes, 300));
  const Page page = read(bytes);
  REQUIRE(page.refused());
  CHECK(page.failure->code == ErrorCode::malformed);
  CHECK_FALSE(page.failure->text.empty());
  for (const char c : page.failure->text)
    CHECK(static_cast<unsigned char>(c) >= 0x20);
}

std::string with_names(std::string_view names) {
  return fmt::format("{{\"FileNames\":{}}}", names);
}
std::string with_marker(std::string_view marker) {
  return fmt::format("{{\"FileNames\":[\"a\"],\"NextMarker\":{}}}", marker);
}

}  // namespace

TEST_CASE("a page is asked for by its marker, percent-encoded") {
  std::string out = "GET ";
  shared().append_list_target(out, std::nullopt);
  CHECK(out == "GET /api/list");
  const auto target = [](const std::string& marker) {
    std::string text;
    shared().append_list_target(text, marker);
    return text;
  };
  CHECK(target("abc-._~") == "/api/list?next-marker=abc-._~");
  CHECK(target("a b&c=d/e?f#g+%h") == "/api/list?next-marker=a%20b%26c%3Dd%2Fe%3Ff%23g%2B%25h");
  CHECK(target("\r\nX: y\0\xC3\xA9"s) == "/api/list?next-marker=%0D%0AX%3A%20y%00%C3%A9");
}

TEST_CASE("a file is asked for by its name, with its slashes kept") {
  const auto target = [](Dialect& dialect, std::string_view name) {
    std::string text;
    dialect.append_file_target(text, name);
    return text;
  };
  CHECK(target(shared(), "a/b c.txt") == "/api/get/a/b%20c.txt");
  CHECK(target(shared(), "/..//%41?#\r\n") == "/api/get//..//%2541%3F%23%0D%0A");
  const std::unique_ptr<Dialect> at_root = fresh();
  CHECK(target(*at_root, "a") == "/get/a");
  std::string list;
  at_root->append_list_target(list, std::nullopt);
  CHECK(list == "/list");
}

TEST_CASE("a page gives its names in their order and the next marker") {
  const Page page = read(R"({"FileNames": ["b", "a/c", "", "b"], "NextMarker": "token"})");
  REQUIRE_FALSE(page.refused());
  CHECK(page.names == Names{"b", "a/c", "", "b"});
  CHECK(page.marker == "token");
}

TEST_CASE("the keys may come in any order, among others") {
  for (
      const char* bytes :
      {R"({"NextMarker":"m","FileNames":["a"]})", R"({"FileNames":["a"],"NextMarker":"m"})",
       R"({"X":{"FileNames":["no"],"NextMarker":"no"},"NextMarker":"m","Y":[["FileNames",{"NextMarker":1}]],"FileNames":["a"],"Z":null})",
       "\r\n\t {\n \"Count\" : 1.5e3 ,\t\"NextMarker\" : \"m\" , \"FileNames\" : [ \"a\" ] } "
       "\r\n"}) {
    CAPTURE(bytes);
    const Page page = read(bytes);
    REQUIRE_FALSE(page.refused());
    CHECK(page.names == Names{"a"});
    CHECK(page.marker == "m");
  }
}

TEST_CASE("the last page has no marker: none, null or an empty one") {
  for (const std::string bytes :
       {R"({"FileNames":["a"]})", R"({"FileNames":["a"],"NextMarker":null})",
        R"({"FileNames":["a"],"NextMarker":""})", R"({"FileNames":["a"],"NextFile":null})",
        R"({"NextFile":"","FileNames":["a"],"NextMarker":null})"}) {
    CAPTURE(bytes);
    const Page page = read(bytes);
    REQUIRE_FALSE(page.refused());
    CHECK(page.names == Names{"a"});
    CHECK_FALSE(page.marker.has_value());
  }
}

TEST_CASE("NextFile stands in for NextMarker, which wins") {
  CHECK(read(R"({"FileNames":[],"NextFile":"f"})").marker == "f");
  CHECK(read(R"({"FileNames":[],"NextFile":"f","NextMarker":"m"})").marker == "m");
  CHECK(read(R"({"FileNames":[],"NextMarker":"m","NextFile":"f"})").marker == "m");
  CHECK(read(R"({"FileNames":[],"NextMarker":null,"NextFile":"f"})").marker == "f");
}

TEST_CASE("keys are known by their exact spelling") {
  CHECK_FALSE(
      read(R"({"FileNames":["a"],"nextmarker":"m","NextMarkers":"m","":"m"})").marker.has_value());
  check_refused(R"({"filenames":["a"]})");
  check_refused(R"({"FileNames ":["a"]})");
  check_refused(R"({"X":{"FileNames":["a"]}})");
}

// JSON may write any key so. Passed over, a next marker would end the listing early, and in
// silence.
TEST_CASE("a key written with escapes is read or refused, not passed over") {
  const Page page = read(R"({"FileNames":["a"],"NextMarke\u0072":"m"})");
  CHECK((page.refused() || page.marker == "m"));
}

TEST_CASE("a page without names is one without files") {
  for (const std::string bytes :
       {R"({"FileNames":[],"NextMarker":"m"})", R"({"FileNames":null,"NextMarker":"m"})",
        R"({"NextMarker":"m","FileNames": [ ] })"}) {
    const Page page = read(bytes);
    REQUIRE_FALSE(page.refused());
    CHECK(page.names.empty());
    CHECK(page.marker == "m");
  }
}

TEST_CASE("a marker that is not a string is refused") {
  for (const std::string marker :
       {"5", "true", "false", "[\"m\"]", "{}", "nul", "nullx", "m", "'m'", "", "\"m\"\"n\"",
        "\"m\":\"n\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\udc80\"", "\"m"}) {
    check_refused(with_marker(marker));
  }
}

TEST_CASE("FileNames that is not a list of strings is refused") {
  for (const std::string names :
       {"{}", "\"a\"", "5", "true", "nul", "nullx", "", "[a]", "['a']", "[\"a\",nul]"}) {
    check_refused(with_names(names));
  }
  check_refused("{}");
  check_refused(R"({"NextMarker":"m"})");
}

TEST_CASE("what stands in a name's place and is no string is a bad name, and no other is lost") {
  for (const std::string value :
       {"5", "-1.5e3", "null", "true", "false", "NaN", "[\"b\"]", "{}", "[]", R"([[{"x":"]"}]])",
        R"({"FileNames":["no"],"NextMarker":"\"}"})"}) {
    CAPTURE(value);
    for (const std::string& names :
         {"[\"a\"," + value + ",\"b\"]", "[" + value + ",\"a\",\"b\"]",
          "[\"a\",\"b\"," + value + "]", "[ \"\\u0061\" , " + value + " ,\"b\"]"}) {
      CAPTURE(names);
      const Page page = read("{\"FileNames\":" + names + R"(,"NextMarker":"m"})");
      REQUIRE_FALSE(page.refused());
      CHECK(page.names == Names{"a", "b"});
      CHECK(page.bad == Names{value});
      CHECK(page.marker == "m");
    }
  }
}

TEST_CASE("a page that is no page is refused before its marker can be followed") {
  for (std::string bytes : Names{R"({"NextMarker":"m"})", R"({"error":"no","NextMarker":"m"})",
                                 R"({"NextMarker":"m","FileNames":["a")",
                                 R"({"NextMarker":"m","FileNames":["a"]}{})"}) {
    CAPTURE(bytes);
    CHECK_FALSE(shared().open_page(bytes).next_marker().ok());
  }
}

TEST_CASE("a list of names with a broken separator is refused") {
  for (const std::string names :
       {"[\"a\",]", "[,\"a\"]", "[\"a\",,\"b\"]", "[\"a\" \"b\"]", "[\"a\"\"b\"]", "[\"a\":\"b\"]",
        "[\"a\"", "[\"a\"}", "[\"a\"]]", "(\"a\")", "[\"a\";\"b\"]"}) {
    check_refused(with_names(names));
  }
}

TEST_CASE("an object with a broken separator or brace is refused") {
  for (const std::string bytes :
       {R"({"FileNames":["a"],})", R"({"FileNames":["a"] "NextMarker":"m"})",
        R"({"FileNames":["a"],,"NextMarker":"m"})", R"({,"FileNames":["a"]})",
        R"({"FileNames" ["a"]})", R"({"FileNames":["a"],"NextMarker"})", R"({"FileNames":["a"],5})",
        R"({5:5,"FileNames":["a"]})", R"({FileNames:["a"]})", R"({'FileNames':["a"]})",
        R"({"FileNames":["a"]:5})", R"({"FileNames":["a"],"X":[}]})", R"({"FileNames":["a"]])",
        R"(["FileNames",["a"]])", R"({"FileNames":["a"],"X":)"}) {
    check_refused(bytes);
  }
}

TEST_CASE("what is no JSON object is refused") {
  for (const std::string& bytes :
       Names{"", " ", "\n", "\0"s, "null", "5", "\"FileNames\"", "[]", R"(["a"])", "{", "}",
             "<html><body>502</body></html>", "HTTP/1.1 200 OK", "\x1F\x8B\x08", "FileNames",
             "\xEF\xBB\xBF[]"}) {
    check_refused(bytes);
  }
}

TEST_CASE("anything behind the object is refused") {
  for (const std::string& rest :
       Names{"}", "]", ",", "x", "\"", "\"x\"", "null", "{}", R"({"FileNames":["b"]})",
             "\n{\"FileNames\":[\"b\"]}\n", "\0"s, "// comment", "\x1A"}) {
    check_refused(with_names("[\"a\"]") + rest);
  }
  CHECK_FALSE(read(with_names("[\"a\"]") + " \t\r\n").refused());
}

TEST_CASE("escapes in names become the bytes they stand for") {
  const Page page = read(with_names(
      R"(["\"\\\/\b\f\n\r\t","\u0000","a\u0000b","\u0041\u00e9\u6f22","\ud83d\ude00","\uD83D\uDE00","..\/..\/x"])"));
  REQUIRE_FALSE(page.refused());
  CHECK(page.names == Names{"\"\\/\b\f\n\r\t", "\0"s, "a\0b"s, "A\xC3\xA9\xE6\xBC\xA2",
                            "\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80", "../../x"});
}

TEST_CASE("names are the same whether or not something else of the page is written with escapes") {
  const std::string names =
      "[\"a\" ,\t\"b b \"\r\n, \"\",\" \" ,\"12345678\",\"[],:{}\",\"gr\xC3\xBC\xC3\x9F\"\n ]";
  const Names expected = {"a", "b b ", "", " ", "12345678", "[],:{}", "gr\xC3\xBC\xC3\x9F"};
  for (const std::string rest :
       {R"("NextMarker":"m")", R"("NextMarker":"\u006d")", R"("NextMarker":"m","X":"\"\\")"}) {
    CAPTURE(rest);
    for (const std::string& bytes : {"{\"FileNames\":" + names + "," + rest + "}",
                                     "{" + rest + ",\"FileNames\":" + names + "}"}) {
      const Page page = read(bytes);
      REQUIRE_FALSE(page.refused());
      CHECK(page.names == expected);
      CHECK(page.marker == "m");
    }
  }
}

TEST_CASE("UTF-8 in names and markers stands as it is") {
  const Page page = read(
      "{\"FileNames\":[\"gr\xC3\xBC\xC3\x9F\",\"\xF0\x9F\x98\x80\"],\"NextMarker\":\"\xC3\xA9\"}");
  REQUIRE_FALSE(page.refused());
  CHECK(page.names == Names{"gr\xC3\xBC\xC3\x9F", "\xF0\x9F\x98\x80"});
  CHECK(page.marker == "\xC3\xA9");
}

TEST_CASE("a lone surrogate is a bad name") {
  for (const std::string name :
       {"\\ud800", "\\udc80", "\\udfff", "a\\ud83d", "\\ud83dx", "\\ud83d\\n", "\\ud83d\\u0041",
        "\\ud83d\\ud83d", "\\ude00\\ud83d", "\\ud83d\\ude0"}) {
    const Page page = read(with_names(fmt::format("[\"a\",\"{}\",\"b\"]", name)));
    REQUIRE_FALSE(page.refused());
    CHECK(page.names == Names{"a", "b"});
    CHECK(page.bad.size() == 1);
  }
  CHECK(read(with_names(R"(["a\uD83dx"])")).bad == Names{"a\\ud83dx"});
}

TEST_CASE("a broken escape makes a bad name") {
  for (const std::string name : {"\\x41", "\\u12", "\\u12g4", "\\U00000041", "\\0", "\\'"}) {
    CAPTURE(name);
    const Page page = read(with_names("[\"a\",\"" + name + "\",\"b\"]"));
    REQUIRE_FALSE(page.refused());
    CHECK(page.names == Names{"a", "b"});
    CHECK(page.bad == Names{name});
  }
  check_refused(with_names("[\"\\\"]"));
}

TEST_CASE("raw control bytes, and bytes that are no UTF-8, stand in names as they are") {
  for (const std::string& name :
       Names{"a\nb", "a\tb", "a\0b"s, "\x01", "\x1F", "\xFF", "\xC3", "\x80", "\xC0\x80",
             "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\xF8\x88\x80\x80\x80", "caf\xE9"}) {
    CAPTURE(printable(name));
    const Page page =
        read("{\"FileNames\":[\"\\u0061\",\"" + name + "\",\"b\"],\"NextMarker\":\"m\"}");
    REQUIRE_FALSE(page.refused());
    CHECK(page.names == Names{"a", name, "b"});
    CHECK(page.bad.empty());
    CHECK(page.marker == "m");
  }
}

TEST_CASE("a page whose other bytes are not UTF-8 is refused") {
  for (const std::string& bad : Names{"\xFF", "\xC3", "\x80", "\xC0\x80", "\xED\xA0\x80",
                                      "\xF4\x90\x80\x80", "\xE2\x82", "\xF8\x88\x80\x80\x80"}) {
    check_refused(with_names("[\"a\"]") + bad);
    check_refused(with_names("[\"a\"," + bad + "]"));
    check_refused("{\"FileNames" + bad + "\":[\"a\"]}");
  }
}

TEST_CASE("a page cut off at any byte is refused") {
  for (
      const std::string whole :
      {R"({"FileNames":["a","b\u00e9\ud83d\ude00\"\\","c/d"],"NextMarker":"to\"ken","X":[1,{"y":null}]})",
       R"({"NextMarker":"token","FileNames":["a","b"]})", R"({"X":12345,"FileNames":null})"}) {
    REQUIRE_FALSE(read(whole).refused());
    size_t accepted = 0;
    for (size_t cut = 0; cut < whole.size(); ++cut) {
      accepted += !read(std::string_view(whole).substr(0, cut)).refused();
      // What was cut off still stands behind the page's end.
      std::string kept = whole;
      kept.resize(cut);
      accepted += !read_in_place(shared(), kept).refused();
    }
    CHECK(accepted == 0);
  }
}

TEST_CASE("what stands in the spare room behind a page is not read") {
  const std::string page_bytes = R"({"FileNames":["a"],"NextMarker":"m"})";
  for (const char filler : {'}', '"', ' ', 'x', '\0', '\xFF', ','}) {
    std::string page = page_bytes + std::string(200, filler);
    page.resize(page_bytes.size());
    const Page read_page = read_in_place(shared(), page);
    REQUIRE_FALSE(read_page.refused());
    CHECK(read_page.names == Names{"a"});
    CHECK(read_page.marker == "m");
  }
}

TEST_CASE("a page with any room behind it is read") {
  for (size_t length = 0; length < 200; ++length) {
    for (const size_t room :
         {size_t{0}, size_t{1}, kPagePadding - 1, kPagePadding, kPagePadding + 1}) {
      const std::string name(length, 'n');
      std::string page;
      const std::string bytes = with_names("[\"" + name + "\"]");
      page.reserve(bytes.size() + room);
      page += bytes;
      const Page read_page = read_in_place(shared(), page);
      REQUIRE_FALSE(read_page.refused());
      REQUIRE(read_page.names == Names{name});
    }
  }
}

TEST_CASE("one dialect reads page after page, refused ones among them") {
  const std::unique_ptr<Dialect> dialect = fresh();
  for (int i = 0; i < 2'000; ++i) {
    const std::string marker = std::to_string(i);
    std::string names;
    for (int n = 0; n < i % 50; ++n)
      names += fmt::format("{}\"{}-{}\"", n > 0 ? "," : "", i, n);
    const std::string bytes =
        fmt::format("{{\"FileNames\":[{}],\"NextMarker\":\"{}\"}}", names, marker);
    const Page page = read(*dialect, bytes);
    REQUIRE_FALSE(page.refused());
    REQUIRE(page.names.size() == static_cast<size_t>(i % 50));
    REQUIRE(page.marker == marker);
    REQUIRE(read(*dialect, std::string_view(bytes).substr(0, static_cast<size_t>(i) % bytes.size()))
                .refused());
  }
}

TEST_CASE("a receiver that has enough gets no more names") {
  std::string bytes = with_names(R"(["a","b","c"])");
  PageReader& reader = shared().open_page(bytes);
  REQUIRE(reader.next_marker().ok());
  Collector collector(2);
  CHECK(reader.read_names(collector).ok());
  CHECK(collector.names == Names{"a", "b"});
}

TEST_CASE("a page with many and with long names is read whole") {
  std::string names = "[";
  for (int i = 0; i < 20'000; ++i)
    names += fmt::format("\"{:0100}\",", i);
  names += "\"" + std::string(1'000'000, 'x') + "\"]";
  const Page page = read(with_names(names));
  REQUIRE_FALSE(page.refused());
  REQUIRE(page.names.size() == 20'001);
  CHECK(page.names[19'999] == fmt::format("{:0100}", 19'999));
  CHECK((page.names[20'000] == std::string(1'000'000, 'x')));
}

TEST_CASE("a page of the greatest size is read, one byte more is refused") {
  const std::string start = R"({"FileNames":["a"],"X":")";
  const std::string end = "\"}";
  const std::unique_ptr<Dialect> dialect = fresh();
  const std::string most =
      start + std::string(kWholePageBytes - start.size() - end.size(), 'x') + end;
  CHECK_FALSE(read(*dialect, most).refused());
  const Page page = read(*dialect, most + " ");
  REQUIRE(page.refused());
  CHECK(page.failure->code == ErrorCode::malformed);
}

TEST_CASE("a key that comes twice is refused: one of the two would be lost") {
  check_refused(R"({"FileNames":["a"],"FileNames":["b"]})");
  check_refused(R"({"FileNames":["a"],"NextMarker":"m","NextMarker":"n"})");
}

TEST_CASE("an error names the place and shows what stands there, escaped") {
  const auto text = [](std::string_view bytes) { return read(bytes).failure->text; };
  CHECK(text(with_names("[\"a\",x]")).find("at byte 19") != std::string::npos);
  CHECK(text(with_names("[\"a\",:]")).find("':]}'") != std::string::npos);
  CHECK(text(with_marker("7")).find("at byte 32") != std::string::npos);
  CHECK(text(with_names("[\"a\"]") + "{}").find("at byte 19") != std::string::npos);
  CHECK(text("<html>\x1B[2J").find("<html>\\x1b[2J") != std::string::npos);
  CHECK(text("{}").find("FileNames") != std::string::npos);
  CHECK(text("\xFF" + std::string(10'000, 'x')).size() < 500);
}

TEST_CASE("an error about one page shows nothing of the page before") {
  const std::unique_ptr<Dialect> dialect = fresh();
  REQUIRE_FALSE(read(*dialect, R"({"FileNames":["SECRET","SECRET"]})").refused());
  for (const std::string& bytes : Names{"", "\"", "\xFF", "[", "{", "{\"a\":\"\n\"}"}) {
    const Page page = read(*dialect, bytes);
    REQUIRE(page.refused());
    CHECK(page.failure->text.find("SECRET") == std::string::npos);
  }
}

}  // namespace gigafetch::listing
