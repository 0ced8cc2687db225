// The marker dialect: `GET /list` answers {"FileNames": [...], "NextMarker": "token"}, and
// `GET /list?next-marker=token` the page behind it; the last page has no marker. Files are at
// `GET /get/NAME`, with '/' inside a name kept. Some servers of the family say "NextFile".
#pragma once

#include <simdjson.h>

#include "listing/dialect.h"
#include "listing/marker_scanner.h"

namespace gigafetch::listing {

// simdjson reads the pages. It refuses a page as a whole where a single name is not what JSON
// demands; such a page is read again by MarkerScanner, which is slower and refuses that name alone.
class MarkerDialect final : public Dialect, private PageReader {
 public:
  explicit MarkerDialect(std::string_view base_path);

  void append_list_target(std::string& out,
                          const std::optional<std::string>& marker) const override;
  void append_file_target(std::string& out, std::string_view name) const override;
  PageReader& open_page(std::string& page) override;
  std::unique_ptr<PageStream> stream_page() const override;

 private:
  Result<std::optional<std::string>> next_marker() override;
  Result<void> read_names(NameReceiver& receiver) override;

  Result<std::optional<std::string>> scan_marker();
  Result<void> scan_names(NameReceiver& receiver, uint64_t skip);
  static simdjson::error_code read_marker(simdjson::ondemand::value value,
                                          std::optional<std::string>& marker);
  // The error for `what`, with the offset where simdjson stopped.
  Error refuse(simdjson::error_code code, std::string_view what);

  std::string list_target_;
  std::string file_prefix_;
  simdjson::ondemand::parser parser_;
  simdjson::ondemand::document document_;
  std::string* page_ = nullptr;
  bool has_names_ = false;
  bool scanning_ = false;  // the page is none for simdjson
  MarkerScanner scanner_;
};

}  // namespace gigafetch::listing
