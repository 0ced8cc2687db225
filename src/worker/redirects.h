// Redirects: where names are that the origin has moved, until they are settled. Pure. A name that
// was not redirected has no place in it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "http/redirect.h"
#include "worker/batch.h"

namespace gigafetch::worker {

class Redirects {
 public:
  // `origin` must outlive it.
  explicit Redirects(const http::Url& origin) : origin_(origin) {}

  // An answer to `task`, which was asked for at `target`, leads to `location`. False when it must
  // not be followed: it leads out of the origin, or the task has been led on http::kMaxRedirects
  // times; nothing has changed then.
  bool follow(Task& task, std::string_view target, std::string_view location);

  // Where `task`, which is_redirected(), is to be asked for.
  const std::string& target(const Task& task) const { return places_[task.redirect - 1].target; }

  // The task is settled, or begins anew with its name.
  void forget(const Task& task) {
    if (task.is_redirected()) release(task.redirect - 1);
  }

  // Places in use: as many as there are tasks that were redirected and not forgotten.
  size_t size() const { return places_.size() - free_.size(); }

 private:
  struct Place {
    std::string target;
    unsigned hops = 0;
  };

  void release(uint32_t index);

  const http::Url& origin_;
  std::vector<Place> places_;  // Task::redirect is an index into it, plus 1
  std::vector<uint32_t> free_;
};

}  // namespace gigafetch::worker
