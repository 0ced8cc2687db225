#include "listing/marker_dialect.h"

#include <algorithm>

#include "base/escape.h"
#include "base/percent.h"

namespace gigafetch::listing {

static_assert(kPagePadding == simdjson::SIMDJSON_PADDING);

namespace {

// A string of a page that has no escapes stands there as it is: the parser's first pass has found
// its end, and refused what may not be in it.
simdjson::error_code read_plain(simdjson::ondemand::value value, std::string_view& text) {
  const std::string_view token = value.raw_json_token();
  const size_t end = token.find_last_of('"');
  simdjson::ondemand::raw_json_string raw;
  if (const auto code = value.get_raw_json_string().get(raw); code != simdjson::SUCCESS) {
    return code;
  }
  if (end == token.npos || end == 0) return simdjson::STRING_ERROR;
  text = token.substr(1, end - 1);
  return simdjson::SUCCESS;
}

class ScannedPage final : public PageStream {
 public:
  Result<size_t> feed(std::string_view bytes, NameReceiver& receiver) override {
    return scanner_.feed(bytes, receiver);
  }
  Result<std::optional<std::string>> finish() override { return scanner_.finish(); }

 private:
  MarkerScanner scanner_;
};

class Nobody final : public NameReceiver {
 public:
  bool on_name(std::string_view) override { return true; }
  bool on_bad_name(std::string_view, FailureClass, std::string_view) override { return true; }
};

// Passes on all but the first names.
class Skipping final : public NameReceiver {
 public:
  Skipping(NameReceiver& receiver, uint64_t skip) : receiver_(receiver), skip_(skip) {}
  bool on_name(std::string_view name) override { return skips() || receiver_.on_name(name); }
  bool on_bad_name(std::string_view shown, FailureClass cause, std::string_view why) override {
    return skips() || receiver_.on_bad_name(shown, cause, why);
  }

