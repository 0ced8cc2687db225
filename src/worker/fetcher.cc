#include "worker/fetcher.h"

#include <unistd.h>

#include <algorithm>

#include "base/log.h"

namespace gigafetch::worker {
namespace {

constexpr Millis kFirstRetry{100};
constexpr Millis kLongestRetry{10'000};
// So many connections are filled together. With more the origin would be idle meanwhile.
constexpr size_t kFilledTogether = 8;
// The wait when this host's own descriptors or ports ran out.
constexpr Millis kShortWait{100};
// A body that comes more slowly than this, over --stall-timeout, counts as stalled: a byte now and
// then must not hold a connection for ever.
constexpr uint64_t kLeastBytesPerSecond = 16;
// An answer is given up early, to be asked for elsewhere, only when nothing else is to be sent, or
// so large a share of the connections waits.
constexpr size_t kStalledShare = 4;
// A name is given up early once on one connection, and once more to be released to another worker.
// Each costs one of its tries, but never the last one, which has all of --stall-timeout.
constexpr uint32_t kEarlyGiveUps = 2;
// After a drain was asked for, so long; the coordinator waits for a second more.
constexpr Millis kDrainPatience{4'000};
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
  append_request(connection, task);
  http::RequestWriter::make_last(connection.request_buffer());
  connection.add_alone(task);
  connection.flush();
}

// False when the sink refuses the name, which settles it.
bool Fetcher::send_task(FetchConnection& connection, const Task& task) {
  if (const auto refused = sink_.refuses(task.name())) {
    --open_tasks_;
    client_.on_failed(task, FileFailure{*refused, 0, 0, std::string(sink_.refusal_text(*refused))});
    return false;
  }
  append_request(connection, task);
  connection.add(task);
  return true;
}

void Fetcher::append_request(FetchConnection& connection, const Task& task) {
  request_writer_.append_get_with(connection.request_buffer(),
                                  [&](std::string& out) { append_target(out, task); });
  ++in_flight_;
  ++counters_.requests;
}

void Fetcher::append_target(std::string& out, const Task& task) const {
  if (task.is_redirected()) {
    out += redirects_.target(task);
  } else {
    dialect_.append_file_target(out, task.name());
  }
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

bool Fetcher::may_give_up_early(const Task& task) const {
  return !task.is_patient() && task.attempts < settings_.retries;
}

// Gives up waiting early where that holds the others up: at the end of what there is to send, or
// when many connections wait.
void Fetcher::sweep_tail(TimePoint since) {
  const Millis patience = answer_times_.tail_patience(settings_.stall_timeout);
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
