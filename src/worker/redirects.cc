#include "worker/redirects.h"

#include <optional>
#include <utility>

namespace gigafetch::worker {

bool Redirects::follow(Task& task, std::string_view target, std::string_view location) {
  if (task.is_redirected() && places_[task.redirect - 1].hops == http::kMaxRedirects) return false;
  std::optional<std::string> next = http::redirect_target(origin_, target, location);
  if (!next) return false;
  if (!task.is_redirected() && free_.empty()) {
    places_.emplace_back();
    task.redirect = static_cast<uint32_t>(places_.size());
  } else if (!task.is_redirected()) {
    task.redirect = free_.back() + 1;
    free_.pop_back();
  }
  Place& place = places_[task.redirect - 1];
  place.target = std::move(*next);
  ++place.hops;
  return true;
}

void Redirects::release(uint32_t index) {
  places_[index] = {};
  free_.push_back(index);
}

}  // namespace gigafetch::worker
