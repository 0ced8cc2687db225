#include "coordinator/origin_watch.h"

#include <algorithm>

#include "base/log.h"

namespace gigafetch::coordinator {
namespace {

constexpr Millis kCheckPeriod{1000};
constexpr size_t kMostTold = 8;  // an origin can have any number of addresses

}  // namespace

OriginWatch::OriginWatch(net::Loop& loop, std::string origin,
                         std::function<void(const std::string&)> on_given_up)
    : loop_(loop),
      origin_(std::move(origin)),
      on_given_up_(std::move(on_given_up)),
      patience_(loop.now()),
      sweep_(loop, kCheckPeriod, [this](TimePoint since) { check(since); }) {}

void OriginWatch::asked(std::string page, Millis patience) {
  patience_.on_question(loop_.now(), patience);
  trouble_ = fmt::format(
      "it accepts connections, but no byte came in the answer to {}; see "
      "--list-timeout",
      page);
}

void OriginWatch::alive() {
  patience_.on_life(loop_.now());
  trouble_.clear();
  told_.clear();
}

void OriginWatch::trouble(const std::string& text) {
  trouble_ = text;
  if (told_.size() == kMostTold || std::ranges::find(told_, text) != told_.end()) return;
  told_.push_back(text);
  log_warning("{}; trying again for up to {} s", text, patience_.allowed() / Millis(1000));
}

void OriginWatch::check(TimePoint since) {
  if (given_up_ || !patience_.exhausted(since)) return;
  given_up_ = true;
  on_given_up_(fmt::format("{} has not answered for {} s{}{}; check the URL and the service",
                           origin_, patience_.allowed() / Millis(1000),
                           trouble_.empty() ? "" : ": ", trouble_));
}

}  // namespace gigafetch::coordinator
