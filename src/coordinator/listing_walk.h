// ListingWalk: takes the pages that the lister brings into the books and the plan. Loop thread
// only.
//
// A walk that goes on where an earlier run left it visits again the pages that were not done, and
// the one before the frontier, then goes on at the frontier. It holds everything back until the
// origin has shown that it still takes the markers of that run: when it does not, or the pages are
// not what they were, the listing begins anew, and pages that are done are known by their names.
//
// When the origin forgets a marker of this run, while names are leased and pages are open, the
// listing is read again from its beginning, without any record, up to where it was (retracing). If
// it is what it was, it goes on there with a marker that is good. If it is not, it begins anew as
// above, once all that is open has been settled.
#pragma once

#include <deque>
#include <optional>
#include <string>

#include "coordinator/books.h"
#include "coordinator/known_pages.h"
#include "coordinator/lister.h"
#include "coordinator/page_intake.h"
#include "coordinator/plan.h"
#include "coordinator/streamed_page.h"

namespace gigafetch::coordinator {

class ListingWalk final : private Lister::Client {
 public:
  class Client {
   public:
    virtual ~Client() = default;
    // The plan has further names, or they are not held back any more.
    virtual void on_names() = 0;
    // No page will follow; the plan has been told.
    virtual void on_listing_over() = 0;
    // As for Lister::Client.
    virtual void on_page_asked(const std::string& page, Millis patience) = 0;
    virtual void on_origin_alive() = 0;
    virtual void on_origin_trouble(const std::string& text) = 0;
    virtual void on_listing_failed(const Error& why) = 0;
  };

  // Everything given must outlive the walk. `state_fd` is borrowed.
  ListingWalk(net::Loop& loop, const Settings& settings, int state_fd, listing::Dialect& dialect,
              Books& books, Plan& plan, Client& client);

  // From where the books say. Retry pages are not the walk's.
  Result<void> begin();
  // Nothing is handed out yet, whatever the plan has.
  bool holds() const { return holding_; }
  // The plan may want pages again, or have settled all that it had.
  void want_more();
  // Nothing follows.
  void stop() { lister_.stop(); }

  uint64_t requests() const { return lister_.requests(); }
  uint64_t retries() const { return lister_.retries(); }

 private:
  // The way from the listing's beginning to where it was.
  struct Retracing {
    uint64_t pages_left = 0;
    store::Trail trail;
  };

  bool wants_page() override;
  Result<uint64_t> on_page(listing::PageReader& page,
                           const std::optional<std::string>& next) override;
  bool on_stream_begin(const std::optional<std::string>& asked_by, bool is_visit) override;
  listing::NameReceiver& stream_receiver() override { return stream_; }
  Result<Flow> on_piece() override;
  Result<uint64_t> on_stream_end(const std::optional<std::string>& next) override;
  bool on_marker_refused() override;
  void on_page_asked(const std::string& page, Millis patience) override {
    client_.on_page_asked(page, patience);
  }
  void on_origin_alive() override { client_.on_origin_alive(); }
  void on_origin_trouble(const std::string& text) override { client_.on_origin_trouble(text); }
  void on_listing_failed(const Error& why) override { client_.on_listing_failed(why); }

  const store::LedgerState& state() const { return books_.state(); }
  uint64_t left_to_list() const;
  uint64_t stream_limit() const { return retracing_ ? UINT64_MAX : left_to_list(); }
  Result<void> load_known();
  std::deque<Lister::Marker> collect_visits();
  std::deque<uint64_t>::iterator find_visit();
  store::PageFacts page_facts(const std::optional<std::string>& next) const;
  store::PageFacts piece_facts() const;
  void log_rejected(store::PageFacts& facts);
  size_t marker_bytes(uint64_t number) const;
  void take_page(store::PageFacts facts);
  void take_visit(uint64_t number, store::PageFacts facts);
  void take_span(const store::PageFacts& facts);
  void compare_last(const store::PageFacts& facts);
  void retrace(const store::PageFacts& facts);
  void changed(const char* what);
  Result<void> write(bool visit);
  void release_hold(bool visit);
  void relist();
  void end_listing();

  const Settings& settings_;
  int state_fd_;
  Books& books_;
  Plan& plan_;
  Client& client_;
  PageIntake intake_;
  StreamedPage stream_{intake_};
  uint64_t stream_names_ = 0;  // of the page that is streamed, so far
  KnownPages known_;
  std::deque<uint64_t> visits_;  // numbers of the pages that the lister visits again
  bool listing_over_ = false;    // no page behind the frontier is wanted
  bool holding_ = false;
  bool frontier_is_old_ = false;  // the page there is asked for by a marker of an earlier run
  bool relist_wanted_ = false;
  bool relist_when_settled_ = false;
  std::optional<Retracing> retracing_;
  uint32_t retraced_ = 0;     // times, since the last new page
  uint32_t relisted_ = 0;     // times, in this process
  bool page_is_due_ = false;  // one more is taken, whatever the plan has: its marker is good now
  Lister lister_;
};

}  // namespace gigafetch::coordinator
