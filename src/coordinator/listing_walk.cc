#include "coordinator/listing_walk.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace gigafetch::coordinator {
namespace {

// Stands for the page before the frontier among those that are visited.
constexpr uint64_t kLastPage = UINT64_MAX;
// A listing that is read again so often without a new page, or that begins anew so often, has no
// end.
constexpr uint32_t kMaxRetraced = 2;
constexpr uint32_t kMaxRelisted = 10;

}  // namespace

ListingWalk::ListingWalk(net::Loop& loop, const Settings& settings, int state_fd,
                         listing::Dialect& dialect, Books& books, Plan& plan, Client& client)
    : settings_(settings),
      state_fd_(state_fd),
      books_(books),
      plan_(plan),
      client_(client),
      intake_(settings.filter),
      lister_(loop, settings.listing, dialect, static_cast<Lister::Client&>(*this)) {}

Result<void> ListingWalk::begin() {
  if (state().relisting()) {
    if (Result<void> known = load_known(); !known) return known;
  }
  const store::Frontier& frontier = state().frontier();
  listing_over_ = frontier.ended || left_to_list() == 0;
  frontier_is_old_ = frontier.marker.has_value();
  std::deque<Lister::Marker> visits = collect_visits();
  // Until the origin has shown that it takes the markers, nothing is handed out.
  holding_ = !visits.empty() || (!listing_over_ && (frontier.marker || frontier.skipped > 0));
  if (visits.empty() && listing_over_) {
    end_listing();
  } else {
    lister_.start(std::move(visits), frontier.marker, listing_over_);
  }
  return {};
}

// The markers that ask for them, in the order of visits_.
std::deque<Lister::Marker> ListingWalk::collect_visits() {
  std::deque<Lister::Marker> visits;
  const store::Trail& trail = state().trail();
  bool sees_last = listing_over_ || !trail.has_last || trail.skipped > 0 ||
                   state().frontier().skipped > 0 || !state().frontier().marker;
  for (const auto& [number, page] : state().open()) {
    if (page.retry) continue;
    sees_last |= page.asked_by == trail.asked_by;
    visits.push_back(page.asked_by);
    visits_.push_back(number);
  }
  // An origin that has forgotten its markers may answer with its first page, or with an empty one:
  // the page before the frontier must be what it was.
  if (!sees_last) {
    visits.push_back(trail.asked_by);
    visits_.push_back(kLastPage);
  }
  return visits;
}

Result<void> ListingWalk::load_known() {
  return known_.load(state_fd_, books_.ledger()->job_id(), state());
}

uint64_t ListingWalk::left_to_list() const {
  return settings_.limit - std::min(settings_.limit, state().totals().listed);
}

bool ListingWalk::wants_page() {
  if (listing_over_ || relist_when_settled_) return false;
  return holding_ || retracing_ || page_is_due_ || plan_.wants_page();
}

void ListingWalk::want_more() {
  if (relist_when_settled_ && plan_.leases() == 0 && !plan_.has_queued()) return relist();
  if (wants_page()) lister_.want_more();
}

// --- a page that is held ---

Result<uint64_t> ListingWalk::on_page(listing::PageReader& page,
                                      const std::optional<std::string>& next) {
  const bool visit = lister_.is_visit();
  const auto visited = visit ? find_visit() : visits_.end();
  // Its visits were part of one long page that is short now.
  if (visit && visited == visits_.end()) return 0;
  const uint64_t number = visit ? *visited : 0;
  uint64_t skip = state().frontier().skipped, limit = left_to_list();
  if (retracing_ || number == kLastPage) {
    skip = 0;
    limit = UINT64_MAX;
  } else if (visit) {
    const store::OpenPage& open = state().open().at(number);
    skip = open.skipped;
    const bool was_cut = open.facts.next == store::PageFacts::Next::same;
    limit = was_cut ? open.facts.listed : UINT64_MAX;
  }
  stream_.leave();
  intake_.begin_page(skip, limit);
  if (Result<void> read = page.read_names(intake_); !read) return std::move(read).failure();
  const uint64_t names = skip + intake_.listed() + intake_.filtered();
  const store::PageFacts facts = page_facts(next);
  if (visit) visits_.erase(visited);
  if (retracing_) {
    retrace(facts);
  } else if (number == kLastPage) {
    compare_last(facts);
  } else if (visit) {
    take_visit(number, facts);
  } else {
    take_page(facts);
  }
  if (Result<void> written = write(visit); !written) return std::move(written).failure();
  return names;
}

