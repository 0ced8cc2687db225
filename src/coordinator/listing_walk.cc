#include "coordinator/listing_walk.h"

#include <algorithm>

#include "base/log.h"

namespace gigafetch::coordinator {

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
  std::deque<Lister::Marker> visits;
  for (const auto& [number, page] : state().open()) {
    if (page.retry) continue;
    visits.push_back(page.asked_by);
    visits_.push_back(number);
  }
  const store::Frontier& frontier = state().frontier();
  listing_over_ = frontier.ended || left_to_list() == 0;
  // Until the origin has shown that it takes the markers, nothing is handed out.
  holding_ = !visits.empty() || (!listing_over_ && (frontier.marker || frontier.skipped > 0));
  if (visits.empty() && listing_over_) {
    end_listing();
  } else {
    lister_.start(std::move(visits), frontier.marker, listing_over_);
  }
  return {};
}

Result<void> ListingWalk::load_known() {
  return known_.load(state_fd_, books_.ledger()->job_id(), state());
}

uint64_t ListingWalk::left_to_list() const {
  return settings_.limit - std::min(settings_.limit, state().totals().listed);
}

Result<uint64_t> ListingWalk::on_page(listing::PageReader& page,
                                      const std::optional<std::string>& next) {
  const bool visit = lister_.is_visit();
  const uint64_t number = visit ? visits_.front() : 0;
  uint64_t skip = state().frontier().skipped, limit = left_to_list();
  if (visit) {
    visits_.pop_front();
    const store::OpenPage& open = state().open().at(number);
    skip = open.skipped;
    const bool was_cut = open.facts.next == store::PageFacts::Next::same;
    limit = was_cut ? open.facts.listed : UINT64_MAX;
  }
  intake_.begin_page(skip, limit);
  if (Result<void> read = page.read_names(intake_); !read) return std::move(read).failure();
  const uint64_t names = skip + intake_.listed() + intake_.filtered();
  const store::PageFacts facts = page_facts(next);
  if (visit) {
    take_visit(number, facts);
  } else {
    take_page(facts);
  }
  if (Result<void> written = books_.flush(); !written) return std::move(written).failure();
  release_hold(visit);
  return names;
}

store::PageFacts ListingWalk::page_facts(const std::optional<std::string>& next) const {
  using Next = store::PageFacts::Next;
  store::PageFacts facts;
  facts.next = intake_.limit_reached() ? Next::same : next ? Next::marker : Next::none;
  if (facts.next == Next::marker) facts.marker = *next;
  facts.listed = intake_.listed();
  facts.names = intake_.names().count();
  facts.duplicates = intake_.duplicates();
  facts.rejected = intake_.too_long().size();
  facts.filtered = intake_.filtered();
  facts.names_hash = store::hash_of_names(intake_.names().bytes());
  facts.log_end = books_.log_end();
  if (facts.next == Next::same) facts.cut_hash = intake_.cut_hash();
  return facts;
}

void ListingWalk::log_too_long(store::PageFacts& facts) {
  for (const std::string& name : intake_.too_long()) {
    books_.log_failure(name, FileFailure{FailureClass::name_too_long, 0, 0,
                                         fmt::format("{} bytes; at most {} are taken", name.size(),
                                                     kMaxNameBytes)});
  }
  facts.log_end = books_.log_end();
}

void ListingWalk::take_page(store::PageFacts facts) {
  // The first names of a page that --limit had cut are known by their number alone: they must be
  // the same ones.
  const store::Frontier& frontier = state().frontier();
  if (frontier.skipped > 0 && intake_.skipped_hash() != frontier.skipped_hash) {
    log_warning("the page that --limit had cut has changed; the listing begins anew");
    relist_wanted_ = true;
    return;
  }
  const KnownPages::Page* const known =
      facts.rejected == 0 ? known_.find(facts.names_hash, facts.names) : nullptr;
  if (known != nullptr && facts.names > 0) {
    books_.ledger()->add_known_page(facts, known->bytes, known->content);
  } else {
    log_too_long(facts);
    const uint64_t number = books_.add_page(facts, intake_.names());
    if (facts.names > 0) {
      plan_.add_page(number, intake_.take_names(), {{0, facts.names}}, marker_bytes(number));
    }
  }
  if (state().frontier().ended || intake_.limit_reached()) listing_over_ = true;
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
    log_warning("the listing has changed since the last run; it begins anew");
    relist_wanted_ = true;
    return;
  }
  log_too_long(facts);
  const uint64_t new_number = books_.ledger()->replace_page(number, facts);
  if (facts.names > 0) {
    plan_.add_page(new_number, intake_.take_names(), {{0, facts.names}}, marker_bytes(new_number));
  }
}

// What the books hold for an open page's markers.
size_t ListingWalk::marker_bytes(uint64_t number) const {
  const store::OpenPage& page = state().open().at(number);
  return page.facts.marker.size() + (page.asked_by ? page.asked_by->size() : 0);
}

void ListingWalk::release_hold(bool visit) {
  if (relist_wanted_) return relist();
  if (!visit || (visits_.empty() && listing_over_)) holding_ = false;
  if (listing_over_ && visits_.empty()) return end_listing();
  client_.on_names();
}

bool ListingWalk::on_marker_refused() {
  if (!holding_ || books_.ledger() == nullptr) return false;
  relist();
  return true;
}

// Nothing has been handed out yet.
void ListingWalk::relist() {
  relist_wanted_ = false;
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
