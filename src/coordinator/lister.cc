#include "coordinator/lister.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/escape.h"
#include "base/failure.h"
#include "base/log.h"
#include "http/redirect.h"
#include "http/retry_after.h"
#include "http/text.h"

namespace gigafetch::coordinator {
namespace {

constexpr Millis kFirstRetry{100};
constexpr Millis kLongestRetry{5'000};
// Of an error's page so much is read to keep the connection, and so much is shown.
constexpr size_t kMaxDiscard = 256 * 1024;
constexpr size_t kShownBytes = 60;
constexpr uint32_t kTriesPerLookup = 8;

std::string_view path_of(std::string_view target) {
  return target.substr(0, target.find('?'));
}

double seconds(Millis duration) {
  return static_cast<double>(duration.count()) / 1000;
}

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
      sweep_(loop,
             net::StallSweep::period_for(std::min(
                 {settings.stall_timeout, settings.connect_timeout, settings.list_timeout})),
             [this](TimePoint since) { sweep(since); }) {}

void Lister::start(std::deque<Marker> visits, Marker frontier, bool ended) {
  stop();
  visits_ = std::move(visits);
  marker_ = std::move(frontier);
  marker_is_old_ = marker_.has_value();
  frontier_ended_ = ended;
  loop_detector_ = {};
  tries_ = empty_pages_ = redirects_ = 0;
  redirected_.clear();
  if (!ended || !visits_.empty()) begin_asking();
}

void Lister::begin_asking() {
  state_ = State::asking;
  ask();
}

void Lister::want_more() {
  if (state_ == State::idle) return begin_asking();
  if (!paused_) return;
  paused_ = false;
  resumed_ = monotonic_now();
  if (connection_.is_open()) connection_.resume();
  pump();
}

void Lister::stop() {
  ++generation_;
  state_ = State::ended;
  stream_.reset();
  is_long_ = paused_ = false;
  connection_.close();
  resolver_.cancel();
  retry_timer_.stop();
}

void Lister::ask() {
  if (state_ != State::asking || retry_timer_.active()) return;
  body_.clear();
  answer_ = {};
  stream_.reset();
  is_long_ = paused_ = false;
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
  std::string request;
  target_ = redirected_;
  if (target_.empty()) {
    dialect_.append_list_target(target_, marker());
    if (moved_ && path_of(target_) == moved_->from) {
      target_.replace(0, moved_->from.size(), moved_->to);
    }
  }
  request_writer_.append_get(request, target_);
  connection_.send(request, 1);
  ++requests_;
  client_.on_page_asked(page_name(), settings_.list_timeout);
}

// --- the answer ---

bool Lister::on_head(const http::ResponseHead& head) {
  client_.on_origin_alive();
  answer_.begun = true;
  answer_.status = head.status;
  if (head.status != 200) {
    judge(head);
    return true;
  }
  if (!head.content_encoding.empty() &&
      !http::equals_ignoring_case(head.content_encoding, "identity")) {
    answer_.kind = Kind::refused;
    answer_.text = fmt::format("the origin sent {} with Content-Encoding '{}', unasked",
                               page_name(), printable(head.content_encoding));
    return false;
  }
  is_long_ = head.has_length && head.length > listing::kWholePageBytes;
  if (head.has_length && !is_long_) body_.reserve(head.length + listing::kPagePadding);
  return true;
}

// An answer that is no page.
void Lister::judge(const http::ResponseHead& head) {
  answer_.kind = Kind::refused;
  answer_.text = fmt::format("the origin answered {} to {}", head.status, page_name());
  if (is_passing_status(head.status)) {
    answer_.kind = Kind::passing;
    answer_.retry_after =
        http::parse_retry_after(head.retry_after, std::time(nullptr)).value_or(Millis(0));
  } else if (head.status >= 300 && head.status < 400) {
    answer_.text += fmt::format(" (a redirect to '{}')", printable(head.location));
    std::optional<std::string> target;
    if (http::is_redirect(head.status)) {
      target = http::redirect_target(settings_.origin, target_, head.location);
    }
    if (target && redirects_ < http::kMaxRedirects) {
      answer_.kind = Kind::redirect;
      answer_.target = std::move(*target);
    } else if (target) {
      answer_.text += fmt::format(", after {} others", redirects_);
    } else {
      answer_.text += "; give the URL that it leads to";
    }
  } else if (head.status == 401 || head.status == 403) {
    answer_.text += "; it wants credentials, see --bearer-file";
  } else {
    if (head.status >= 400 && head.status < 500) answer_.kind = Kind::marker_refused;
    answer_.text += "; is the URL the service's base, and is --api right?";
  }
}

bool Lister::on_body(std::string_view piece) {
  answer_.bytes += piece.size();
  if (answer_.kind != Kind::page) {
    const size_t room = kShownBytes + 1 - std::min(answer_.shown.size(), kShownBytes + 1);
    answer_.shown += piece.substr(0, room);
    return answer_.bytes <= kMaxDiscard;
  }
  if (answer_.bytes > settings_.max_page_size) {
    answer_.kind = Kind::too_large;
    answer_.text = fmt::format("{} is over {} bytes; see --max-page-size", page_name(),
                               settings_.max_page_size);
    return false;
  }
  is_long_ |= answer_.bytes > listing::kWholePageBytes;
  body_ += piece;
  return true;
}

void Lister::on_response() {
  answer_.whole = true;
}

void Lister::on_read_end() {
  if (answer_.whole) return take_answer();
  if (is_long_) pump();
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
  if (answer_.whole || answer_.kind != Kind::page) return take_answer();
  if (closure.unanswered == 0) return;  // it ended while idle; ask() connects again
  if (closure.cause == Cause::ended && !closure.in_response && closure.responses > 0) {
    return ask();  // it ended between two pages, with our request on its way
  }
  failed_try(ErrorCode::origin,
             closure.cause == Cause::bad_response
                 ? fmt::format("the answer to {} cannot be read: {}", page_name(), closure.text)
                 : fmt::format("the connection ended in the answer to {}", page_name()));
}

// The whole answer is there, or so much of one that is no page; the connection may be open or
// closed.
void Lister::take_answer() {
  switch (answer_.kind) {
    case Kind::page:
      return is_long_ ? pump() : take_page();
    case Kind::redirect:
      return follow();
    case Kind::passing:
      retry_after_ = answer_.retry_after;
      return failed_try(ErrorCode::origin, answer_.text);
    case Kind::refused:
    case Kind::marker_refused:
      return refused();
    case Kind::too_large:
      return fail(ErrorCode::too_large, answer_.text);
  }
}

void Lister::follow() {
  ++redirects_;
  redirected_ = answer_.target;
  const std::string_view from = path_of(target_), to = path_of(redirected_);
  const bool same_query = target_.substr(from.size()) == redirected_.substr(to.size());
  if (http::is_permanent_redirect(answer_.status) && same_query) {
    moved_ = Moved{std::string(from), std::string(to)};
  }
  ask();
}

void Lister::refused() {
  std::string text = answer_.text;
  if (!answer_.shown.empty()) {
    text += fmt::format(" It says '{}'", printable(answer_.shown, kShownBytes));
  }
  const bool about_marker = answer_.kind == Kind::marker_refused && marker();
  const bool is_old = !visits_.empty() || marker_is_old_;
  if (!about_marker || (!is_old && answer_.status != 410)) {
    return bad_answer(ErrorCode::origin, std::move(text), about_marker);
  }
  if (client_.on_marker_refused()) return;
  fail(ErrorCode::origin, std::move(text));
}

// --- trouble ---

// An answer came, and is no page.
void Lister::bad_answer(ErrorCode code, std::string text, bool about_marker) {
  // To the first question ever asked: the URL is wrong.
  if (pages_ == 0 && !marker()) return fail(code, std::move(text));
  failed_try(code, std::move(text), about_marker);
}

void Lister::failed_try(ErrorCode code, std::string text, bool about_marker) {
  answer_ = {};
  redirected_.clear();
  redirects_ = 0;
  moved_.reset();
  if (++tries_ > settings_.retries) {
    if (about_marker && client_.on_marker_refused()) return;
    return fail(code, fmt::format("{} ({} tries); see to the service, then run the same command "
                                  "again",
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
  if (connection_.outstanding() == 0 || paused_) return;
  const Millis patience = answer_.begun ? settings_.stall_timeout : settings_.list_timeout;
  if (std::max(connection_.last_activity(), resumed_) + patience > since) return;
  connection_.close();
  failed_try(ErrorCode::origin,
             fmt::format("no byte came for {} s in the answer to {}; see {}", seconds(patience),
                         page_name(), answer_.begun ? "--stall-timeout" : "--list-timeout"));
}

}  // namespace gigafetch::coordinator