// The first of visits_ that the marker of the page being read asks for.
std::deque<uint64_t>::iterator ListingWalk::find_visit() {
  return std::find_if(visits_.begin(), visits_.end(), [&](uint64_t number) {
    const auto& asked_by =
        number == kLastPage ? state().trail().asked_by : state().open().at(number).asked_by;
    return asked_by == lister_.asked_by();
  });
}

// What has been taken is in the books before a name of it is handed out.
Result<void> ListingWalk::write(bool visit) {
  Result<void> written = books_.flush();
  // Not the page's fault, whatever it is called.
  if (!written) return Error{ErrorCode::io, written.failure().text};
  release_hold(visit);
  return {};
}

store::PageFacts ListingWalk::page_facts(const std::optional<std::string>& next) const {
  using Next = store::PageFacts::Next;
  store::PageFacts facts;
  facts.next = intake_.limit_reached() ? Next::same : next ? Next::marker : Next::none;
  if (facts.next == Next::marker) facts.marker = *next;
  facts.listed = intake_.listed();
  facts.names = intake_.names().count();
  facts.duplicates = intake_.duplicates();
  facts.rejected = intake_.rejected().size();
  facts.filtered = intake_.filtered();
  facts.names_hash = store::hash_of_names(intake_.names().bytes());
  facts.log_end = books_.log_end();
  if (facts.next == Next::same) facts.cut_hash = intake_.cut_hash();
  return facts;
}

void ListingWalk::log_rejected(store::PageFacts& facts) {
  for (const auto& [name, failure] : intake_.rejected())
    books_.log_failure(name, failure);
  facts.log_end = books_.log_end();
}

void ListingWalk::take_page(store::PageFacts facts) {
  // The first names of a page that --limit had cut are known by their number alone: they must be
  // the same ones. (Of a page that is streamed the walk has compared them.)
  const store::Frontier& frontier = state().frontier();
  const bool streamed = stream_.section() == StreamedPage::Section::fresh;
  if (!streamed && frontier.skipped > 0 && intake_.skipped_hash() != frontier.skipped_hash) {
    return changed("the page that --limit had cut has changed");
  }
  // Such a page is how an origin may answer to a marker that it has forgotten.
  const bool is_end = facts.next == store::PageFacts::Next::none;
  const bool is_empty = facts.listed + facts.filtered == 0 && frontier.skipped == 0;
  if (std::exchange(frontier_is_old_, false) && is_end && is_empty) {
    return changed("the listing ends right behind where an earlier run had stopped");
  }
  retraced_ = 0;
  page_is_due_ = false;
  const KnownPages::Page* const known =
      facts.rejected == 0 ? known_.find(facts.names_hash, facts.names) : nullptr;
  if (known != nullptr && facts.names > 0) {
    books_.ledger()->add_known_page(facts, known->bytes, known->content);
  } else {
    log_rejected(facts);
    const uint64_t number = books_.add_page(facts, intake_.names());
    if (facts.names > 0) {
      plan_.add_page(number, intake_.take_names(), {{0, facts.names}}, marker_bytes(number));
    }
  }
  if (state().frontier().ended || intake_.limit_reached()) listing_over_ = true;
}

// What the books hold for an open page's markers.
size_t ListingWalk::marker_bytes(uint64_t number) const {
  const store::OpenPage& page = state().open().at(number);
  return page.facts.marker.size() + (page.asked_by ? page.asked_by->size() : 0);
}