 private:
  bool skips() {
    if (skip_ == 0) return false;
    --skip_;
    return true;
  }
  NameReceiver& receiver_;
  uint64_t skip_;
};

}  // namespace

MarkerDialect::MarkerDialect(std::string_view base_path)
    : list_target_(std::string(base_path) + "/list"),
      file_prefix_(std::string(base_path) + "/get/"),
      parser_(kWholePageBytes) {}

void MarkerDialect::append_list_target(std::string& out,
                                       const std::optional<std::string>& marker) const {
  out += list_target_;
  if (!marker) return;
  out += "?next-marker=";
  append_percent_encoded(out, *marker, SlashMode::encode);
}

void MarkerDialect::append_file_target(std::string& out, std::string_view name) const {
  out += file_prefix_;
  append_percent_encoded(out, name, SlashMode::keep);
}

PageReader& MarkerDialect::open_page(std::string& page) {
  page_ = &page;
  scanning_ = false;
  return *this;
}

std::unique_ptr<PageStream> MarkerDialect::stream_page() const {
  return std::make_unique<ScannedPage>();
}

Result<std::optional<std::string>> MarkerDialect::next_marker() {
  page_->reserve(page_->size() + simdjson::SIMDJSON_PADDING);
  if (const auto code =
          parser_.iterate(page_->data(), page_->size(), page_->capacity()).get(document_);
      code != simdjson::SUCCESS) {
    if (code == simdjson::UTF8_ERROR || code == simdjson::UNESCAPED_CHARS) return scan_marker();
    return refuse(code, "the page");
  }
  // One walk over the whole object: what is cut off or follows it shows here, before any name of
  // the page is used. The names themselves are skipped by their brackets, which is quick.
  simdjson::ondemand::object object;
  if (const auto code = document_.get_object().get(object); code != simdjson::SUCCESS) {
    return refuse(code, "the page, which must be a JSON object,");
  }
  std::optional<std::string> next_marker, next_file;
  bool has_marker = false, has_file = false;
  has_names_ = false;
  for (auto item : object) {
    simdjson::ondemand::field field;
    if (const auto code = std::move(item).get(field); code != simdjson::SUCCESS) {
      return refuse(code, "the page");
    }
    std::string_view key;
    if (const auto code = field.unescaped_key().get(key); code != simdjson::SUCCESS) {
      return refuse(code, "the page");
    }
    bool* const seen = key == "FileNames"    ? &has_names_
                       : key == "NextMarker" ? &has_marker
                       : key == "NextFile"   ? &has_file
                                             : nullptr;
    if (seen == nullptr) continue;
    if (*seen) return error(ErrorCode::malformed, "\"{}\" stands twice in one page", key);
    *seen = true;
    if (key != "FileNames") {
      std::optional<std::string>& marker = key == "NextMarker" ? next_marker : next_file;
      if (const auto code = read_marker(field.value(), marker); code != simdjson::SUCCESS) {
        return refuse(code, "the next page's marker, which must be a string,");
      }
    }
  }
  const char* rest = nullptr;
  if (document_.current_location().get(rest) != simdjson::OUT_OF_BOUNDS) {
    return refuse(simdjson::TAPE_ERROR, "what follows the page's JSON object");
  }
  if (!has_names_) {
    return error(ErrorCode::malformed, "the page has no \"FileNames\"; it begins with '{}'",
                 printable(*page_, 60));
  }
  return next_marker ? next_marker : next_file;
}

simdjson::error_code MarkerDialect::read_marker(simdjson::ondemand::value value,
                                                std::optional<std::string>& marker) {
  bool null = false;
  if (const auto code = value.is_null().get(null); code != simdjson::SUCCESS) return code;
  if (null) return simdjson::SUCCESS;
  std::string_view text;
  if (const auto code = value.get_string().get(text); code != simdjson::SUCCESS) return code;
  if (!text.empty()) marker.emplace(text);
  return simdjson::SUCCESS;
}

Result<std::optional<std::string>> MarkerDialect::scan_marker() {
  Nobody nobody;
  scanning_ = true;
  scanner_.reset();
  if (Result<size_t> fed = scanner_.feed(*page_, nobody); !fed) return std::move(fed).failure();
  return scanner_.finish();
}

// The page's marker has been read: it is whole.
Result<void> MarkerDialect::scan_names(NameReceiver& receiver, uint64_t skip) {
  Skipping wanted(receiver, skip);
  scanner_.reset();
  Result<size_t> fed = scanner_.feed(*page_, wanted);
  if (!fed) return std::move(fed).failure();
  if (*fed < page_->size()) return {};
  Result<std::optional<std::string>> marker = scanner_.finish();
  return marker ? Result<void>() : std::move(marker).failure();
}

Result<void> MarkerDialect::read_names(NameReceiver& receiver) {
  if (scanning_) return scan_names(receiver, 0);
  document_.rewind();
  simdjson::ondemand::value value;
  if (const auto code = document_.find_field_unordered("FileNames").get(value);
      code != simdjson::SUCCESS) {
    return refuse(code, "\"FileNames\"");
  }
  // Some servers write an empty list as null.
  bool null = false;
  if (const auto code = value.is_null().get(null); code == simdjson::SUCCESS && null) return {};
  simdjson::ondemand::array names;
  if (const auto code = value.get_array().get(names); code != simdjson::SUCCESS) {
    return refuse(code, "\"FileNames\", which must be a list of strings,");
  }
  uint64_t taken = 0;
  const bool plain = page_->find('\\') == page_->npos;
  for (auto item : names) {
    simdjson::ondemand::value element;
    std::string_view name;
    auto code = std::move(item).get(element);
    if (code == simdjson::SUCCESS) {
      code = plain ? read_plain(element, name) : element.get_string().get(name);
    }
    if (code != simdjson::SUCCESS) return scan_names(receiver, taken);
    ++taken;
    if (!receiver.on_name(name)) return {};
  }
  return {};
}

Error MarkerDialect::refuse(simdjson::error_code code, std::string_view what) {
  const size_t first = page_->find_first_not_of(" \t\r\n");
  if (first == page_->npos) return error(ErrorCode::malformed, "{} is empty", what);
  if (page_->at(first) != '{') {
    return error(
        ErrorCode::malformed,
        "{} is no JSON object; at byte {} there stands '{}'; is the URL the service's base?", what,
        first, printable(std::string_view(*page_).substr(first), 60));
  }
  if (code == simdjson::INCOMPLETE_ARRAY_OR_OBJECT || code == simdjson::UNCLOSED_STRING) {
    const size_t shown = std::min<size_t>(page_->size(), 60);
    return error(
        ErrorCode::malformed,
        "{} is cut off at byte {}, or something stands behind its object; it ends with '{}'", what,
        page_->size(), printable(std::string_view(*page_).substr(page_->size() - shown)));
  }
  const char* location = nullptr;
  // Only a document that was started has a location.
  const bool started = code != simdjson::EMPTY && code != simdjson::UTF8_ERROR &&
                       code != simdjson::UNESCAPED_CHARS && code != simdjson::CAPACITY &&
                       code != simdjson::MEMALLOC;
  if (started && document_.current_location().get(location) != simdjson::SUCCESS)
    location = nullptr;
  const char* begin = page_->data();
  if (location < begin || location >= begin + page_->size()) {
    return error(ErrorCode::malformed, "{} ({} bytes) is not valid: {}; it begins with '{}'", what,
                 page_->size(), simdjson::error_message(code), printable(*page_, 60));
  }
  const auto offset = static_cast<size_t>(location - begin);
  return error(ErrorCode::malformed, "{} is not valid at byte {}: {}; there stands '{}'", what,
               offset, simdjson::error_message(code),
               printable(std::string_view(*page_).substr(offset), 60));
}

}  // namespace gigafetch::listing
