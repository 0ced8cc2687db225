// Pages of the marker dialect: any bytes give names or are refused, alike with and without spare
// capacity behind them; a page cut short is refused; names written as a page again are the same.
//
// Input: where to cut (2 bytes), the byte that fills the spare capacity, the page.
#include <memory>
#include <optional>
#include <string>
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
    return true;
  }
  bool operator==(const Page& other) const {
    return refusal == other.refusal && marker == other.marker && names == other.names;
  }
  std::string refusal;  // empty: the page is good
  std::optional<std::string> marker;
  std::vector<std::string> names;
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
  require(!page.marker || is_utf8(*page.marker), "a marker is Unicode");
  if (const Result<void> read = reader.read_names(page); !read) note(page, read.failure());
  for (const std::string& name : page.names)
    require(is_utf8(name), "a name is Unicode");
  return page;
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
  if (!page.refusal.empty()) return 0;

  const size_t end = input.rest().rfind('}');
  require(end != std::string_view::npos, "a page is an object");
  std::string cut_short = with_spare(input.rest().substr(0, std::min(cut, end)), fill);
  require(!read(*dialect, cut_short).refusal.empty(), "a page cut short is refused");

  std::string again = written(page);
  require(read(*dialect, again) == page, "names written again are the same");
  return 0;
}