// A page that an earlier run had not done. When it is not what it was, it is a new page; and when
// it does not lead to where it led, the pages behind it may be others too.
void ListingWalk::take_visit(uint64_t number, store::PageFacts facts) {
  const store::OpenPage& open = state().open().at(number);
  const store::PageFacts& was = open.facts;
  if (facts.names_hash == was.names_hash && facts.names == was.names) {
    return plan_.add_page(number, intake_.take_names(), open.settled.gaps(facts.names),
                          marker_bytes(number));
  }
  const bool leads_elsewhere = facts.next != was.next || facts.marker != was.marker;
  const bool has_failures = open.failed + open.rejected + was.rejected > 0;
  if (leads_elsewhere || has_failures) {
    return changed("the listing has changed since the last run");
  }
  log_rejected(facts);
  const uint64_t new_number = books_.ledger()->replace_page(number, facts);
  if (facts.names > 0) {
    plan_.add_page(new_number, intake_.take_names(), {{0, facts.names}}, marker_bytes(new_number));
  }
}

// The page before the frontier: it is the same, or it leads there all the same.
void ListingWalk::compare_last(const store::PageFacts& facts) {
  const store::Trail& was = state().trail();
  const bool is_same = facts.names_hash == was.names_hash && facts.names == was.names;
  const bool leads_on = facts.next == store::PageFacts::Next::marker;
  if (leads_on && (is_same || facts.marker == state().frontier().marker)) return;
  changed("the page before the one to go on with is not what it was");
}

// --- a page that is read as it comes ---

