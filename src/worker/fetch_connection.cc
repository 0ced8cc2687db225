#include "worker/fetch_connection.h"

#include <ctime>
#include <utility>

#include "base/escape.h"
#include "base/failure.h"
#include "http/redirect.h"
#include "http/retry_after.h"
#include "store/room.h"

namespace gigafetch::worker {
namespace {

// A body up to this size is gathered in memory and stored with one write; a larger one is written
// as it comes.
constexpr size_t kSmallBody = 64 * 1024;
// The body of an answer that is of no use is read up to this size, to keep the connection.
constexpr uint64_t kMaxDiscard = 256 * 1024;
constexpr std::string_view kUnanswered = "the connection ended before the response";

}  // namespace

FetchConnection::FetchConnection(net::Loop& loop, Owner& owner, store::Sink& sink,
                                 size_t max_in_flight, const BodyRules& rules)
    : loop_(loop),
      owner_(owner),
      sink_(sink),
      connection_(loop, *this, net::HttpConnection::Announced::await),
      rules_(rules),
      in_flight_(max_in_flight),
      probation_(static_cast<uint32_t>(reinterpret_cast<uintptr_t>(this) >> 4)),
      quiet_timer_(loop, [this] { on_quiet(); }) {}

int FetchConnection::connect(const net::SocketAddress& address, size_t address_index) {
  address_ = address;
  address_index_ = address_index;
  pipelined_ = measured_ = 0;
  measured_end_ = 0;
  alone_ = announced_ = cut_ = false;
  probation_.take_all();
  return connection_.connect(address);
}

void FetchConnection::on_open() {
  owner_.on_connected(*this);
  owner_.fill(*this);
}

void FetchConnection::flush() {
  if (unsent_ == 0) return;
  connection_.send(requests_, unsent_);
  requests_.clear();
  unsent_ = 0;
  pipelined_ = static_cast<uint32_t>(in_flight_.size());
  probation_.on_in_flight(pipelined_);
  if (responses() < measured_end_) return;
  measured_ = pipelined_;
  measured_end_ = sent();
}

bool FetchConnection::on_head(const http::ResponseHead& head) {
  if (probation_.has_attributed()) prove(probation_.take_attributed());
  body_bytes_ = 0;
  drip_since_ = loop_.now();
  drip_bytes_ = 0;
  status_ = head.status;
  length_ = head.has_length ? std::optional(head.length) : std::nullopt;
  if (head.status != 200) {
    FileFailure failure;
    failure.status = static_cast<uint16_t>(head.status);
    if (head.status >= 300 && head.status < 400) {
      failure.cause = FailureClass::redirect;
      failure.text = fmt::format(
          "the origin redirects to '{}'; up to {} redirects are followed, to the same "
          "scheme, host and port",
          printable(head.location), http::kMaxRedirects);
    } else {
      failure.cause = FailureClass::http_status;
      failure.text = fmt::format("the origin answered {}", head.status);
    }
    begin_discarding(std::move(failure));
    if (is_passing_status(head.status)) retry_ = Retry::charged;
    if (http::is_redirect(head.status) && owner_.follow(in_flight_.front(), head.location)) {
      retry_ = Retry::elsewhere;
      status_ = Owner::kFollowed;
    }
    at_least_ = http::parse_retry_after(head.retry_after, std::time(nullptr)).value_or(Millis(0));
    return true;
  }
  if (std::optional<FileFailure> refused = rules_.refuses(head)) {
    begin_discarding(std::move(*refused));
    return !head.until_end && (!head.has_length || head.length <= kMaxDiscard);
  }
  verdict_ = Verdict::storing;
  if (is_coded(head.content_encoding)) begin_coded(head.content_encoding);
  if (length_ && *length_ > kSmallBody) return spill({});
  return true;
}

void FetchConnection::begin_coded(std::string_view coding) {
  coding_ = coding;
  if (rules_.content_encoding != ContentEncoding::decode) return;
  length_.reset();  // that of the coded bytes
  // What is decoded stands in the decoder's memory: it is copied, or written, before the next
  // piece.
  decoder_.emplace(*http::parse_content_codings(coding), [this](std::string_view decoded) {
    take_body(decoded);
    copy_whole();
    return verdict_ == Verdict::storing;
  });
}

bool FetchConnection::decode(std::string_view piece) {
  const http::DecodeFault fault = decoder_->feed(piece);
  if (fault == http::DecodeFault::none) return true;
  if (verdict_ == Verdict::storing) decode_failed(fault);
  return body_bytes_ <= kMaxDiscard;
}

void FetchConnection::decode_failed(http::DecodeFault fault) {
  FileFailure failure{
      FailureClass::bad_coding, 200, 0,
      fmt::format("the body, in Content-Encoding '{}', {}", printable(coding_), text_of(fault))};
  const bool by_design = fault == http::DecodeFault::growth || fault == http::DecodeFault::window;
  if (by_design) {
    failure.cause = FailureClass::too_large;
    failure.text += "; --content-encoding keep stores what was sent";
  }
  begin_discarding(std::move(failure));
  if (!by_design) retry_ = Retry::charged;
}

bool FetchConnection::on_body(std::string_view piece) {
  owner_.on_received(piece.size());
  drip_bytes_ += piece.size();
  if (decoder_ && verdict_ == Verdict::storing) return decode(piece);
  return take_body(piece);
}

bool FetchConnection::take_body(std::string_view piece) {
  body_bytes_ += piece.size();
  if (verdict_ == Verdict::discarding) return body_bytes_ <= kMaxDiscard;
  if (body_bytes_ > rules_.max_file_size) {
    FileFailure failure{FailureClass::too_large, 200, 0,
                        fmt::format("over --max-file-size {}", rules_.max_file_size)};
    begin_discarding(std::move(failure));
    return body_bytes_ <= kMaxDiscard;
  }
  if (writer_) {
    const store::StoreStatus status = append(piece);
    return status.ok() || store_failed(status);
  }
  if (body_bytes_ == piece.size()) {
    whole_ = piece;
    return true;
  }
  // A further piece (chunks): the first ones move to the copy.
  partial_ += whole_;
  whole_ = {};
  if (partial_.size() + piece.size() > kSmallBody) return spill(piece);
  partial_ += piece;
  return true;
}

// From memory to a writer, with `piece` behind what was gathered.
bool FetchConnection::spill(std::string_view piece) {
  const Task& task = in_flight_.front();
  const std::string_view name = task.name();
  probation_.on_large();
  store::Lot& lot = task.batch->lot();
  store::StoreStatus status = rules_.room != nullptr
                                  ? rules_.room->open(sink_, lot, name, length_, writer_)
                                  : sink_.open(lot, name, length_, writer_);
  hasher_.emplace(name);
  if (status.ok() && !partial_.empty()) status = append(partial_);
  if (status.ok() && !piece.empty()) status = append(piece);
  partial_.clear();
  return status.ok() || store_failed(status);
}

store::StoreStatus FetchConnection::append(std::string_view piece) {
  hasher_->update(piece);
  return writer_->append(piece);
}

void FetchConnection::begin_discarding(FileFailure failure) {
  verdict_ = Verdict::discarding;
  failure_ = std::move(failure);
  retry_ = Retry::never;
  at_least_ = Millis(0);
  writer_.reset();
  hasher_.reset();
  partial_.clear();
  whole_ = {};
}

// The sink refused the file. True when the rest of the body may still be read.
bool FetchConnection::store_failed(const store::StoreStatus& status) {
  FileFailure failure{status.cause(), 200, 0, status.text()};
  begin_discarding(std::move(failure));
  switch (status.kind()) {
    case store::StoreStatus::Kind::later:
      retry_ = Retry::charged;
      break;
    case store::StoreStatus::Kind::busy:
      retry_ = Retry::uncharged;
      break;
    case store::StoreStatus::Kind::run:
      retry_ = Retry::uncharged;
      owner_.store_broken(status.text());
      return false;
    default:
      break;
  }
  return body_bytes_ <= kMaxDiscard;
}

void FetchConnection::on_response() {
  const TimePoint now = loop_.now();
  owner_.on_response(status_, now - waiting_since_);
  if (responses() == measured_end_) owner_.on_pipeline_answered(measured_);
  waiting_since_ = now;
  if (verdict_ == Verdict::storing) {
    finish_stored();
  } else {
    finish_discarded();
  }
}

void FetchConnection::finish_stored() {
  const http::DecodeFault fault = decoder_ ? decoder_->finish() : http::DecodeFault::none;
  if (fault != http::DecodeFault::none) {
    decode_failed(fault);
    return finish_discarded();
  }
  const std::string_view name = in_flight_.front().name();
  if (writer_) {
    const store::StoreStatus status = writer_->close();
    return status.ok() ? settle_stored(hasher_->value()) : finish_refused(status);
  }
  const std::string_view body = partial_.empty() ? whole_ : partial_;
  const store::StoreStatus status = sink_.put(in_flight_.front().batch->lot(), name, body);
  return status.ok() ? settle_stored(store::content_hash(name, body)) : finish_refused(status);
}

void FetchConnection::settle_stored(const store::Hash128& content) {
  const Task task = in_flight_.pop();
  const uint64_t bytes = body_bytes_;
  if (rules_.room != nullptr) rules_.room->on_stored();
  if (!coding_.empty() && !decoder_) task.batch->note_coding(task.index, coding_);
  reset_response();
  // Most files come at the first try, from where they were asked for.
  Part* const part = owner_.answered(task, bytes, content);
  if (task.attempts > 0 || task.is_redirected() || task.unproven > 0) {
    return probation_.add({task, part, bytes, content, nullptr, false}, loop_.now());
  }
  probation_.add_file(file_of(task, part, bytes, content), loop_.now());
}

void FetchConnection::put_on_probation(Answer answer) {
  owner_.answered_without_file(answer);
  probation_.add(std::move(answer), loop_.now());
}

void FetchConnection::finish_refused(const store::StoreStatus& status) {
  store_failed(status);
  finish_discarded();
}

void FetchConnection::finish_discarded() {
  const Task task = in_flight_.pop();
  FileFailure failure = std::move(failure_);
  const Retry retry = retry_;
  const Millis at_least = at_least_;
  reset_response();
  switch (retry) {
    case Retry::uncharged:
      return owner_.put_off(task, failure.text);
    case Retry::elsewhere:
      return put_on_probation({task, nullptr, 0, {}, nullptr, true});
    case Retry::charged:
      return owner_.failed_attempt(task, std::move(failure), at_least);
    case Retry::never:
      failure.attempts = static_cast<uint16_t>(task.attempts + 1);
      return put_on_probation(
          {task, nullptr, 0, {}, std::make_unique<FileFailure>(std::move(failure)), false});
  }
}

void FetchConnection::reset_response() {
  verdict_ = Verdict::waiting;
  body_bytes_ = 0;
  whole_ = {};
  partial_.clear();
  writer_.reset();
  hasher_.reset();
  coding_.clear();
  decoder_.reset();
}

void FetchConnection::on_read_end() {
  copy_whole();
  if (!connection_.is_ending()) return owner_.fill_again(*this);
  // What is left unanswered goes elsewhere at once; what was answered waits for the end.
  tell_announced();
  give_back_rest();
  rest();
}

// The bytes that the body lies in are about to go.
void FetchConnection::copy_whole() {
  if (whole_.size() > kSmallBody) {
    spill(std::exchange(whole_, {}));
  } else if (!whole_.empty()) {
    partial_ = std::exchange(whole_, {});
  }
}

void FetchConnection::tell_announced() {
  if (std::exchange(announced_, true)) return;
  cut_ = !in_flight_.empty();
  owner_.on_announced_close(responses(), cut_ ? pipelined_ : 0);
}

void FetchConnection::on_closed(const net::Closure& closure) {
  using Cause = net::Closure::Cause;
  requests_.clear();
  unsent_ = 0;
  if (closure.cause == Cause::connect_failed) {
    return owner_.on_connect_failed(*this, closure.uv_error);
  }
  judge_closure(closure);
  const bool was_cut = cut_ || !in_flight_.empty();
  const bool misframed = judge_misframing(closure);
  bool fails = false;  // the oldest, for what its answer says
  if (!in_flight_.empty() && !misframed) {
    switch (closure.cause) {
      case Cause::refused:
        fails = retry_ == Retry::never;
        finish_discarded();
        break;
      case Cause::bad_response:
        charge_oldest(FailureClass::bad_framing,
                      fmt::format("{}: {}", name_of(closure.fault), closure.text));
        break;
      case Cause::ended:
        if (closure.in_response) {
          charge_oldest(FailureClass::truncated, "the connection ended inside the response");
        } else if (closure.responses > 0 && !in_flight_.front().replayed) {
          // The usual race: the origin closed an idle connection while the request was on its way.
          in_flight_.front().replayed = true;
        } else if (closure.responses == 0) {
          owner_.unanswered(in_flight_.pop(),
                            FileFailure{FailureClass::reset, 0, 0, std::string(kUnanswered)});
        } else {
          charge_oldest(FailureClass::reset, std::string(kUnanswered));
        }
        break;
      case Cause::announced:
      case Cause::connect_failed:
        break;
    }
  }
  const bool orderly =
      closure.uv_error == 0 && closure.fault == http::ResponseFault::none && !was_cut;
  reset_response();
  give_back_rest();
  if (misframed) {
    // judged
  } else if (closure.cause == Cause::refused) {
    judge_refused(closure.responses == 0, fails);
  } else if (closure.cause == Cause::bad_response && !alone_) {
    quiet_timer_.stop();
    take_all_back(Doubt::unproven);
  } else {
    judge_unproven(orderly);
  }
  owner_.on_disconnected(*this);
}

// What the end tells about how much may be pipelined.
void FetchConnection::judge_closure(const net::Closure& closure) {
  const bool cut = !in_flight_.empty();
  switch (closure.cause) {
    case net::Closure::Cause::announced:
      return tell_announced();
    case net::Closure::Cause::bad_response:
      if (cut) owner_.on_doubt(pipelined_);
      return;
    case net::Closure::Cause::ended: {
      if (!cut) return;
      const bool orderly = closure.uv_error == 0 && !closure.in_response;
      const bool usual = orderly && owner_.on_silent_close(closure.responses);
      return owner_.on_doubt(usual ? 1 : pipelined_);
    }
    case net::Closure::Cause::refused:
    case net::Closure::Cause::connect_failed:
      return;
  }
}

void FetchConnection::charge_oldest(FailureClass cause, std::string text) {
  const Task task = in_flight_.pop();
  reset_response();  // what was half stored goes before anybody hears of the failure
  owner_.failed_attempt(task, FileFailure{cause, 0, 0, std::move(text)}, Millis(0));
}

void FetchConnection::give_back_rest() {
  while (!in_flight_.empty())
    owner_.give_back(in_flight_.pop());
}

void FetchConnection::give_up_stalled() {
  const bool was_open = connection_.is_open();
  connection_.close();
  if (!was_open) return owner_.on_connect_failed(*this, UV_ETIMEDOUT);
  owner_.on_doubt(pipelined_);
  charge_oldest(FailureClass::stalled, "no byte came for --stall-timeout seconds, or next to none");
  give_back_rest();
  judge_unproven(false);
  owner_.on_disconnected(*this);
}

bool FetchConnection::drips(TimePoint now, Millis period, uint64_t least_per_second) {
  // Between two answers, and before the first byte of one, the origin may think as long as it
  // likes.
  if (verdict_ == Verdict::waiting) {
    drip_since_ = now;
    drip_bytes_ = 0;
    return false;
  }
  if (now - drip_since_ < period) return false;
  const double least = static_cast<double>(least_per_second) * seconds_between(drip_since_, now);
  const bool slow = static_cast<double>(drip_bytes_) < least;
  drip_since_ = now;
  drip_bytes_ = 0;
  return slow;
}

void FetchConnection::give_up_waiting() {
  connection_.close();
  requests_.clear();
  unsent_ = 0;
  const Task task = in_flight_.pop();
  reset_response();
  owner_.gave_up_waiting(task);
  give_back_rest();
  judge_unproven(false);
  owner_.on_disconnected(*this);
}

void FetchConnection::cut_short() {
  connection_.close();
  requests_.clear();
  unsent_ = 0;
  reset_response();
  give_back_rest();
  judge_unproven(false);
  owner_.on_disconnected(*this);
}

void FetchConnection::abandon() {
  connection_.close();
  requests_.clear();
  unsent_ = 0;
  reset_response();
  give_back_rest();
  quiet_timer_.stop();
  probation_.take_all();
}

}  // namespace gigafetch::worker
