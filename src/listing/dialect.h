// Dialect: how one family of services lists its names, and where it serves them.
//
// A dialect turns markers into request targets, page bytes into names and the next marker, and
// names into request targets. It opens no connections and keeps nothing between pages.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/failure.h"
#include "base/result.h"

namespace gigafetch::listing {

// A page over this many bytes is not read as a whole (PageReader), but as it comes (PageStream).
inline constexpr size_t kWholePageBytes = 4 * 1024 * 1024;

// Receives the names of one page, in their order. A view is valid during the call only.
class NameReceiver {
 public:
  virtual ~NameReceiver() = default;
  // Any bytes. False: no more names are wanted, or none for now.
  virtual bool on_name(std::string_view name) = 0;
  // What stands in a name's place and is none; `shown` is what can be shown of it. The rest of the
  // page is good all the same. False as above.
  virtual bool on_bad_name(std::string_view shown, FailureClass cause, std::string_view why) = 0;
};

// One page's bytes, being read. next_marker() comes first, once; then read_names(), once.
class PageReader {
 public:
  virtual ~PageReader() = default;
  // The marker that asks for the page behind this one; nullopt when this is the last. Fails
  // (malformed) when the page is not what the dialect says; the text gives the offset.
  virtual Result<std::optional<std::string>> next_marker() = 0;
  // Passes the names on. Fails as above; names passed on before the failure must be dropped.
  virtual Result<void> read_names(NameReceiver& receiver) = 0;
};

// A page's bytes, being read as they come: for pages too long to be held. Memory is bounded.
class PageStream {
 public:
  virtual ~PageStream() = default;
  // Passes names on until the bytes end or the receiver wants no more for now; gives how many bytes
  // are used up. Fails as PageReader does, for good.
  virtual Result<size_t> feed(std::string_view bytes, NameReceiver& receiver) = 0;
  // The page has ended: as PageReader::next_marker.
  virtual Result<std::optional<std::string>> finish() = 0;
};

class Dialect {
 public:
  virtual ~Dialect() = default;

  // Appends the request target of the page that `marker` asks for; nullopt is the first page.
  virtual void append_list_target(std::string& out,
                                  const std::optional<std::string>& marker) const = 0;

  // Appends the request target of the file `name`.
  virtual void append_file_target(std::string& out, std::string_view name) const = 0;

  // Starts reading a page. `page` must stay as it is while the reader is used, and only one reader
  // of a dialect may be in use at a time. Spare capacity behind the page's end is used where it is
  // there (see kPagePadding), so that the page need not be copied.
  virtual PageReader& open_page(std::string& page) = 0;

  // Starts reading a page as it comes. It gives the names that a PageReader would give.
  virtual std::unique_ptr<PageStream> stream_page() const = 0;
};

// Bytes of capacity behind a page's end that spare the readers a copy.
inline constexpr size_t kPagePadding = 64;

// The dialect called `name` ("marker") for a service at `base_path` (http::Url). Fails (usage) on
// an unknown name.
Result<std::unique_ptr<Dialect>> make_dialect(std::string_view name, std::string_view base_path);

}  // namespace gigafetch::listing