bool ListingWalk::on_stream_begin(const std::optional<std::string>& asked_by, bool is_visit) {
  stream_names_ = 0;
  if (retracing_) {
    stream_.begin({}, 0, UINT64_MAX);
    return true;
  }
  std::deque<StreamedPage::Span> spans;
  for (const uint64_t number : visits_) {
    if (number == kLastPage) continue;
    const store::OpenPage& open = state().open().at(number);
    if (open.asked_by == asked_by) spans.push_back({number, open.skipped, open.facts.listed});
  }
  std::erase_if(visits_, [&](uint64_t number) {
    return number == kLastPage && state().trail().asked_by == asked_by;
  });
  std::sort(spans.begin(), spans.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  const store::Frontier& frontier = state().frontier();
  const bool is_frontier =
      !listing_over_ && (!is_visit || (frontier.marker == asked_by && frontier.skipped > 0));
  stream_.begin(std::move(spans), is_frontier ? std::optional(frontier.skipped) : std::nullopt,
                stream_limit());
  return is_frontier;
}

store::PageFacts ListingWalk::piece_facts() const {
  store::PageFacts facts = page_facts(std::nullopt);
  facts.next = store::PageFacts::Next::same;
  facts.marker.clear();
  facts.cut_hash = stream_.hash();
  return facts;
}

Result<Lister::Client::Flow> ListingWalk::on_piece() {
  using Section = StreamedPage::Section;
  if (!stream_.stopped()) return Flow::none;
  bool visit = false;
  switch (stream_.section()) {
    case Section::over:
      return Flow::enough;
    case Section::passed:
      if (stream_.is_at_fresh() && stream_.hash() != state().frontier().skipped_hash) {
        changed("a long page has changed since a part of it was listed");
        release_hold(false);
        return Flow::none;
      }
      stream_.go_on(stream_limit());
      return Flow::none;
    case Section::span:
      visit = true;
      take_span(piece_facts());
      break;
    case Section::fresh:
      stream_names_ += intake_.listed() + intake_.filtered();
      if (retracing_) {
        retrace(piece_facts());
      } else {
        take_page(piece_facts());
      }
      break;
  }
  if (!relist_wanted_) stream_.go_on(stream_limit());
  if (Result<void> written = write(visit); !written) return std::move(written).failure();
  if (stream_.section() == Section::over) return Flow::enough;
  return visit || wants_page() ? Flow::more : Flow::pause;
}

// A piece that was open; unlike a page, it is not replaced when it has changed.
void ListingWalk::take_span(const store::PageFacts& facts) {
  const uint64_t number = stream_.span().number;
  std::erase(visits_, number);
  const store::OpenPage& open = state().open().at(number);
  if (facts.names_hash != open.facts.names_hash || facts.names != open.facts.names) {
    return changed("the listing has changed since the last run");
  }
  plan_.add_page(number, intake_.take_names(), open.settled.gaps(facts.names),
                 marker_bytes(number));
}

Result<uint64_t> ListingWalk::on_stream_end(const std::optional<std::string>& next) {
  using Section = StreamedPage::Section;
  const bool is_short = stream_.section() == Section::passed || stream_.section() == Section::span;
  stream_names_ += intake_.listed() + intake_.filtered();
  if (is_short) {
    changed("a long page is shorter than it was");
  } else if (stream_.section() == Section::fresh && retracing_) {
    retrace(page_facts(next));
  } else if (stream_.section() == Section::fresh) {
    take_page(page_facts(next));
  }
  if (Result<void> written = write(false); !written) return std::move(written).failure();
  return stream_names_;
}

// --- beginning anew ---

bool ListingWalk::on_marker_refused() {
  if (holding_) {
    if (books_.ledger() == nullptr) return false;
    log_warning("the origin does not take a marker of an earlier run; the listing begins anew");
    relist();
    return true;
  }
  if (retraced_ == kMaxRetraced || state().totals().pages == 0 || listing_over_) return false;
  ++retraced_;
  if (!state().trail().known) {
    changed("the origin does not take its marker any more");
    release_hold(false);
    return true;
  }
  log_warning(
      "the origin does not take its marker any more; the listing is read again up to there");
  plan_.look_further_ahead();
  retracing_ = Retracing{state().totals().pages, {}};
  lister_.start();
  return true;
}

// A page on the way to where the listing was. Nothing is recorded.
void ListingWalk::retrace(const store::PageFacts& facts) {
  using Next = store::PageFacts::Next;
  retracing_->trail.add(facts);
  if (--retracing_->pages_left > 0 && facts.next != Next::none) return;
  const bool is_there = retracing_->pages_left == 0 && facts.next != Next::none &&
                        retracing_->trail.chain == state().trail().chain &&
                        (facts.next == Next::same) == (state().frontier().skipped > 0);
  retracing_.reset();
  if (!is_there) return changed("the listing has changed while it was read");
  page_is_due_ = true;
}

// It must begin anew: as soon as nothing is leased.
void ListingWalk::changed(const char* what) {
  log_warning("{}; the listing begins anew", what);
  relist_wanted_ = true;
}

void ListingWalk::release_hold(bool visit) {
  if (relist_wanted_) {
    relist_wanted_ = false;
    if (books_.ledger() == nullptr) {
      lister_.stop();
      return client_.on_listing_failed(
          error(ErrorCode::origin, "the listing has changed while it was read; verify once more"));
    }
    if (holding_) return relist();
    relist_when_settled_ = true;
    lister_.stop();
    return client_.on_names();
  }
  if (!visit || (visits_.empty() && listing_over_)) holding_ = false;
  if (listing_over_ && visits_.empty()) return end_listing();
  client_.on_names();
}

// Nothing is leased.
void ListingWalk::relist() {
  relist_when_settled_ = page_is_due_ = frontier_is_old_ = false;
  retracing_.reset();
  if (relisted_++ == kMaxRelisted) {
    lister_.stop();
    return client_.on_listing_failed(
        error(ErrorCode::origin,
              "the listing had to begin anew {} times: it changes, or its markers are refused, "
              "faster than it can be read; run the same command again when the service is quiet",
              kMaxRelisted));
  }
  store::Ledger& ledger = *books_.ledger();
  plan_.clear();
  visits_.clear();
  ledger.relist();
  Result<void> ready = ledger.flush();
  if (ready) ready = load_known();
  if (!ready) return client_.on_listing_failed(ready.failure());
  holding_ = false;
  listing_over_ = left_to_list() == 0;
  lister_.start();
}

void ListingWalk::end_listing() {
  lister_.stop();
  plan_.end_listing();
  client_.on_listing_over();
}

}  // namespace gigafetch::coordinator
