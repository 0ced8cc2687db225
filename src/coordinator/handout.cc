#include "coordinator/handout.h"

#include <algorithm>
#include <optional>

namespace gigafetch::coordinator {

// Nobody gets names that it gave up waiting for itself, as long as there are others.
Handout::Load* Handout::next_worker() {
  Load* least = nullptr;
  for (Load& load : loads_) {
    if (loads_.size() > 1 && plan_.next_is_from(load.link->holder())) continue;
    if (least == nullptr || load.leases < least->leases) least = &load;
  }
  return least;
}

void Handout::run() {
  loads_.clear();
  for (WorkerLink* link : workforce_.links())
    loads_.push_back({link, plan_.leases_of(link->holder())});
  while (plan_.has_queued()) {
    Load* const load = next_worker();
    if (load == nullptr) break;
    const std::optional<wire::BatchView> batch = plan_.next(load->link->holder());
    if (!batch) break;
    load->link->queue(*batch);
    ++load->leases;
  }
  for (const Load& load : loads_)
    load.link->flush();
}

uint32_t Handout::busy() const {
  const std::vector<WorkerLink*>& links = workforce_.links();
  return static_cast<uint32_t>(
      std::count_if(links.begin(), links.end(),
                    [&](const WorkerLink* link) { return plan_.leases_of(link->holder()) > 0; }));
}

}  // namespace gigafetch::coordinator
