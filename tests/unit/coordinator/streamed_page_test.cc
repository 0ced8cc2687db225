#include "coordinator/streamed_page.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace gigafetch;
using namespace gigafetch::coordinator;

namespace {

using Section = StreamedPage::Section;

struct Piece {
  Section section;
  uint64_t first;
  uint64_t listed;
  store::Hash128 names;
  bool operator==(const Piece&) const = default;
};

std::string name_at(uint64_t position) {
  return "name-" + std::to_string(100'000 + position) + std::string(200, 'x');
}

struct Reading {
  explicit Reading(const Filter& filter) : intake(filter), page(intake) {}

  // Names `from` to `to`, of which every `odd`th is none.
  void names(uint64_t from, uint64_t to) {
    for (uint64_t i = from; i < to && page.section() != Section::over;) {
      const bool more = i % 1000 == 999
                            ? page.on_bad_name(std::to_string(i), FailureClass::bad_name, "?")
                            : page.on_name(name_at(i));
      ++i;
      if (more) continue;
      REQUIRE(page.stopped());
      take();
      page.go_on(UINT64_MAX);
    }
  }
  void take() {
    pieces.push_back({page.section(), page.position() - intake.listed(), intake.listed(),
                      store::hash_of_names(intake.names().bytes())});
    if (page.section() == Section::passed) pieces.pop_back();
  }

  PageIntake intake;
  StreamedPage page;
  std::vector<Piece> pieces;
};

constexpr uint64_t kNames = 20'000;

std::vector<Piece> whole_page(const Filter& filter) {
  Reading reading(filter);
  reading.page.begin({}, 0, UINT64_MAX);
  reading.names(0, kNames);
  reading.take();
  return reading.pieces;
}

}  // namespace

TEST_CASE("pieces have a megabyte of names each, and follow one another") {
  const Filter filter;
  const std::vector<Piece> pieces = whole_page(filter);
  CHECK(pieces.size() == 5);
  uint64_t at = 0;
  for (const Piece& piece : pieces) {
    CHECK(piece.section == Section::fresh);
    CHECK(piece.first == at);
    at += piece.listed;
  }
  CHECK(at == kNames);
}

TEST_CASE(
    "a page that is begun again gives the open pieces, then new ones, as they would have been") {
  const Filter filter;
  const std::vector<Piece> whole = whole_page(filter);
  Reading reading(filter);
  const auto span = [&](size_t piece) {
    return StreamedPage::Span{piece, whole[piece].first, whole[piece].listed};
  };
  reading.page.begin({span(0), span(2)}, whole[3].first, UINT64_MAX);
  reading.names(0, kNames);
  reading.take();
  REQUIRE(reading.pieces.size() == 4);
  for (size_t i = 0; i < 4; ++i) {
    const Piece& was = whole[i == 0 ? 0 : i + 1];
    CHECK(reading.pieces[i].section == (i < 2 ? Section::span : Section::fresh));
    CHECK(reading.pieces[i].first == was.first);
    CHECK(reading.pieces[i].listed == was.listed);
    CHECK(reading.pieces[i].names == was.names);
  }
}

TEST_CASE("the hash of what is passed over is that of what was listed") {
  const Filter filter;
  Reading first(filter), again(filter);
  first.page.begin({}, 0, 7'000);
  for (uint64_t i = 0; i < 7'000; ++i) {
    if (!first.page.on_name(name_at(i))) first.page.go_on(7'000 - first.page.position());
  }
  again.page.begin({}, 7'000, UINT64_MAX);
  uint64_t at = 0;
  while (again.page.on_name(name_at(at)))
    ++at;
  CHECK(at == 6'999);
  CHECK(again.page.section() == Section::passed);
  CHECK(again.page.is_at_fresh());
  CHECK(again.page.hash() == first.page.hash());
}

TEST_CASE("names that a filter leaves out have no position, and are counted in their piece") {
  Filter filter;
  filter.exclude = {"*skip*"};
  Reading reading(filter);
  reading.page.begin({}, 2, UINT64_MAX);
  CHECK(reading.page.on_name("skip1"));
  CHECK(reading.page.on_name("a"));
  CHECK(reading.page.on_name("skip2"));
  CHECK_FALSE(reading.page.on_name("b"));
  reading.page.go_on(1);
  CHECK(reading.page.on_name("skip3"));
  CHECK_FALSE(reading.page.on_name("c"));
  CHECK(reading.page.position() == 3);
  CHECK(reading.intake.filtered() == 1);
  CHECK(reading.intake.listed() == 1);
}

TEST_CASE("of a page of which nothing is open no name is taken") {
  const Filter filter;
  Reading reading(filter);
  reading.page.begin({{0, 0, 2}}, std::nullopt, UINT64_MAX);
  CHECK(reading.page.on_name("a"));
  CHECK_FALSE(reading.page.on_name("b"));
  CHECK(reading.page.section() == Section::span);
  reading.page.go_on(UINT64_MAX);
  CHECK(reading.page.section() == Section::over);
  CHECK_FALSE(reading.page.on_name("c"));
  CHECK(reading.page.stopped());
}
