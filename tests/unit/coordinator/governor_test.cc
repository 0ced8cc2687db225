#include "coordinator/governor.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/rate_limit.h"

using namespace gigafetch;
using namespace gigafetch::coordinator;

namespace {

constexpr TimePoint at(int64_t ms) {
  return TimePoint(Millis(1'000'000 + ms));
}

struct Answer {
  bool good = true;
  uint32_t retry_after = 0;  // milliseconds; 0: not said
  uint32_t latency = 0;      // milliseconds
};

// Asked once a request, in the order of time.
using Origin = std::function<Answer(double seconds)>;

Origin token_bucket(double rate, double burst, uint32_t latency) {
  return [=, tokens = burst, last = 0.0](double now) mutable {
    tokens = std::min(burst, tokens + rate * (now - last));
    last = now;
    if (tokens < 1) return Answer{false, 0, latency};
    tokens -= 1;
    return Answer{true, 0, latency};
  };
}

// Counts from full second to full second, shifted by `phase`.
Origin fixed_window(uint64_t rate, double phase, bool retry_after, uint32_t latency) {
  return [=, second = int64_t{-1}, used = uint64_t{0}](double now) mutable {
    if (const auto current = static_cast<int64_t>(now + phase); current != second) {
      second = current;
      used = 0;
    }
    if (used >= rate) return Answer{false, retry_after ? 1000u : 0u, latency};
    ++used;
    return Answer{true, 0, latency};
  };
}

// nginx's limit_req with "burst=N nodelay": milliseconds, and an excess that leaks.
Origin smooth_limiter(double rate, double burst, uint32_t latency) {
  return [=, excess = 0.0, last = 0.0](double now) mutable {
    const double ms = std::floor(now * 1000);
    const double would_be = std::max(0.0, excess - rate * (ms - last) / 1000) + 1;
    if (would_be > burst + 1) return Answer{false, 0, latency};
    excess = would_be;
    last = ms;
    return Answer{true, 0, latency};
  };
}

Origin at_random(double share, uint32_t retry_after, uint32_t latency) {
  return [=, random = Random(7)](double) mutable {
    const bool good = !random.chance(share);
    return Answer{good, good ? 0 : retry_after, latency};
  };
}

// Takes `most` at a time; refusals come at once or as late as the rest.
Origin concurrent(size_t most, uint32_t latency, uint32_t refusal_latency) {
  return [=, ends = std::deque<double>()](double now) mutable {
    while (!ends.empty() && ends.front() <= now)
      ends.pop_front();
    if (ends.size() >= most) return Answer{false, 0, refusal_latency};
    ends.push_back(now + latency / 1000.0);
    return Answer{true, 0, latency};
  };
}

// A job of some workers and an origin, a millisecond a step.
class Simulation {
 public:
  struct Shape {
    uint32_t workers = 2;
    uint32_t connections = 64;
    uint32_t depth = 1;
    double rate_cap = 0;
    uint32_t speed = 10;  // requests a millisecond that a worker can send
    bool governed = true;
  };

  Simulation(const Shape& shape, Origin origin)
      : shape_(shape),
        origin_(std::move(origin)),
        governor_({shape.workers * shape.connections * shape.depth, shape.rate_cap}, at(0)),
        workers_(shape.workers),
        in_flight_limit_(governor_.in_flight()),
        rate_(governor_.rate()),
        least_in_flight_(in_flight_limit_) {
    for (uint32_t i = 0; i < shape.workers; ++i)
      workers_[i].next_pulse = static_cast<int64_t>(1000 * i / shape.workers);
    set_rates();
  }

