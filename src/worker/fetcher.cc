#include "worker/fetcher.h"

#include <unistd.h>

#include <algorithm>

#include "base/log.h"

namespace gigafetch::worker {
namespace {

constexpr Millis kFirstRetry{100};
constexpr Millis kLongestRetry{10'000};
constexpr Millis kFirstAwayWait{100};
constexpr Millis kLongestAwayWait{5'000};
// Failed tries at an origin before its name is looked up again.
constexpr uint32_t kTriesPerLookup = 8;
// Files put off for one warning about it.
constexpr uint64_t kPutOffsPerWarning = 1000;
// The wait when this host's own descriptors or ports ran out.
constexpr Millis kShortWait{100};

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
      random_(static_cast<uint64_t>(::getpid()) * kGoldenGamma),
      retry_backoff_(kFirstRetry, kLongestRetry),
      away_backoff_(kFirstAwayWait, kLongestAwayWait),
      depth_(settings.pipeline_auto ? 1 : settings.pipeline, settings.pipeline),
      rate_limit_(settings.rate, loop.now()),
      resolver_(loop),
      hold_timer_(loop, [this] { pump(); }),
      wake_timer_(loop, [this] { pump(); }),
      sweep_(
          loop,
          net::StallSweep::period_for(std::min(settings.stall_timeout, settings.connect_timeout)),
          [this](TimePoint since) { sweep(since); }) {
  connections_.reserve(settings.connections);
  FetchConnection::Owner& owner = *this;
  for (uint32_t i = 0; i < settings.connections; ++i) {
    connections_.push_back(std::make_unique<FetchConnection>(loop, owner, sink, settings.pipeline,
                                                             settings.max_file_size));
  }
}

void Fetcher::resolve() {
  if (resolver_.busy()) return;
  const http::Url& origin = settings_.origin;
  resolver_.resolve(origin.host, origin.port,
                    [this](Result<std::vector<net::SocketAddress>> found) {
                      if (state_ != State::running) return;
                      if (!found) {
                        return hold_connecting(found.failure().text,
                                               away_backoff_.delay(++away_failures_, random_));
                      }
                      addresses_.assign(std::move(found).value(), worker_index_);
                      pump();
                    });
}

void Fetcher::add(Batch& batch) {
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
  size_t wanted = (queue_.ready(loop_.now(), connections_.size() * depth) + depth - 1) / depth;
  if (wanted == 0) return;
  if (addresses_.empty()) return resolve();
  // While no address accepts connections, one try at a time.
  if (addresses_.all_failing()) wanted = 1;
  for (const auto& connection : connections_) {
    if (connection->is_open()) continue;
    if (wanted == 0 || hold_timer_.active()) return;
    --wanted;  // one that is on its way counts too
    if (connection->is_closed()) connect(*connection);
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
  if (away_failures_ > 0) log_info("the origin accepts connections again");
  trouble_.clear();
  away_failures_ = 0;
  hold_timer_.stop();
  fill(connection);  // before counting what is left for others
  open_connections();
}

void Fetcher::on_connect_failed(FetchConnection& connection, int uv_error) {
  if (state_ != State::running) return;
  if (is_out_of_resources(uv_error)) {
    // This host's own limit: slow down, the origin is not to blame.
    return hold_connecting(fmt::format("cannot open connections: {}", uv_strerror(uv_error)),
                           kShortWait);
  }
  addresses_.report(connection.address_index(), false);
  if (!addresses_.all_failing()) return open_connections();
  if (hold_timer_.active()) return;
  if (++away_failures_ % kTriesPerLookup == 0) resolve();
  hold_connecting(
      fmt::format("cannot connect to {}: {}", connection.address().text(), uv_strerror(uv_error)),
      away_backoff_.delay(away_failures_, random_));
}

void Fetcher::hold_connecting(std::string trouble, Millis wait) {
  log_debug("{}", trouble);
  trouble_ = std::move(trouble);
  if (!hold_timer_.active()) hold_timer_.start(wait);
}

void Fetcher::fill(FetchConnection& connection) {
  if (state_ != State::running) return check_drained();
  // It lived past the limit: the origin has none, or another.
  if (connection.responses() >= request_limit_.now()) {
    request_limit_.on_survived(connection.responses());
  }
  const size_t depth = depth_.now();
  // Half empty before it is filled again, so that requests leave several at a time.
  if (connection.in_flight() > depth / 2) return;
  const TimePoint now = loop_.now();
  while (connection.in_flight() < depth && connection.sent() < request_limit_.now() &&
         queue_.available(now, connection.sent() == 0) && rate_limit_.take(now)) {
    send_task(connection, *queue_.take(now, connection.sent() == 0));
    if (state_ != State::running) return;
  }
  connection.flush();
  arm_wake_timer();
}

void Fetcher::send_task(FetchConnection& connection, const Task& task) {
  if (const auto refused = sink_.refuses(task.name())) {
    client_.on_failed(task, FileFailure{*refused, 0, 0, std::string(sink_.refusal_text(*refused))});
    return;
  }
  request_writer_.append_get_with(connection.request_buffer(), [&](std::string& out) {
    dialect_.append_file_target(out, task.name());
  });
  connection.add(task);
  ++counters_.requests;
}

void Fetcher::arm_wake_timer() {
  const TimePoint now = loop_.now();
  std::optional<TimePoint> wake = queue_.next_due();
  // What is due already goes with the next answer or connection, which is what it lacks.
  if (wake && *wake <= now) wake.reset();
  if (const Millis wait = rate_limit_.wait(); wait > Millis(0) && queue_.ready(now, 1) > 0) {
    wake = now + wait;
  }
  if (!wake || (wake_timer_.active() && wake_at_ <= *wake)) return;
  wake_at_ = std::max(*wake, now + Millis(1));
  wake_timer_.start(wake_at_ - now);
}

void Fetcher::on_disconnected(FetchConnection&) {
  if (state_ == State::running) return pump();
  check_drained();
}

void Fetcher::on_response() {
  ++counters_.responses;
  depth_.on_response();
}

void Fetcher::stored(const Task& task, uint64_t bytes) {
  if (state_ != State::stopped) client_.on_stored(task, bytes);
}

void Fetcher::failed(const Task& task, FileFailure failure) {
  if (state_ == State::stopped) return;
  if (is_of_origin(failure.cause)) sink_.discard(task.name());
  client_.on_failed(task, std::move(failure));
}

void Fetcher::failed_attempt(Task task, FileFailure failure, Millis at_least) {
  if (state_ == State::stopped) return;
  ++task.attempts;
  task.replayed = false;
  failure.attempts = task.attempts;
  if (task.attempts > settings_.retries) return failed(task, std::move(failure));
  ++counters_.retries;
  const Millis wait = at_least + retry_backoff_.delay(task.attempts, random_);
  queue_.put_back_at(task, loop_.now() + wait);
  arm_wake_timer();
}

void Fetcher::put_off(const Task& task, std::string_view why) {
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
    if (connection->is_closed()) continue;
    const bool open = connection->is_open();
    if (open && connection->in_flight() == 0) continue;
    const Millis patience = open ? settings_.stall_timeout : settings_.connect_timeout;
    if (connection->last_activity() + patience <= since) connection->give_up_stalled();
  }
}

void Fetcher::drain() {
  if (state_ == State::stopped) return;
  state_ = State::draining;
  hold_timer_.stop();
  wake_timer_.stop();
  resolver_.cancel();
  queue_.clear();
  check_drained();
}

void Fetcher::check_drained() {
  if (state_ == State::draining && in_flight() == 0) {
    state_ = State::stopped;
    client_.on_drained();
  }
}

void Fetcher::abandon() {
  state_ = State::stopped;
  for (const auto& connection : connections_)
    connection->abandon();
}

size_t Fetcher::in_flight() const {
  size_t count = 0;
  for (const auto& connection : connections_)
    count += connection->in_flight();
  return count;
}

}  // namespace gigafetch::worker
