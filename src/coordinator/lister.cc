#include "coordinator/lister.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/escape.h"
#include "base/failure.h"
#include "base/log.h"
#include "http/retry_after.h"
#include "http/text.h"

namespace gigafetch::coordinator {
namespace {

constexpr Millis kFirstRetry{100};
constexpr Millis kLongestRetry{5'000};
// Of an error's page so much is read to keep the connection.
constexpr size_t kMaxDiscard = 256 * 1024;
constexpr uint32_t kMaxEmptyPages = 10'000;
constexpr uint32_t kTriesPerLookup = 8;
// Each page that has something open holds two of them, in memory and in the ledger.
constexpr size_t kMaxMarkerBytes = 64 * 1024;

}  // namespace

Lister::Lister(net::Loop& loop, const ListingSettings& settings, listing::Dialect& dialect,
               Client& client)
    : loop_(loop),
      settings_(settings),
      dialect_(dialect),
      client_(client),
      request_writer_(settings.origin, settings.headers),
      random_(static_cast<uint64_t>(::getpid()) * kGoldenGamma),
      backoff_(kFirstRetry, kLongestRetry),
      resolver_(loop),
      connection_(loop, *this),
      retry_timer_(loop, [this] { ask(); }),
      rate_limit_(settings.rate, loop.now()),
      sweep_(
          loop,
          net::StallSweep::period_for(std::min(settings.stall_timeout, settings.connect_timeout)),
          [this](TimePoint since) { sweep(since); }) {}

void Lister::start(std::deque<Marker> visits, Marker frontier, bool ended) {
  stop();
  visits_ = std::move(visits);
  marker_ = std::move(frontier);
  marker_is_old_ = marker_.has_value();
  frontier_ended_ = ended;
  loop_detector_ = {};
  tries_ = empty_pages_ = 0;
  if (!ended || !visits_.empty()) begin_asking();
}

void Lister::begin_asking() {
  state_ = State::asking;
  ask();
}

void Lister::want_more() {
  if (state_ == State::idle) begin_asking();
}

void Lister::stop() {
  state_ = State::ended;
  connection_.close();
  resolver_.cancel();
  retry_timer_.stop();
}

void Lister::ask() {
  if (state_ != State::asking || retry_timer_.active()) return;
  body_.clear();
  page_whole_ = false;
  refusal_.reset();
  refuses_marker_ = false;
  passing_failure_.clear();
  discarded_ = 0;
  if (connection_.is_closed()) return connect();
  if (!connection_.is_open()) return;
  if (!rate_limit_.take(loop_.now())) return retry_timer_.start(rate_limit_.wait());
  send_request();
}

void Lister::connect() {
  if (addresses_.empty() || (away_failures_ > 0 && away_failures_ % kTriesPerLookup == 0)) {
    return resolve();
  }
  address_index_ = addresses_.next();
  const int uv_error = connection_.connect(addresses_.at(address_index_));
  if (uv_error != 0) {
    net::Closure closure;
    closure.cause = net::Closure::Cause::connect_failed;
    closure.uv_error = uv_error;
    on_closed(closure);
  }
}

void Lister::resolve() {
  if (resolver_.busy()) return;
  const http::Url& origin = settings_.origin;
  resolver_.resolve(origin.host, origin.port,
                    [this](Result<std::vector<net::SocketAddress>> found) {
                      if (state_ != State::asking) return;
                      if (!found && found.failure().code == ErrorCode::not_found) {
                        return fail(ErrorCode::origin, found.failure().text);
                      }
                      if (!found) return away(found.failure().text);
                      addresses_.assign(std::move(found).value(), 0);
                      away_failures_ = 0;
                      ask();
                    });
}

void Lister::on_open() {
  addresses_.report(address_index_, true);
  away_failures_ = 0;
  if (state_ == State::asking) ask();
}

void Lister::send_request() {
  std::string target, request;
  dialect_.append_list_target(target, marker());
  request_writer_.append_get(request, target);
  connection_.send(request, 1);
  ++requests_;
}

bool Lister::on_head(const http::ResponseHead& head) {
  client_.on_origin_alive();
  if (head.status != 200) {
    std::string text = fmt::format("the origin answered {} to {}", head.status, page_name());
    if (is_passing_status(head.status)) {
      passing_failure_ = std::move(text);
      retry_after_ =
          http::parse_retry_after(head.retry_after, std::time(nullptr)).value_or(Millis(0));
      return true;
    }
    const bool is_old = !visits_.empty() || marker_is_old_;
    refuses_marker_ = is_old && marker() && head.status >= 400 && head.status < 500 &&
                      head.status != 401 && head.status != 403;
    if (head.status >= 300 && head.status < 400) {
      text += fmt::format(" (a redirect to '{}'); give the URL that it leads to",
                          printable(head.location));
    } else if (head.status == 401 || head.status == 403) {
      text += "; it wants credentials, see --bearer-file";
    } else {
      text += "; is the URL the service's base, and is --api right?";
    }
    refusal_ = Error{ErrorCode::origin, std::move(text)};
    return false;
  }
  if (!head.content_encoding.empty() &&
      !http::equals_ignoring_case(head.content_encoding, "identity")) {
    refusal_ = error(ErrorCode::origin, "the origin sent {} with Content-Encoding '{}', unasked",
                     page_name(), printable(head.content_encoding));
    return false;
  }
  if (head.has_length && head.length <= listing::kMaxPageBytes) {
    body_.reserve(head.length + listing::kPagePadding);
  }
  return true;
}

bool Lister::on_body(std::string_view piece) {
  if (!passing_failure_.empty()) return (discarded_ += piece.size()) <= kMaxDiscard;
  if (body_.size() + piece.size() > listing::kMaxPageBytes) {
    refusal_ =
        error(ErrorCode::too_large, "{} is over {} bytes", page_name(), listing::kMaxPageBytes);
    return false;
  }
  body_ += piece;
  return true;
}

void Lister::on_response() {
  page_whole_ = true;
}

void Lister::on_read_end() {
  if (page_whole_) take_page();
}

void Lister::on_closed(const net::Closure& closure) {
  using Cause = net::Closure::Cause;
  if (state_ != State::asking) return;
  if (closure.cause == Cause::connect_failed) {
    const std::string address = addresses_.at(address_index_).text();
    addresses_.report(address_index_, false);
    if (!addresses_.all_failing()) return connect();
    return away(fmt::format("cannot connect to {}: {}", address, uv_strerror(closure.uv_error)));
  }
  if (refusal_) return refused();
  if (page_whole_) return take_page();
  if (!passing_failure_.empty()) return failed_try(std::move(passing_failure_));
  if (closure.unanswered == 0) return;  // it ended while idle; ask() connects again
  if (closure.cause == Cause::ended && !closure.in_response && closure.responses > 0) {
    return ask();  // it ended between two pages, with our request on its way
  }
  failed_try(closure.cause == Cause::bad_response
                 ? fmt::format("the answer to {} cannot be read: {}", page_name(), closure.text)
                 : fmt::format("the connection ended in the answer to {}", page_name()));
}

// The whole answer is in body_; the connection may be open or closed.
void Lister::take_page() {
  page_whole_ = false;
  if (!passing_failure_.empty()) return failed_try(std::move(passing_failure_));
  tries_ = 0;
  if (Result<void> read = read_page(); !read) fail(read.failure().code, read.failure().text);
}

void Lister::refused() {
  if (refuses_marker_) {
    log_warning("{}: the marker is of an earlier run; the listing begins anew", refusal_->text);
    if (client_.on_marker_refused()) return;
  }
  fail(refusal_->code, std::move(refusal_->text));
}

// Takes the marker of the page behind this one. Fails when it is too long, or the listing repeats
// itself.
Result<void> Lister::advance(const Marker& next) {
  if (next && next->size() > kMaxMarkerBytes) {
    return error(ErrorCode::too_large,
                 "its marker '{}' has {} bytes, and at most {} are taken; the service must be made "
                 "to give shorter ones",
                 printable(*next, 60), next->size(), kMaxMarkerBytes);
  }
  visiting_ = !visits_.empty();
  if (visiting_) {
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

Result<void> Lister::read_page() {
  const std::string name = page_name();
  page_.swap(body_);  // the answer to the next request must not touch the page being read
  listing::PageReader& page = dialect_.open_page(page_);
  Result<Marker> next = page.next_marker();
  if (!next) return error(next.failure().code, "{}: {}", name, next.failure().text);
  ++pages_;
  if (Result<void> advanced = advance(*next); !advanced) {
    return error(advanced.failure().code, "{}: {}", name, advanced.failure().text);
  }
  if (state_ == State::idle && (!visits_.empty() || client_.wants_page())) begin_asking();
  Result<uint64_t> names = client_.on_page(page, *next);
  if (!names) return error(names.failure().code, "{}: {}", name, names.failure().text);
  page_.clear();
  if (body_.empty()) body_.swap(page_);  // one page's memory is enough
  empty_pages_ = *names == 0 ? empty_pages_ + 1 : 0;
  if (empty_pages_ >= kMaxEmptyPages) {
    return error(ErrorCode::origin, "{}: {} pages in a row were empty", name, kMaxEmptyPages);
  }
  return {};
}

void Lister::failed_try(std::string text) {
  if (++tries_ > settings_.retries) {
    return fail(ErrorCode::origin,
                fmt::format("{} ({} tries); see to the service, then run the same command again",
                            text, tries_));
  }
  log_info("{}; trying again", text);
  ++retries_;
  const Millis asked = std::exchange(retry_after_, Millis(0));
  retry_timer_.start(std::max(asked, backoff_.delay(tries_, random_)));
}

void Lister::away(std::string text) {
  client_.on_origin_trouble(text);
  retry_timer_.start(backoff_.delay(++away_failures_, random_));
}

void Lister::fail(ErrorCode code, std::string text) {
  stop();
  client_.on_listing_failed(Error{code, std::move(text)});
}

std::string Lister::page_name() const {
  std::string target;
  dialect_.append_list_target(target, marker());
  return fmt::format("page {} (GET {})", pages_ + 1, printable(target));
}

void Lister::sweep(TimePoint since) {
  if (state_ != State::asking || connection_.is_closed()) return;
  if (!connection_.is_open()) {
    if (connection_.last_activity() + settings_.connect_timeout > since) return;
    net::Closure closure;
    closure.cause = net::Closure::Cause::connect_failed;
    closure.uv_error = UV_ETIMEDOUT;
    connection_.close();
    return on_closed(closure);
  }
  if (connection_.outstanding() == 0) return;
  if (connection_.last_activity() + settings_.stall_timeout > since) return;
  connection_.close();
  failed_try(fmt::format("no byte came for {} s in the answer to {}",
                         static_cast<double>(settings_.stall_timeout.count()) / 1000, page_name()));
}

}  // namespace gigafetch::coordinator
