#include "coordinator/pacer.h"

#include <algorithm>
#include <cmath>

namespace gigafetch::coordinator {
namespace {

constexpr Millis kTick{100};
// A change of the rate below this share is not worth a message.
constexpr double kSmallChange = 0.01;

bool is_news(const wire::Pace& told, const wire::Pace& now) {
  if (now.pause_ms > 0 || told.in_flight != now.in_flight) return true;
  return std::abs(told.rate - now.rate) > kSmallChange * std::max(told.rate, now.rate);
}

}  // namespace

Pacer::Pacer(net::Loop& loop, const Governor::Limits& limits, uint32_t workers,
             const Workforce& workforce, std::function<bool(HolderId)> has_names)
    : loop_(loop),
      workers_(workers),
      workforce_(workforce),
      has_names_(std::move(has_names)),
      governor_(limits, loop.now()),
      timer_(loop, [this] { tick(); }) {
  timer_.start(kTick, kTick);
}

void Pacer::on_counters(const wire::WorkerCounters& before, const wire::WorkerCounters& now) {
  if (now.responses == before.responses) return;
  governor_.on_answers(now.responses - before.responses, now.pushbacks - before.pushbacks,
                       loop_.now());
}

void Pacer::on_retry_after(Millis asked) {
  governor_.on_retry_after(asked, loop_.now());
  update();
}

void Pacer::tick() {
  governor_.tick(loop_.now());
  update();
}

wire::Pace Pacer::share(double rate, TimePoint now) const {
  wire::Pace pace;
  pace.in_flight = std::max(1u, governor_.in_flight() / workers_);
  pace.rate = rate;
  const TimePoint paused_until = governor_.paused_until();
  if (paused_until > now && paused_until != pause_told_) {
    pace.pause_ms = static_cast<uint32_t>((paused_until - now).count());
  }
  return pace;
}

// Who is to send less is told first: so the sum stays below the limit while the news is on its way.
void Pacer::update() {
  const std::vector<WorkerLink*>& links = workforce_.links();
  const auto busy = std::count_if(links.begin(), links.end(),
                                  [&](WorkerLink* link) { return has_names_(link->holder()); });
  const double rate = governor_.rate() / static_cast<double>(std::max<int64_t>(busy, 1));
  const TimePoint now = loop_.now();
  const wire::Pace pace = share(rate, now);
  for (const bool more : {false, true}) {
    for (WorkerLink* link : links) {
      const auto told = told_.find(link->holder());
      const bool is_new = told == told_.end();
      if (!is_new && !is_news(told->second, pace)) continue;
      const bool gets_more =
          is_new || pace.rate == 0 || (told->second.rate > 0 && pace.rate > told->second.rate);
      if (gets_more != more) continue;
      link->send(pace);
      wire::Pace& kept = told_[link->holder()];
      kept = pace;
      kept.pause_ms = 0;
    }
  }
  pause_told_ = governor_.paused_until();
}

}  // namespace gigafetch::coordinator
