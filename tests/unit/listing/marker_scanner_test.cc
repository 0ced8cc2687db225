#include "listing/marker_scanner.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

using namespace std::string_literals;

namespace gigafetch::listing {
namespace {

using Names = std::vector<std::string>;

struct Collector final : NameReceiver {
  bool on_name(std::string_view name) override {
    names.emplace_back(name);
    return !stops;
  }
  bool on_bad_name(std::string_view shown, FailureClass cause, std::string_view) override {
    names.push_back("bad:" + std::string(shown));
    causes.push_back(cause);
    return !stops;
  }
  bool stops = false;  // behind each name
  Names names;
  std::vector<FailureClass> causes;
};

struct Page {
  Names names;
  std::optional<std::string> marker;
  std::string refusal;
  bool operator==(const Page&) const = default;
};

// Reads a page in pieces of so many bytes, and, when the receiver stops, from where it did.
Page scan(std::string_view bytes, size_t piece, bool stops = false) {
  Page page;
  Collector collector;
  collector.stops = stops;
  MarkerScanner scanner;
  while (!bytes.empty()) {
    const std::string now(bytes.substr(0, piece));  // no views into what was fed before
    const size_t names = collector.names.size();
    const Result<size_t> taken = scanner.feed(now, collector);
    if (!taken) {
      page.refusal = taken.failure().text;
      break;
    }
    REQUIRE((taken.value() > 0 || collector.names.size() > names));
    bytes.remove_prefix(taken.value());
  }
  page.names = collector.names;
  const Result<std::optional<std::string>> marker = scanner.finish();
  CHECK(marker.ok() == page.refusal.empty());
  if (marker) page.marker = marker.value();
  return page;
}

const Names kPages = {
    R"({"FileNames":["a","b"],"NextMarker":"m"})",
    R"({"NextMarker":"m","FileNames":["a","b"]})",
    " { \"X\" : [1,{\"FileNames\":[\"no\"],\"y\":\"]\\\"}\"}] , \"FileNames\" : [ ] , "
    "\"NextFile\":null } \n",
    R"({"FileNames":["\u00e9\ud83d\ude00\"\\","\ud83d","\ud83d\u0041x","\q","\u12","c/d",5,null,[["]"]],{}]})",
    "{\"FileNames\":[\"caf\xE9\",\"\xC3\xA9\",\"a\nb\",\"\x01\",\"a\0b\"]}"s,
    R"({"FileNames":null,"NextMarke\u0072":"\u006d"})",
};

}  // namespace

TEST_CASE("a page gives the same in pieces of any size as at once, stopped or not") {
  for (const std::string& bytes : kPages) {
    CAPTURE(bytes);
    const Page whole = scan(bytes, bytes.size());
    CHECK(whole.refusal.empty());
    for (size_t piece = 1; piece <= bytes.size(); ++piece) {
      CHECK((scan(bytes, piece) == whole));
      CHECK((scan(bytes, piece, true) == whole));
    }
  }
  CHECK(scan(kPages[0], 1).names == Names{"a", "b"});
  CHECK(scan(kPages[1], 1).marker == "m");
  CHECK(scan(kPages[3], 1).names == Names{"\xC3\xA9\xF0\x9F\x98\x80\"\\", "bad:\\ud83d",
                                          "bad:\\ud83dAx", "bad:\\q", "bad:\\u12", "c/d", "bad:5",
                                          "bad:null", "bad:[[\"]\"]]", "bad:{}"});
  CHECK(scan(kPages[5], 1).marker == "m");
}

TEST_CASE("a page cut off at any byte is refused at its end") {
  for (const std::string& bytes : kPages) {
    for (size_t cut = 0; cut < bytes.rfind('}'); ++cut) {
      Collector collector;
      MarkerScanner scanner;
      CHECK(scanner.feed(std::string_view(bytes).substr(0, cut), collector).ok());
      CHECK_FALSE(scanner.finish().ok());
    }
  }
}

TEST_CASE("what is no page is refused with its place, the same in pieces") {
  for (const std::string bytes : {"<html>",
                                  "[]",
                                  "{\"FileNames\":5 }",
                                  "{\"FileNames\":\"a\"}",
                                  "{\"FileNames\":{}}",
                                  "{\"FileNames\":[\"a\" \"b\"]}",
                                  "{\"FileNames\":[\"a\",]}",
                                  "{\"FileNames\":[,]}",
                                  "{\"FileNames\":[x]}",
                                  "{\"FileNames\":[]}{",
                                  "{\"FileNames\":[]} x",
                                  "{,}",
                                  "{\"a\" 1}",
                                  "{\"a\":}",
                                  "{\"FileNames\":[],\"FileNames\":[]}",
                                  "{\"NextMarker\":5 }",
                                  "{\"NextMarker\":[]}",
                                  "{\"NextMarker\":\"\\ud800\"}",
                                  "{\"\\q\":1}",
                                  "{5:1}",
                                  "{\"FileNames\":[]]"}) {
    CAPTURE(bytes);
    const Page whole = scan(bytes, bytes.size());
    CHECK(whole.refusal.find("at byte ") != std::string::npos);
    for (size_t piece = 1; piece < bytes.size(); ++piece) {
      const std::string refusal = scan(bytes, piece).refusal;
      CHECK(refusal.substr(0, refusal.find(';')) ==
            whole.refusal.substr(0, whole.refusal.find(';')));
    }
  }
}

TEST_CASE("a name without end takes no memory without end") {
  const std::string half(100'000, 'x');
  Collector collector;
  MarkerScanner scanner;
  REQUIRE(scanner.feed("{\"FileNames\":[\"", collector).ok());
  for (int i = 0; i < 100; ++i)
    REQUIRE(scanner.feed(half, collector).ok());
  REQUIRE(scanner.feed("\",\"a\"]}", collector).ok());
  CHECK(scanner.finish().ok());
  REQUIRE(collector.names.size() == 2);
  CHECK(collector.names[0].size() < 200'000);
  CHECK(collector.causes == std::vector{FailureClass::name_too_long});
  CHECK(collector.names[1] == "a");
}

}  // namespace gigafetch::listing
