// Pages of the marker dialect: any bytes give names or are refused, alike with and without spare
// capacity behind them; a page cut short is refused; names written as a page again are the same.
// Read as its bytes come, a page gives the same whatever the pieces and wherever the reader stops;
// and, where it takes it, what it gives when it is read as a whole.
//
// Input: where to cut (2 bytes), the byte that fills the spare capacity, the page.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/escape.h"
#include "input.h"
#include "listing/dialect.h"

using namespace gigafetch;
using namespace gigafetch::listing;
using fuzz::Input;
using fuzz::require;

namespace {

struct Page final : NameReceiver {
  bool on_name(std::string_view name) override {
    names.emplace_back(name);
    return !stops;
  }
  bool on_bad_name(std::string_view shown, FailureClass, std::string_view why) override {
    require(!why.empty(), "a bad name has a reason");
    bad.push_back({names.size(), std::string(shown)});
    return !stops;
  }
  bool operator==(const Page& other) const {
    return refusal == other.refusal && marker == other.marker && names == other.names &&
           bad == other.bad;
  }
  bool stops = false;   // behind each name
  std::string refusal;  // empty: the page is good
  std::optional<std::string> marker;
  std::vector<std::string> names;
  std::vector<std::pair<size_t, std::string>> bad;  // and how many names stand before
};

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_sequence_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

void note(Page& page, const Error& refusal) {
  require(refusal.code == ErrorCode::malformed, "a refused page is malformed");
  require(is_utf8(refusal.text), "a refusal can be shown");
  for (const char c : refusal.text)
    require(static_cast<uint8_t>(c) >= 0x20 && c != 0x7F, "a refusal holds no control bytes");
  page.refusal = refusal.text;
}

Page read(Dialect& dialect, std::string& bytes) {
  Page page;
  PageReader& reader = dialect.open_page(bytes);
  Result<std::optional<std::string>> marker = reader.next_marker();
  if (!marker) {
    note(page, marker.failure());
    return page;
  }
  page.marker = *marker;
  require(!page.marker || !page.marker->empty(), "no marker is empty");
  if (const Result<void> read = reader.read_names(page); !read) note(page, read.failure());
  return page;
}

// As its bytes come, in pieces of `piece`.
Page stream(const Dialect& dialect, std::string_view bytes, size_t piece, bool stops) {
  Page page;
  page.stops = stops;
  const std::unique_ptr<PageStream> reader = dialect.stream_page();
  while (!bytes.empty()) {
    const std::string now(bytes.substr(0, piece));
    const size_t told = page.names.size() + page.bad.size();
    const Result<size_t> taken = reader->feed(now, page);
    if (!taken) {
      note(page, taken.failure());
      return page;
    }
    require(taken.value() > 0 || page.names.size() + page.bad.size() > told, "a stream goes on");
    bytes.remove_prefix(taken.value());
  }
  Result<std::optional<std::string>> marker = reader->finish();
  if (marker) {
    page.marker = std::move(marker).value();
  } else {
    note(page, marker.failure());
  }
  return page;
}

// What it shows of where it stopped depends on what it had.
bool are_alike(const Page& a, const Page& b) {
  return a.refusal.empty() == b.refusal.empty() && a.marker == b.marker && a.names == b.names &&
         a.bad == b.bad;
}

std::string with_spare(std::string_view bytes, char fill) {
  std::string page(bytes.size() + kPagePadding, fill);
  page.replace(0, bytes.size(), bytes);
  page.resize(bytes.size());
  return page;
}

std::string written(const Page& page) {
  std::string out = R"({"FileNames":[)";
  for (size_t i = 0; i < page.names.size(); ++i) {
    if (i > 0) out += ',';
    append_json_string(out, page.names[i]);
  }
  out += ']';
  if (page.marker) {
    out += R"(,"NextMarker":)";
    append_json_string(out, *page.marker);
  }
  return out += '}';
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const size_t cut = input.take_byte() * size_t{256} + input.take_byte();
  const char fill = static_cast<char>(input.take_byte());

  const std::unique_ptr<Dialect> dialect = make_dialect("marker", "").value();
  std::string tight(input.rest());
  tight.shrink_to_fit();
  const Page page = read(*dialect, tight);
  std::string roomy = with_spare(input.rest(), fill);
  require(read(*dialect, roomy) == page, "spare capacity changes nothing");

  const size_t piece = 1 + cut % 64;
  const Page streamed = stream(*dialect, input.rest(), SIZE_MAX, false);
  require(are_alike(stream(*dialect, input.rest(), piece, false), streamed),
          "pieces change nothing");
  require(are_alike(stream(*dialect, input.rest(), piece, true), streamed), "nor does a stop");
  if (!page.refusal.empty()) return 0;
  // Of what is no JSON, in values that nobody reads, simdjson passes over a little more.
  require(!streamed.refusal.empty() || are_alike(streamed, page),
          "as it comes a page gives what it gives as a whole");

  const size_t end = input.rest().rfind('}');
  require(end != std::string_view::npos, "a page is an object");
  std::string cut_short = with_spare(input.rest().substr(0, std::min(cut, end)), fill);
  require(!read(*dialect, cut_short).refusal.empty(), "a page cut short is refused");

  // A byte that is no UTF-8 would be written as an escape that says no character.
  const bool has_form = std::all_of(page.names.begin(), page.names.end(), is_utf8) &&
                        (!page.marker || is_utf8(*page.marker)) && page.bad.empty();
  if (!has_form) return 0;
  std::string again = written(page);
  require(read(*dialect, again) == page, "names written again are the same");
  require(are_alike(stream(*dialect, again, piece, false), page), "also as they come");
  return 0;
}