  void run(int64_t from_ms, int64_t to_ms) {
    for (now_ = from_ms; now_ < to_ms; ++now_) {
      answer();
      for (Worker& worker : workers_)
        report(worker);
      if (now_ % 100 == 0 && shape_.governed) tick();
      if (now_ == paused_until_) set_rates();  // nothing is saved up during a pause
      if (now_ >= paused_until_) send();
    }
  }
  // Good answers a second from `from_ms` to `to_ms`.
  double good_rate(int64_t from_ms, int64_t to_ms) const {
    double good = 0;
    for (auto i = goods_.lower_bound(from_ms); i != goods_.lower_bound(to_ms); ++i)
      good += i->second;
    return good * 1000 / static_cast<double>(to_ms - from_ms);
  }
  double pushback_share() const {
    return static_cast<double>(pushbacks_) / static_cast<double>(pushbacks_ + all_good_);
  }
  const Governor& governor() const { return governor_; }
  uint32_t least_in_flight() const { return least_in_flight_; }
  double highest_rate() const { return highest_rate_; }
  int64_t shortest_between_decreases() const { return shortest_between_; }
  int64_t paused_ms() const { return paused_ms_; }
  void change(Origin origin) { origin_ = std::move(origin); }

 private:
  struct Worker {
    uint32_t in_flight = 0;
    uint64_t responses = 0, pushbacks = 0;  // not yet told of
    uint32_t retry_after = 0;
    int64_t next_pulse = 0, last_pulse = -1000;
    RateLimit rate{0, at(0)};
  };
  struct Arrival {
    Worker* worker;
    Answer answer;
  };

  void answer() {
    while (!arrivals_.empty() && arrivals_.begin()->first <= now_) {
      for (const Arrival& arrival : arrivals_.begin()->second)
        take(arrival);
      arrivals_.erase(arrivals_.begin());
    }
  }
  void take(const Arrival& arrival) {
    Worker& worker = *arrival.worker;
    --worker.in_flight;
    ++worker.responses;
    if (arrival.answer.good) {
      ++goods_[now_];
      ++all_good_;
      return;
    }
    ++worker.pushbacks;
    ++pushbacks_;
    worker.retry_after = std::max(worker.retry_after, arrival.answer.retry_after);
  }
  // Once a second, and soon when pushed back.
  void report(Worker& worker) {
    const bool due =
        now_ >= worker.next_pulse || (worker.pushbacks > 0 && now_ - worker.last_pulse >= 50);
    if (!due) return;
    worker.last_pulse = now_;
    worker.next_pulse = now_ + 1000;
    governor_.on_answers(worker.responses, worker.pushbacks, at(now_));
    if (worker.retry_after > 0) governor_.on_retry_after(Millis(worker.retry_after), at(now_));
    worker.responses = worker.pushbacks = 0;
    worker.retry_after = 0;
    if (!shape_.governed) return;
    const int64_t until = (governor_.paused_until() - at(0)).count();
    if (until > now_) paused_ms_ += until - std::max(now_, paused_until_);
    paused_until_ = until;
  }
  void tick() {
    governor_.tick(at(now_));
    const double rate = governor_.rate(), before = rate_;
    const bool lower_rate = rate > 0 && (before == 0 || rate < before);
    if (lower_rate || governor_.in_flight() < in_flight_limit_) {
      if (last_decrease_ >= 0)
        shortest_between_ = std::min(shortest_between_, now_ - last_decrease_);
      last_decrease_ = now_;
    }
    in_flight_limit_ = governor_.in_flight();
    least_in_flight_ = std::min(least_in_flight_, in_flight_limit_);
    highest_rate_ = std::max(highest_rate_, rate);
    rate_ = rate;
    if (rate != before) set_rates();
  }
  void set_rates() {
    for (Worker& worker : workers_)
      worker.rate = RateLimit(rate_ / shape_.workers, at(now_));
  }
  void send() {
    const uint32_t share = std::max(1u, in_flight_limit_ / shape_.workers);
    for (uint32_t i = 0; i < shape_.speed; ++i) {
      for (Worker& worker : workers_) {
        if (worker.in_flight >= share || !worker.rate.take(at(now_))) continue;
        ++worker.in_flight;
        const double seconds = (static_cast<double>(now_) + i / double(shape_.speed)) / 1000;
        const Answer answer = origin_(seconds);
        if (answer.latency == 0) {
          take({&worker, answer});
        } else {
          arrivals_[now_ + answer.latency].push_back({&worker, answer});
        }
      }
    }
  }

