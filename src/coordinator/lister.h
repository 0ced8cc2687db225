// Lister: walks an origin's listing, page by page, over one connection. Loop thread only.
//
// The next page is asked for as soon as the current one's marker is known, before its names are
// read, and as far ahead as the client wants pages.
//
// A listing that goes on where an earlier run left it first asks again for the pages that were not
// done (visits), then from its frontier on.
//
//     idle -> asking -> (page) -> asking ...   while the client wants pages
//                          \----> idle         until want_more()
//                           \---> ended        no marker, stop(), or an error
#pragma once

#include <deque>
#include <optional>
#include <string>

#include "base/backoff.h"
#include "base/rate_limit.h"
#include "coordinator/settings.h"
#include "listing/dialect.h"
#include "listing/loop_detector.h"
#include "net/address.h"
#include "net/http_connection.h"
#include "net/timer.h"

namespace gigafetch::coordinator {

class Lister final : private net::HttpConnection::Handler {
 public:
  class Client {
   public:
    virtual ~Client() = default;
    // Whether the page behind the current one should be asked for at once.
    virtual bool wants_page() = 0;
    // A page, whose names are to be read now. Gives the number of names on it; an error ends the
    // listing. `next` is the marker of the page behind it; nullopt when it is the last.
    virtual Result<uint64_t> on_page(listing::PageReader& page,
                                     const std::optional<std::string>& next) = 0;
    // The origin does not take a marker that an earlier run has left. True when the listing has
    // been started anew; else it fails.
    virtual bool on_marker_refused() { return false; }
    // The origin has answered something.
    virtual void on_origin_alive() = 0;
    // It cannot be reached at present; the lister keeps trying.
    virtual void on_origin_trouble(const std::string& text) = 0;
    // The listing cannot go on. Nothing follows.
    virtual void on_listing_failed(const Error& why) = 0;
  };

  // Everything given must outlive the lister.
  Lister(net::Loop& loop, const ListingSettings& settings, listing::Dialect& dialect,
         Client& client);

  // Asks for the first page.
  void start() { start({}, std::nullopt, false); }
  // Asks for the pages that `visits` ask for, then from `frontier` on, unless the listing `ended`
  // there.
  using Marker = std::optional<std::string>;
  void start(std::deque<Marker> visits, Marker frontier, bool ended);
  // Whether the page that comes next, or is being read, is a visit.
  bool is_visit() const { return visiting_; }
  // The client wants pages again. Without effect while a page is on its way, or at the end.
  void want_more();
  // Ends the listing; nothing follows.
  void stop();

  uint64_t pages() const { return pages_; }
  uint64_t requests() const { return requests_; }
  uint64_t retries() const { return retries_; }

 private:
  enum class State : uint8_t { idle, asking, ended };

  void on_open() override;
  bool on_head(const http::ResponseHead& head) override;
  bool on_body(std::string_view piece) override;
  void on_response() override;
  void on_read_end() override;
  void on_closed(const net::Closure& closure) override;

  void begin_asking();
  void ask();
  const Marker& marker() const { return visits_.empty() ? marker_ : visits_.front(); }
  void connect();
  void resolve();
  void send_request();
  void take_page();
  void refused();
  Result<void> advance(const Marker& next);
  Result<void> read_page();
  void failed_try(std::string text);
  void away(std::string text);
  void fail(ErrorCode code, std::string text);
  std::string page_name() const;
  void sweep(TimePoint since);

  net::Loop& loop_;
  const ListingSettings& settings_;
  listing::Dialect& dialect_;
  Client& client_;
  http::RequestWriter request_writer_;
  Random random_;
  Backoff backoff_;

  State state_ = State::idle;
  std::deque<Marker> visits_;  // ask for the pages to be visited again
  Marker marker_;              // asks for the page behind the frontier
  bool frontier_ended_ = false;
  bool marker_is_old_ = false;  // marker_ is of an earlier run
  bool visiting_ = false;
  listing::LoopDetector loop_detector_;
  uint32_t empty_pages_ = 0;  // in a row
  uint64_t pages_ = 0;
  uint64_t requests_ = 0;
  uint64_t retries_ = 0;

  net::Resolver resolver_;
  net::AddressRing addresses_;
  size_t address_index_ = 0;
  net::HttpConnection connection_;
  net::Timer retry_timer_;
  RateLimit rate_limit_;
  net::StallSweep sweep_;
  uint32_t tries_ = 0;          // of this page, charged
  uint32_t away_failures_ = 0;  // connections that failed, in a row

  std::string page_;  // being read by the client
  // The answer under way.
  std::string body_;
  bool page_whole_ = false;
  std::optional<Error> refusal_;  // final, found in the head or body
  bool refuses_marker_ = false;   // and it is about the marker, which is old
  std::string passing_failure_;   // worth another try
  Millis retry_after_{0};         // and not before
  size_t discarded_ = 0;          // bytes of its page
};

}  // namespace gigafetch::coordinator
