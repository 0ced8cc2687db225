// What the lister does with the pages that have come: the part of it that knows no sockets.
#include <utility>

#include "base/escape.h"
#include "coordinator/lister.h"

namespace gigafetch::coordinator {
namespace {

constexpr uint32_t kMaxEmptyPages = 10'000;
// Each page that has something open holds two of them, in memory and in the ledger.
constexpr size_t kMaxMarkerBytes = 64 * 1024;

}  // namespace

// --- a page that is held ---

void Lister::take_page() {
  const std::string name = page_name();
  const uint64_t generation = generation_;
  before_ = {marker(), !visits_.empty(), marker_is_old_, loop_detector_};
  answer_.whole = false;
  page_.swap(body_);  // the answer to the next request must not touch the page being read
  listing::PageReader& page = dialect_.open_page(page_);
  Result<Marker> next = page.next_marker();
  if (!next) return bad_page(name, next.failure());
  if (!before_.is_visit && *next && *next == marker()) {
    // Most likely the previous answer was sent twice. Then nothing else on this connection answers
    // what it was asked either.
    connection_.close();
    return bad_answer(ErrorCode::origin,
                      fmt::format("{}: its marker '{}' has been seen before, for it asked for this "
                                  "page: an answer came twice, or the listing goes in a circle",
                                  name, printable(**next)));
  }
  if (Result<void> advanced = advance(*next, before_.is_visit); !advanced) {
    return bad_page(name, advanced.failure());
  }
  redirected_.clear();
  redirects_ = 0;
  if (state_ == State::idle && (!visits_.empty() || client_.wants_page())) begin_asking();
  Result<uint64_t> names = client_.on_page(page, *next);
  page_.clear();
  if (generation != generation_) return;
  if (!names) {
    if (names.failure().code == ErrorCode::malformed) go_back();
    return bad_page(name, names.failure());
  }
  if (body_.empty()) body_.swap(page_);  // one page's memory is enough
  if (Result<void> counted = count_names(*names); !counted) bad_page(name, counted.failure());
}

void Lister::bad_page(const std::string& name, const Error& why) {
  std::string text = fmt::format("{}: {}", name, why.text);
  if (why.code == ErrorCode::malformed) return bad_answer(why.code, std::move(text));
  fail(why.code, std::move(text));
}

// The page must be asked for again; what was asked for behind it is dropped with the connection.
void Lister::go_back() {
  connection_.close();
  retry_timer_.stop();
  state_ = State::asking;
  if (before_.is_visit) return visits_.push_front(before_.asked_by);
  marker_ = before_.asked_by;
  marker_is_old_ = before_.marker_is_old;
  frontier_ended_ = false;
  loop_detector_ = before_.loop_detector;
}

// Takes the marker of the page behind this one. Fails when it is too long, or the listing repeats
// itself.
Result<void> Lister::advance(const Marker& next, bool is_visit) {
  if (next && next->size() > kMaxMarkerBytes) {
    return error(ErrorCode::too_large,
                 "its marker '{}' has {} bytes, and at most {} are taken; the service must be made "
                 "to give shorter ones",
                 printable(*next, 60), next->size(), kMaxMarkerBytes);
  }
  visiting_ = is_visit;
  if (is_visit) {
    visits_.pop_front();
  } else {
    if (next && loop_detector_.repeats(*next)) {
      return error(ErrorCode::origin,
                   "its marker '{}' has been seen before: the listing goes in a circle",
                   printable(*next));
    }
    marker_ = next;
    marker_is_old_ = false;
    frontier_ended_ = !next;
  }
  state_ = visits_.empty() && frontier_ended_ ? State::ended : State::idle;
  return {};
}

// A page has been taken.
Result<void> Lister::count_names(uint64_t names) {
  ++pages_;
  tries_ = 0;
  empty_pages_ = names == 0 ? empty_pages_ + 1 : 0;
  if (empty_pages_ < kMaxEmptyPages) return {};
  return error(ErrorCode::origin, "{} pages in a row were empty", kMaxEmptyPages);
}

// --- a page that is read as it comes ---

// Passes on what is there.
void Lister::pump() {
  const uint64_t generation = generation_;
  if (!stream_) {
    stream_ = dialect_.stream_page();
    stream_is_frontier_ = client_.on_stream_begin(marker(), !visits_.empty());
  }
  size_t used = 0;
  while (!paused_) {
    Result<size_t> taken =
        stream_->feed(std::string_view(body_).substr(used), client_.stream_receiver());
    if (!taken) {
      connection_.close();
      return failed_try(ErrorCode::malformed,
                        fmt::format("{}: {}", page_name(), taken.failure().text));
    }
    used += *taken;
    const Result<Client::Flow> flow = client_.on_piece();
    if (generation != generation_) return;
    if (!flow) {
      return fail(flow.failure().code, fmt::format("{}: {}", page_name(), flow.failure().text));
    }
    if (flow.value() != Client::Flow::none) tries_ = 0;
    if (flow.value() == Client::Flow::enough) return leave_stream();
    paused_ = flow.value() == Client::Flow::pause;
    if (used == body_.size() && !paused_) break;
  }
  body_.erase(0, used);
  if (paused_) {
    if (connection_.is_open()) connection_.pause();
  } else if (answer_.whole) {
    end_stream();
  }
}

void Lister::end_stream() {
  const uint64_t generation = generation_;
  const std::string name = page_name();
  Result<Marker> next = stream_->finish();
  if (!next) {
    connection_.close();
    return failed_try(ErrorCode::malformed, fmt::format("{}: {}", name, next.failure().text));
  }
  const bool is_visit = !stream_is_frontier_;
  before_ = {marker(), !visits_.empty(), marker_is_old_, {}};
  Result<void> taken = advance(*next, is_visit);
  if (taken) {
    leave_page();
    Result<uint64_t> names = client_.on_stream_end(*next);
    if (generation != generation_) return;
    taken = names ? count_names(*names) : Result<void>(std::move(names).failure());
  }
  if (!taken) fail(taken.failure().code, fmt::format("{}: {}", name, taken.failure().text));
}

// Nothing more of this page is wanted.
void Lister::leave_stream() {
  connection_.close();
  before_ = {marker(), !visits_.empty(), marker_is_old_, {}};
  leave_page();
}

// All visits to a long page are one. The page behind is asked for at once if it is wanted.
void Lister::leave_page() {
  if (before_.is_visit) std::erase(visits_, before_.asked_by);
  stream_.reset();
  is_long_ = answer_.whole = false;
  body_.clear();
  redirected_.clear();
  tries_ = redirects_ = 0;
  state_ = visits_.empty() && frontier_ended_ ? State::ended : State::idle;
  if (state_ == State::idle && (!visits_.empty() || client_.wants_page())) begin_asking();
}

}  // namespace gigafetch::coordinator