  Shape shape_;
  Origin origin_;
  Governor governor_;
  std::vector<Worker> workers_;
  std::map<int64_t, std::vector<Arrival>> arrivals_;
  std::map<int64_t, uint32_t> goods_;
  uint64_t all_good_ = 0, pushbacks_ = 0;
  uint32_t in_flight_limit_;
  double rate_;
  uint32_t least_in_flight_;
  double highest_rate_ = 0;
  int64_t now_ = 0, last_decrease_ = -1, shortest_between_ = INT64_MAX;
  int64_t paused_until_ = 0, paused_ms_ = 0;
};

constexpr int64_t kWarm = 3'000, kEnd = 60'000;

// Holds `good_rate` a second at both depths; 0: what is answered well without a governor.
void holds(const std::string& what, const std::function<Origin()>& origin, double good_rate,
           Simulation::Shape shape = {}, int64_t warm = kWarm) {
#ifdef __SANITIZE_ADDRESS__
  constexpr std::array kDepths{16u};  // the same code, with other numbers
#else
  constexpr std::array kDepths{1u, 16u};
#endif
  for (const uint32_t depth : kDepths) {
    shape.depth = depth;
    Simulation simulation(shape, origin());
    simulation.run(0, kEnd);
    double could = good_rate;
    if (could == 0) {
      Simulation::Shape free = shape;
      free.governed = false;
      Simulation unthrottled(free, origin());
      unthrottled.run(0, kEnd);
      could = unthrottled.good_rate(warm, kEnd);
    }
    const double held = simulation.good_rate(warm, kEnd) / could;
    const double first = simulation.good_rate(warm, warm + 15'000) / could;
    INFO(what << ", depth " << depth << ": held " << held << ", in the first 15 s " << first
              << ", pushbacks " << simulation.pushback_share() << ", paused "
              << simulation.paused_ms() << " ms, least in flight " << simulation.least_in_flight()
              << ", at the end rate " << simulation.governor().rate() << ", in flight "
              << simulation.governor().in_flight());
    CHECK(held >= 0.85);
    CHECK(simulation.least_in_flight() >= 4);
    CHECK(simulation.shortest_between_decreases() >= 1000);
    if (shape.rate_cap > 0) CHECK(simulation.highest_rate() <= shape.rate_cap);
  }
}

}  // namespace

TEST_CASE("a token bucket is held") {
  for (const uint32_t latency : {0u, 20u}) {
    holds(
        "bucket", [=] { return token_bucket(1000, 50, latency); }, 1000);
    holds(
        "bucket of one second", [=] { return token_bucket(1000, 1000, latency); }, 1000);
  }
}

TEST_CASE("a fixed window with Retry-After is held") {
  for (const uint32_t latency : {0u, 20u}) {
    for (const double phase : {0.0, 0.3, 0.5, 0.8, 0.95}) {
      CAPTURE(phase);
      holds(
          "window", [=] { return fixed_window(1000, phase, true, latency); }, 1000);
      holds(
          "window, nothing said", [=] { return fixed_window(1000, phase, false, latency); }, 1000);
    }
  }
  Simulation::Shape slow;
  slow.speed = 1;
  holds(
      "window, slow client", [=] { return fixed_window(1800, 0, true, 0); }, 1800, slow);
}

TEST_CASE("a token bucket with Retry-After is held once its rate is found") {
  for (const uint32_t latency : {0u, 20u}) {
    const auto origin = [=] {
      return [bucket = token_bucket(1000, 50, latency)](double now) mutable {
        Answer answer = bucket(now);
        if (!answer.good) answer.retry_after = 1000;
        return answer;
      };
    };
    holds("bucket with Retry-After", origin, 1000, {}, 15'000);
  }
}

TEST_CASE("a smooth limiter is held") {
  for (const uint32_t latency : {0u, 20u}) {
    for (const double burst : {5.0, 50.0}) {
      CAPTURE(burst);
      holds(
          "smooth", [=] { return smooth_limiter(1000, burst, latency); }, 1000);
    }
    // Of requests that come in clumps it takes one, at whatever pace: what it took of them before.
    holds(
        "smooth, no burst", [=] { return smooth_limiter(1000, 0, latency); }, 0);
  }
}

TEST_CASE("errors at random do not slow the job down") {
  for (const uint32_t latency : {0u, 20u}) {
    for (const double share : {0.06, 0.1, 0.3, 0.6}) {
      CAPTURE(share);
      holds(
          "random", [=] { return at_random(share, 0, latency); }, 0);
    }
    holds(
        "random with Retry-After", [=] { return at_random(0.3, 1000, latency); }, 0);
  }
}

TEST_CASE("an origin that takes so many at a time is held") {
  for (const uint32_t refusal : {0u, 20u}) {
    for (const size_t most : {40u, 100u}) {
      CAPTURE(most);
      holds(
          "concurrent", [=] { return concurrent(most, 20, refusal); }, double(most) * 50);
    }
  }
}

TEST_CASE("random errors on top of a limit do not hide it") {
  const auto origin = [] {
    return [limit = token_bucket(1000, 50, 20), random = Random(3)](double now) mutable {
      Answer answer = limit(now);
      answer.good = answer.good && !random.chance(0.1);
      return answer;
    };
  };
  holds("bucket and errors", origin, 900);
}

TEST_CASE("an origin that bears everything is never held back") {
  for (const uint32_t latency : {0u, 20u, 400u}) {
    Simulation simulation({}, at_random(0.01, 1000, latency));
    simulation.run(0, 20'000);
    CHECK(simulation.least_in_flight() == 128);
    CHECK(simulation.highest_rate() == 0);
    CHECK(simulation.paused_ms() == 0);
  }
}

TEST_CASE("a rate that was asked for is never exceeded") {
  Simulation::Shape shape;
  shape.rate_cap = 1200;
  holds(
      "capped above the limit", [] { return token_bucket(1000, 50, 20); }, 1000, shape);
  shape.rate_cap = 500;
  holds(
      "capped below the limit", [] { return token_bucket(1000, 50, 20); }, 500, shape);
  holds(
      "capped with errors", [] { return at_random(0.3, 0, 20); }, 350, shape);
  Governor governor({128, 500}, at(0));
  CHECK(governor.rate() == 500);
}

TEST_CASE("a limit that falls and rises is followed") {
  Simulation simulation({}, token_bucket(1000, 50, 20));
  simulation.run(0, 20'000);
  simulation.change(token_bucket(300, 15, 20));
  simulation.run(20'000, 40'000);
  CHECK(simulation.good_rate(25'000, 40'000) >= 0.85 * 300);
  CHECK(simulation.governor().rate() <= 1.1 * 300);
  simulation.change(token_bucket(2000, 100, 20));
  simulation.run(40'000, 140'000);
  CHECK(simulation.good_rate(120'000, 140'000) >= 0.85 * 2000);
  simulation.change(at_random(0, 0, 20));
  simulation.run(140'000, 300'000);
  CHECK(simulation.governor().rate() == 0);
  CHECK(simulation.governor().in_flight() == 128);
}

TEST_CASE("an origin that refuses everything for a while is asked ever less, and then as before") {
  Simulation simulation({}, at_random(0, 0, 20));
  simulation.run(0, 5'000);
  simulation.change(at_random(1, 0, 20));
  simulation.run(5'000, 25'000);
  CHECK(simulation.governor().rate() > 0);
  CHECK(simulation.governor().rate() <= 20);
  CHECK(simulation.governor().in_flight() >= 8);
  simulation.change(at_random(0, 0, 20));
  simulation.run(25'000, 40'000);
  CHECK(simulation.governor().rate() == 0);
  CHECK(simulation.good_rate(35'000, 40'000) > 5000);
}

TEST_CASE("after errors that were no fault of ours nothing is lowered for ten seconds") {
  Simulation simulation({}, at_random(0.3, 0, 20));
  simulation.run(0, 4'500);
  CHECK(simulation.highest_rate() > 0);
  simulation.change(at_random(0.8, 0, 20));
  for (int64_t ms = 4'500; ms < 13'500; ms += 500) {
    CHECK(simulation.governor().rate() == 0);
    CHECK(simulation.governor().in_flight() == 128);
    simulation.run(ms, ms + 500);
  }
}

TEST_CASE("in flight is halved no further than to a sixteenth") {
  Governor governor({128, 0}, at(0));
  for (int64_t ms = 0; ms < 40'000; ms += 2'000) {
    governor.on_answers(1000, 900, at(ms + 900));
    governor.on_retry_after(Millis(1000), at(ms + 1000));
    governor.tick(at(ms + 2'000));
  }
  CHECK(governor.in_flight() == 8);
}

TEST_CASE("a quota by the minute is learnt from the pauses") {
  const auto quota = [used = 0, minute = int64_t{-1}](double now) mutable {
    if (const auto current = static_cast<int64_t>(now / 60); current != minute) {
      minute = current;
      used = 0;
    }
    const auto left =
        static_cast<uint32_t>((minute + 1) * 60'000 - static_cast<int64_t>(now * 1000));
    return ++used > 6000 ? Answer{false, left, 20} : Answer{true, 0, 20};
  };
  Simulation simulation({}, quota);
  simulation.run(0, 1'800'000);
  CHECK(simulation.good_rate(0, 1'800'000) >= 0.85 * 100);
  CHECK(simulation.pushback_share() < 0.05);
}

TEST_CASE("a job of one request at a time stays one") {
  Simulation::Shape shape{1, 1, 1};
  Simulation simulation(shape, at_random(0.5, 0, 5));
  simulation.run(0, 20'000);
  CHECK(simulation.governor().in_flight() == 1);
  CHECK(simulation.good_rate(3'000, 20'000) > 80);
  CHECK(Governor({0, 0}, at(0)).in_flight() == 1);
}

TEST_CASE("a Retry-After pauses the job while most answers are refusals") {
  Governor governor({128, 0}, at(0));
  governor.on_answers(1000, 10, at(10));
  governor.on_retry_after(Millis(2000), at(10));
  CHECK(governor.paused_until() <= at(10));
  governor.on_answers(100, 100, at(20));
  CHECK(governor.paused_until() == at(2010));
  governor.on_retry_after(Millis(1000), at(30));
  CHECK(governor.paused_until() == at(2010));
  governor.on_retry_after(Millis(5000), at(40));
  CHECK(governor.paused_until() == at(5040));
}

TEST_CASE("a Retry-After that is over does not pause the job later") {
  Governor governor({128, 0}, at(0));
  governor.on_answers(1000, 10, at(10));
  governor.on_retry_after(Millis(1000), at(10));
  governor.on_answers(100, 100, at(1010));
  CHECK(governor.paused_until() <= at(1010));
}

TEST_CASE("a pause is cut to five minutes") {
  Governor governor({128, 0}, at(0));
  governor.on_answers(100, 100, at(10));
  governor.on_retry_after(Millis(INT64_MAX), at(10));
  CHECK(governor.paused_until() == at(300'010));
  governor.on_retry_after(Millis(0), at(20));
  governor.on_retry_after(Millis(-5), at(20));
  CHECK(governor.paused_until() == at(300'010));
}

TEST_CASE("refusals before a pause do not prolong it after its end") {
  Governor governor({128, 0}, at(0));
  governor.on_answers(1000, 1000, at(10));
  governor.on_retry_after(Millis(1000), at(10));
  governor.tick(at(1010));
  governor.on_answers(10, 3, at(1020));
  governor.on_retry_after(Millis(1000), at(1020));
  CHECK(governor.paused_until() == at(1010));
}

TEST_CASE("without answers nothing is decided") {
  Governor governor({128, 0}, at(0));
  for (int64_t ms = 0; ms < 20'000; ms += 100)
    governor.tick(at(ms));
  CHECK(governor.in_flight() == 128);
  CHECK(governor.rate() == 0);
}
