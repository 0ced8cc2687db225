// PageClient: who a Lister brings the pages of a listing. Loop thread only.
//
// A page that fits into memory comes at once, by on_page. A longer one comes in pieces:
//
//     on_stream_begin (names to stream_receiver, on_piece)... on_stream_end
//
// and begins again when it broke off. Any call may start or stop the lister.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "listing/dialect.h"

namespace gigafetch::coordinator {

class PageClient {
 public:
  virtual ~PageClient() = default;
  // Whether the page behind the current one should be asked for at once.
  virtual bool wants_page() = 0;
  // A page, whose names are to be read now. Gives the number of names on it; an error ends the
  // listing. `next` is the marker of the page behind it; nullopt when it is the last.
  // A page that cannot be read (malformed) is asked for again.
  virtual Result<uint64_t> on_page(listing::PageReader& page,
                                   const std::optional<std::string>& next) = 0;

  // A page read as it comes begins, perhaps not for the first time. True when it is, or goes on
  // over, the page at the frontier; a visit may end before.
  virtual bool on_stream_begin(const std::optional<std::string>& asked_by, bool is_visit) = 0;
  // Takes its names. Where it says that it wants no more, on_piece follows.
  virtual listing::NameReceiver& stream_receiver() = 0;
  enum class Flow : uint8_t {
    none,    // nothing was due: the bytes ran out
    more,    // of its names
    pause,   // until want_more()
    enough,  // of this page
  };
  // Called whenever the receiver has stopped or the bytes ran out. An error ends the listing.
  virtual Result<Flow> on_piece() = 0;
  // The page has ended, with all names passed on. Gives how many it had.
  virtual Result<uint64_t> on_stream_end(const std::optional<std::string>& next) = 0;

  // The origin does not take a marker (any more). True when the listing has been started anew;
  // else it fails.
  virtual bool on_marker_refused() { return false; }
  // A page has been asked for, on a connection that stands. Its answer may take so long to begin.
  virtual void on_page_asked(const std::string& page, Millis patience) = 0;
  // The origin has answered something.
  virtual void on_origin_alive() = 0;
  // It cannot be reached at present; the lister keeps trying.
  virtual void on_origin_trouble(const std::string& text) = 0;
  // The listing cannot go on. Nothing follows.
  virtual void on_listing_failed(const Error& why) = 0;
};

}  // namespace gigafetch::coordinator
