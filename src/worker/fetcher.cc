#include "worker/fetcher.h"

#include <unistd.h>

#include <algorithm>

#include "base/log.h"

namespace gigafetch::worker {
namespace {

constexpr Millis kFirstRetry{100};
constexpr Millis kLongestRetry{10'000};
// Files put off for one warning about it.
constexpr uint64_t kPutOffsPerWarning = 1000;
// So many connections are filled together. With more the origin would be idle meanwhile.
constexpr size_t kFilledTogether = 8;
// The wait when this host's own descriptors or ports ran out.
constexpr Millis kShortWait{100};
// A body that comes more slowly than this, over --stall-timeout, counts as stalled: a byte now and
// then must not hold a connection for ever.
constexpr uint64_t kLeastBytesPerSecond = 16;
// As long as most of the names that had failed arrive in the end, failures are chance, or about the
// origin, and not about the file: so many times the tries are allowed then. A file that always
// fails changes nothing for itself.
constexpr double kMostRecover = 0.5;
constexpr double kRecoveryGain = 1.0 / 16;
constexpr uint32_t kPatience = 4;
constexpr uint32_t kPushbackDoublings = 3;
// Connections that end unanswered are charged to their files when no more names than this are left:
// then it may well be the names.
constexpr size_t kFewNames = 16;
// An answer is given up early, to be asked for elsewhere, after so many times the usual wait,
// within bounds; and only when nothing else is to be sent, or so large a share of the connections
// waits.
constexpr double kTailFactor = 32;
constexpr Millis kShortestTailPatience{1000};
constexpr size_t kStalledShare = 4;
// A name is given up early once on one connection, and once more to be released to another worker.
// Each costs one of its tries, but never the last one, which has all of --stall-timeout.
constexpr uint32_t kEarlyGiveUps = 2;
constexpr double kAnswerGain = 1.0 / 64;
// By which the slowest of the recent answers is forgotten, an answer.
constexpr double kSlowDecay = 1 - 1.0 / 256;
// After a drain was asked for, so long; the coordinator waits for a second more.
constexpr Millis kDrainPatience{4'000};
// Answers on probation: over all connections, in bounds for each. Of an origin that has misframed
// any, so many for each until it has sent that many more.
constexpr size_t kMostOnProbation = 131'072, kLeastOnProbation = 16, kMostOfOne = 4096;
constexpr size_t kMistrusted = 16;
constexpr uint64_t kMistrustedAnswers = 10'000;
// In usual waits for an answer: how long nothing comes at a quiet point, and how rare such are.
constexpr double kQuietFactor = 1.25, kLongQuietFactor = 4, kPatienceFactor = 100;
constexpr Millis kLeastQuiet{2}, kLeastLongQuiet{100}, kMostQuiet{2'000}, kLeastPatience{200};

bool asks_for_less(int status) {
  return status == 429 || status == 503;
}

bool is_out_of_resources(int uv_error) {
  return uv_error == UV_EADDRNOTAVAIL || uv_error == UV_EMFILE || uv_error == UV_ENFILE ||
         uv_error == UV_ENOBUFS || uv_error == UV_ENOMEM || uv_error == UV_EAGAIN;
}

}  // namespace

Fetcher::Fetcher(net::Loop& loop, const Settings& settings, const listing::Dialect& dialect,
                 store::Sink& sink, Client& client, size_t worker_index)
    : loop_(loop),
      settings_(settings),
      dialect_(dialect),
      sink_(sink),
      client_(client),
      worker_index_(worker_index),
      request_writer_(settings.origin, settings.headers),
      redirects_(settings.origin),
      random_(static_cast<uint64_t>(::getpid()) * kGoldenGamma),
      retry_backoff_(kFirstRetry, kLongestRetry),
      absence_(random_),
      depth_(settings.pipeline_auto ? 1 : settings.pipeline, settings.pipeline),
      rate_limit_(0, loop.now()),
      max_in_flight_(size_t{settings.connections} * settings.pipeline),
      resolver_(loop),
      after_poll_(loop, [this] { fill_answered(); }),
      drain_timer_(loop, [this] { cut_drain_short(); }),
      hold_timer_(loop, [this] { pump(); }),
      wake_timer_(loop, [this] { pump(); }),
      sweep_(
          loop,
          net::StallSweep::period_for(std::min(settings.stall_timeout, settings.connect_timeout)),
          [this](TimePoint since) { sweep(since); }) {
  connections_.reserve(settings.connections);
  FetchConnection::Owner& owner = *this;
  for (uint32_t i = 0; i < settings.connections; ++i) {
    connections_.push_back(
        std::make_unique<FetchConnection>(loop, owner, sink, settings.pipeline, settings.body));
  }
}

void Fetcher::resolve() {
  if (resolver_.busy()) return;
  const http::Url& origin = settings_.origin;
  resolver_.resolve(origin.host, origin.port,
                    [this](Result<std::vector<net::SocketAddress>> found) {
                      if (state_ != State::running) return;
                      if (!found) {
                        return hold_connecting(absence_.on_refused(found.failure().text));
                      }
                      addresses_.assign(std::move(found).value(), worker_index_);
                      pump();
                    });
}

void Fetcher::add(Batch& batch) {
  open_tasks_ += batch.count();
  if (batch.is_patient()) {
    batch.set_earlier_attempts(static_cast<uint16_t>(std::min(kEarlyGiveUps, settings_.retries)));
  }
  queue_.add(batch);
  pump();
}

// Puts ready names on their way: on connections that are open, then on new ones.
void Fetcher::pump() {
  for (const auto& connection : connections_) {
    if (state_ != State::running) return;
    if (connection->is_open()) fill(*connection);
  }
  open_connections();
  arm_wake_timer();  // also when no connection is open that could do so as it is filled
}

void Fetcher::open_connections() {
  if (state_ != State::running || hold_timer_.active()) return;
  const size_t depth = depth_.now();
  const size_t ready = queue_.ready(loop_.now(), std::min(connections_.size() * depth, room()));
  size_t alone = queue_.alone();
  size_t wanted = (ready + depth - 1) / depth + alone;
  if (wanted == 0) return;
  if (addresses_.empty()) return resolve();
  // While no address accepts connections, or answers on them, one try at a time.
  if (addresses_.all_failing() || absence_.is_unanswered()) wanted = 1;
  for (const auto& connection : connections_) {
    if (connection->is_ending()) continue;
    if (connection->is_open()) {
      // A name that is to be fetched alone needs a fresh one.
      if (alone == 0 || !connection->is_at_rest()) continue;
      --alone;
      connection->retire();
    }
    if (wanted == 0 || hold_timer_.active()) return;
    --wanted;  // one that is on its way counts too
    if (!connection->is_closed()) continue;
    connect(*connection);
    if (absence_.is_unanswered()) hold_connecting(absence_.on_unanswered());
  }
}

void Fetcher::connect(FetchConnection& connection) {
  const size_t index = addresses_.next();
  if (const int uv_error = connection.connect(addresses_.at(index), index); uv_error != 0) {
    on_connect_failed(connection, uv_error);
  }
}

void Fetcher::on_connected(FetchConnection& connection) {
  addresses_.report(connection.address_index(), true);
  if (absence_.on_accepted()) log_info("the origin accepts connections again");
  if (!absence_.is_unanswered()) hold_timer_.stop();
  fill(connection);  // before counting what is left for others
  open_connections();
}

void Fetcher::on_connect_failed(FetchConnection& connection, int uv_error) {
  if (state_ != State::running) return;
  if (is_out_of_resources(uv_error)) {
    // This host's own limit: slow down, the origin is not to blame.
    absence_.set_trouble(fmt::format("cannot open connections: {}", uv_strerror(uv_error)));
    return hold_connecting(kShortWait);
  }
  addresses_.report(connection.address_index(), false);
  if (!addresses_.all_failing()) return open_connections();
  if (hold_timer_.active()) return absence_.on_not_accepted();
  const Millis wait = absence_.on_refused(
      fmt::format("cannot connect to {}: {}", connection.address().text(), uv_strerror(uv_error)));
  if (absence_.wants_lookup()) resolve();
  hold_connecting(wait);
}

void Fetcher::hold_connecting(Millis wait) {
  log_debug("{}", absence_.trouble());
  if (!hold_timer_.active()) hold_timer_.start(wait);
}

// Requests of several connections leave together: the first of them wakes the origin, which then
// finds the others, where each by itself would have woken it.
void Fetcher::fill_again(FetchConnection& connection) {
  answered_.push_back(&connection);
  if (answered_.size() == kFilledTogether) return fill_answered();
  after_poll_.request();
}

void Fetcher::fill_answered() {
  for (FetchConnection* connection : answered_) {
    if (connection->is_open()) fill(*connection);
  }
  answered_.clear();
}

void Fetcher::fill(FetchConnection& connection) {
  if (state_ == State::running && connection.is_open() && !connection.is_alone()) {
    send_more(connection);
  }
  if (connection.in_flight() == 0) connection.rest();
  if (state_ != State::running) check_drained();
}

void Fetcher::send_more(FetchConnection& connection) {
  // It lived past the limit: the origin has none, or another.
  if (connection.responses() >= request_limit_.now()) {
    request_limit_.on_survived(connection.responses());
  }
  const size_t depth = depth_.now();
  // Half empty before it is filled again, so that requests leave several at a time.
  if (connection.in_flight() > depth / 2) return;
  if (connection.is_quiet_due()) return;
  if (queue_.alone() > 0 && connection.sent() == 0) return send_alone(connection);
  const TimePoint now = loop_.now();
  const uint64_t left = request_limit_.now() - std::min(connection.sent(), request_limit_.now());
  uint64_t budget = std::min<uint64_t>({depth - connection.in_flight(), left, room()});
  while (budget > 0 && queue_.available(now, connection.sent() == 0) && rate_limit_.take(now)) {
    // By reference: a copy would wait for the fields just written.
    const std::optional<Task> next = queue_.take(now, connection.sent() == 0);
    const Task& task = *next;
    if (task.alone) {
      queue_.put_back(task);
    } else if (send_task(connection, task)) {
      --budget;
    }
    if (state_ != State::running) return;
  }
  connection.flush();
  if (queue_.alone() > 0 && connection.is_at_rest()) open_connections();
  arm_wake_timer();
}

void Fetcher::send_alone(FetchConnection& connection) {
  if (room() == 0 || !rate_limit_.take(loop_.now())) return arm_wake_timer();
  const Task task = queue_.take_alone();
  request_writer_.append_get_with(connection.request_buffer(), [&](std::string& out) {
    dialect_.append_file_target(out, task.name());
  });
  http::RequestWriter::make_last(connection.request_buffer());
  connection.add_alone(task);
  ++in_flight_;
  ++counters_.requests;
  connection.flush();
}

// False when the sink refuses the name, which settles it.
bool Fetcher::send_task(FetchConnection& connection, const Task& task) {
  if (const auto refused = sink_.refuses(task.name())) {
    --open_tasks_;
    client_.on_failed(task, FileFailure{*refused, 0, 0, std::string(sink_.refusal_text(*refused))});
    return false;
  }
  request_writer_.append_get_with(connection.request_buffer(), [&](std::string& out) {
    if (task.is_redirected()) {
      out += redirects_.target(task);
    } else {
      dialect_.append_file_target(out, task.name());
    }
  });
  connection.add(task);
  ++in_flight_;
  ++counters_.requests;
  return true;
}

// Requests that may be sent now.
size_t Fetcher::room() const {
  if (is_paused() || in_flight_ >= max_in_flight_) return 0;
  return max_in_flight_ - in_flight_;
}

void Fetcher::set_pace(const wire::Pace& pace) {
  const TimePoint now = loop_.now();
  max_in_flight_ = pace.in_flight;
  rate_limit_.set(pace.rate, now);
  if (pace.pause_ms > 0) {
    paused_until_ = std::max(paused_until_, now + Millis(pace.pause_ms));
    rate_limit_.hold_until(paused_until_);
  }
  if (state_ == State::running) pump();
}

wire::Pipelining Fetcher::pipelining() const {
  const uint64_t limit = request_limit_.now();
  return {depth_.borne(), depth_.breaks(), limit == RequestLimit::kNone ? 0 : limit};
}

void Fetcher::learn(const wire::Pipelining& found) {
  depth_.learn(found.borne, found.breaks);
  if (found.per_connection > 0) request_limit_.learn(found.per_connection);
}

void Fetcher::arm_wake_timer() {
  const TimePoint now = loop_.now();
  std::optional<TimePoint> wake = queue_.next_due();
  // What is due already goes with the next answer or connection, which is what it lacks.
  if (wake && *wake <= now) wake.reset();
  if (const Millis wait = rate_limit_.wait(); wait > Millis(0) && queue_.ready(now, 1) > 0) {
    wake = now + wait;
  }
  if (is_paused() && (!wake || *wake < paused_until_)) wake = paused_until_;
  if (!wake || (wake_timer_.active() && wake_at_ <= *wake)) return;
  wake_at_ = std::max(*wake, now + Millis(1));
  wake_timer_.start(wake_at_ - now);
}

void Fetcher::on_disconnected(FetchConnection&) {
  if (state_ == State::running) return pump();
  check_drained();
}

void Fetcher::on_response(int status, Millis waited) {
  ++counters_.responses;
  if (absence_.on_answer()) {
    log_info("the origin answers again");
    hold_timer_.start(Millis(0));
  }
  const auto millis = static_cast<double>(waited.count());
  answer_millis_ += (millis - answer_millis_) * kAnswerGain;
  slow_millis_ = std::max(millis, slow_millis_ * kSlowDecay);
  if (status == FetchConnection::kFollowed) return;
  if (status == 200 || status != counters_.failing_status) counters_.failing = 0;
  if (status == 200) return;
  ++counters_.failing;
  counters_.failing_status = static_cast<uint16_t>(status);
  if (asks_for_less(status)) ++counters_.pushbacks;
}

void Fetcher::on_announced_close(uint64_t responses, uint32_t cut) {
  const bool usual = request_limit_.on_close(responses);
  if (cut > 0) depth_.on_doubt(usual ? 1 : cut);
}

Part* Fetcher::answered(const Task& task, uint64_t, const store::Hash128&) {
  --in_flight_;
  ++on_probation_;
  return state_ == State::stopped ? nullptr : client_.on_answered(task, true);
}

void Fetcher::answered_without_file(const Answer& answer) {
  --in_flight_;
  ++on_probation_;
  if (state_ != State::stopped) client_.on_answered(answer.task, false);
}

void Fetcher::proven(Answers& answers) {
  for (const FileRun& files : answers.files) {
    on_probation_ -= files.count;
    open_tasks_ -= files.count;
  }
  if (state_ != State::stopped && !answers.files.empty()) client_.on_stored(answers.files);
  for (Answer& answer : answers.others)
    prove(std::move(answer));
}

void Fetcher::prove(Answer answer) {
  --on_probation_;
  if (state_ == State::stopped) return;
  if (answer.failure != nullptr) return fail(answer.task, std::move(*answer.failure));
  if (answer.elsewhere) {
    client_.on_taken_back({&answer, 1});
    return queue_.put_back(answer.task);
  }
  --open_tasks_;
  redirects_.forget(answer.task);
  if (answer.task.attempts > 0) recovery_ += (1 - recovery_) * kRecoveryGain;
  const FileRun file = file_of(answer.task, answer.part, answer.bytes, answer.content);
  client_.on_stored({&file, 1});
}

void Fetcher::take_back(std::span<const Answer> answers) {
  on_probation_ -= answers.size();
  if (state_ != State::stopped) client_.on_taken_back(answers);
}

void Fetcher::taken_back(Answers answers, Doubt doubt) {
  std::vector<Answer> singly = answers.take_singly();
  take_back(singly);
  if (state_ != State::running) return;
  for (Answer& answer : singly) {
    answer.task.alone = doubt == Doubt::suspected;
    answer.task.replayed = false;
    redirects_.forget(answer.task);
    answer.task.redirect = 0;
    queue_.put_back(answer.task);
  }
}

void Fetcher::doubted_again(Answer answer, std::string_view why) {
  take_back({&answer, 1});
  const auto attempts = static_cast<uint16_t>(answer.task.attempts + 1);
  fail(answer.task,
       FileFailure{FailureClass::bad_framing, 0, attempts,
                   fmt::format("its answer does not end where it says, each time: {}", why)});
}

void Fetcher::on_misframed(Misframing kind) {
  depth_.on_misframed();
  mistrust_end_ = counters_.responses + kMistrustedAnswers;
  if (state_ != State::stopped) client_.on_misframed(kind);
}

ProbationTerms Fetcher::probation_terms() const {
  const auto usual = [this](double factor) {
    return Millis(static_cast<int64_t>(std::min(slow_millis_ * factor, 1e9)));
  };
  ProbationTerms terms;
  terms.most =
      counters_.responses < mistrust_end_
          ? kMistrusted
          : std::clamp(kMostOnProbation / connections_.size(), kLeastOnProbation, kMostOfOne);
  terms.patience = std::max(kLeastPatience, usual(kPatienceFactor));
  terms.quiet = std::clamp(usual(kQuietFactor), kLeastQuiet, kMostQuiet);
  terms.long_quiet = std::clamp(usual(kLongQuietFactor), kLeastLongQuiet, kMostQuiet);
  return terms;
}

void Fetcher::fail(const Task& task, FileFailure failure) {
  if (state_ == State::stopped) return;
  if (is_of_origin(failure.cause)) sink_.discard(task.name());
  --open_tasks_;
  redirects_.forget(task);
  client_.on_failed(task, std::move(failure));
}

bool Fetcher::follow(Task& task, std::string_view location) {
  if (state_ == State::stopped) return false;
  std::string target;
  if (task.is_redirected()) {
    target = redirects_.target(task);
  } else {
    dialect_.append_file_target(target, task.name());
  }
  task.replayed = false;
  return redirects_.follow(task, target, location);
}

uint32_t Fetcher::tries_allowed() const {
  const uint32_t tries = settings_.retries + 1;
  return recovery_ >= kMostRecover ? kPatience * tries : tries;
}

void Fetcher::failed_attempt(Task task, FileFailure failure, Millis at_least) {
  --in_flight_;
  if (state_ == State::stopped) return;
  redirects_.forget(task);
  task.redirect = 0;
  ++task.attempts;
  task.replayed = false;
  failure.attempts = task.attempts;
  uint32_t doublings = task.attempts;
  if (failure.cause == FailureClass::http_status && asks_for_less(failure.status)) {
    // The pace of the whole job answers to it: the name itself need not wait long.
    doublings = std::min(doublings, kPushbackDoublings);
    retry_after_ = std::max(retry_after_, at_least);
    client_.on_pushback();
  }
  if (task.attempts >= tries_allowed()) {
    recovery_ -= recovery_ * kRecoveryGain;
    return fail(task, std::move(failure));
  }
  ++counters_.retries;
  const Millis wait = at_least + retry_backoff_.delay(doublings, random_);
  queue_.put_back_at(task, loop_.now() + wait);
  arm_wake_timer();
}

void Fetcher::give_back(const Task& task) {
  --in_flight_;
  queue_.put_back(task);
}

// A file that makes its server drop the connection looks like an origin that is away and still
// accepts, or is being started anew. It is the file when it happens to it again while others are
// answered, or when hardly any are left.
void Fetcher::unanswered(Task task, FileFailure failure) {
  const bool answered = unanswered_at_ != counters_.responses;
  const bool first = !std::exchange(task.unanswered, true);
  unanswered_at_ = counters_.responses;
  const bool blamed = answered ? !first : open_tasks_ <= kFewNames;
  if (state_ != State::running || blamed) {
    return failed_attempt(task, std::move(failure), Millis(0));
  }
  --in_flight_;
  task.replayed = false;
  if (answered) return queue_.put_back_at(task, loop_.now() + kShortWait);
  if (!absence_.is_unanswered()) hold_connecting(absence_.on_unanswered());
  // It may be the name after all: the next try is another's, and so comes before this one's.
  queue_.put_back_at(task, loop_.now() + absence_.until_others_tried());
}

// First to another connection, then to another worker.
void Fetcher::gave_up_waiting(Task task) {
  --in_flight_;
  if (state_ != State::running) return queue_.put_back(task);
  ++task.attempts;
  ++counters_.retries;
  if (!std::exchange(task.moved, true)) return queue_.put_back(task);
  --open_tasks_;
  redirects_.forget(task);
  client_.on_released(task);
}

void Fetcher::put_off(const Task& task, std::string_view why) {
  --in_flight_;
  if (state_ == State::stopped) return;
  if (put_offs_++ % kPutOffsPerWarning == 0) log_warning("{}; trying again", why);
  queue_.put_back_at(task, loop_.now() + kShortWait);
  arm_wake_timer();
}

void Fetcher::store_broken(std::string_view text) {
  if (state_ == State::stopped) return;
  state_ = State::stopped;
  client_.on_store_broken(text);
}

void Fetcher::sweep(TimePoint since) {
  for (const auto& connection : connections_) {
    if (connection->is_closed() || connection->is_ending()) continue;
    const bool open = connection->is_open();
    if (open && connection->in_flight() == 0) continue;
    if (open) connection->prove_while_waiting(since);
    const Millis patience = open ? settings_.stall_timeout : settings_.connect_timeout;
    const bool silent = connection->last_activity() + patience <= since;
    if (silent || (open && connection->drips(since, patience, kLeastBytesPerSecond))) {
      connection->give_up_stalled();
    }
  }
  if (state_ == State::running) sweep_tail(since);
}

Millis Fetcher::tail_patience() const {
  const Millis usual(static_cast<int64_t>(answer_millis_ * kTailFactor));
  return std::min(std::max(usual, kShortestTailPatience), settings_.stall_timeout / 2);
}

bool Fetcher::may_give_up_early(const Task& task) const {
  return !task.is_patient() && task.attempts < settings_.retries;
}

// Gives up waiting early where that holds the others up: at the end of what there is to send, or
// when many connections wait.
void Fetcher::sweep_tail(TimePoint since) {
  const Millis patience = tail_patience();
  std::vector<FetchConnection*> waiting;
  for (const auto& connection : connections_) {
    if (connection->is_open() && connection->in_flight() > 0 &&
        may_give_up_early(connection->oldest()) &&
        connection->last_activity() + patience <= since) {
      waiting.push_back(connection.get());
    }
  }
  const bool nothing_to_send = queue_.ready(loop_.now(), 1) == 0 && !is_paused();
  const size_t usable = std::min(connections_.size(), max_in_flight_);
  if (!nothing_to_send && waiting.size() * kStalledShare < usable) return;
  for (FetchConnection* connection : waiting) {
    if (state_ == State::running && connection->is_open()) connection->give_up_waiting();
  }
}

void Fetcher::drain() {
  if (state_ == State::stopped) return;
  state_ = State::draining;
  hold_timer_.stop();
  wake_timer_.stop();
  resolver_.cancel();
  queue_.clear();
  drain_timer_.start(kDrainPatience);
  for (const auto& connection : connections_) {
    if (connection->in_flight() == 0) connection->rest();
  }
  check_drained();
}

void Fetcher::check_drained() {
  if (state_ == State::draining && in_flight_ + on_probation_ == 0) {
    state_ = State::stopped;
    client_.on_fetcher_drained();
  }
}

// What still waits for the origin would be lost with the run, and with it what cannot be proven
// before.
void Fetcher::cut_drain_short() {
  for (const auto& connection : connections_) {
    if (connection->is_open() && state_ == State::draining) connection->cut_short();
  }
}

void Fetcher::abandon() {
  state_ = State::stopped;
  for (const auto& connection : connections_)
    connection->abandon();
}

}  // namespace gigafetch::worker
