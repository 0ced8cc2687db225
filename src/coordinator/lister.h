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
//
// A page over listing::kWholePageBytes is not held, but read as its bytes come: its names go to the
// client in pieces, and while the client wants none the connection is not read.
//
// What is no page (another status, a body that is no listing) is asked for again, with growing
// waits, as often as settings.retries says; but for the very first page, where it most likely means
// that the URL is wrong. A redirect within the origin is followed.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "base/backoff.h"
#include "base/rate_limit.h"
#include "coordinator/page_client.h"
#include "coordinator/settings.h"
#include "listing/dialect.h"
#include "listing/loop_detector.h"
#include "net/address.h"
#include "net/http_connection.h"
#include "net/timer.h"

namespace gigafetch::coordinator {

class Lister final : private net::HttpConnection::Handler {
 public:
  using Client = PageClient;

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
  // Of a page being read: the marker that has asked for it.
  const Marker& asked_by() const { return before_.asked_by; }
  // The client wants pages, or names of this one, again. Without effect while a page is on its way,
  // or at the end.
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

  // What the answer under way is.
  enum class Kind : uint8_t {
    page,
    redirect,        // within the origin
    passing,         // worth another try
    refused,         // perhaps worth another try
    marker_refused,  // the same; it may be about the marker
    too_large,
  };
  struct Answer {
    bool begun = false;  // its head has come
    Kind kind = Kind::page;
    int status = 0;
    bool whole = false;
    uint64_t bytes = 0;     // of its body
    std::string shown;      // how the body of one that is no page begins
    std::string text;       // what is wrong with it
    std::string target;     // where it leads
    Millis retry_after{0};  // not before
  };
  // Where the listing was before a page was read.
  struct Place {
    Marker asked_by;
    bool is_visit = false;
    bool marker_is_old = false;
    listing::LoopDetector loop_detector;
  };
  // A request path that has moved for good.
  struct Moved {
    std::string from, to;
  };

  void begin_asking();
  void ask();
  const Marker& marker() const { return visits_.empty() ? marker_ : visits_.front(); }
  void connect();
  void resolve();
  void send_request();
  void judge(const http::ResponseHead& head);
  void take_answer();
  void take_page();
  void follow();
  void refused();
  void bad_page(const std::string& name, const Error& why);
  void go_back();
  Result<void> advance(const Marker& next, bool is_visit);
  Result<void> count_names(uint64_t names);
  void pump();
  void end_stream();
  void leave_stream();
  void leave_page();
  void bad_answer(ErrorCode code, std::string text, bool about_marker = false);
  void failed_try(ErrorCode code, std::string text, bool about_marker = false);
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
  Millis retry_after_{0};       // as the last answer asked
  uint64_t generation_ = 0;     // counts start() and stop(), which the client may call at any time

  std::string target_;      // of the request under way
  std::string redirected_;  // where it was led; empty: nowhere
  uint32_t redirects_ = 0;
  std::optional<Moved> moved_;

  Answer answer_;     // under way
  std::string body_;  // its body, or what is not used up of it
  std::string page_;  // being read by the client
  Place before_;      // it

  // A page read as it comes.
  std::unique_ptr<listing::PageStream> stream_;
  bool is_long_ = false;  // the page under way is to be read so
  bool stream_is_frontier_ = false;
  bool paused_ = false;  // by the client
  TimePoint resumed_;
};

}  // namespace gigafetch::coordinator
