// Handout: gives queued names to the workers, as far as their credit goes. Loop thread only.
#pragma once

#include <vector>

#include "coordinator/plan.h"
#include "coordinator/workforce.h"

namespace gigafetch::coordinator {

class Handout {
 public:
  // Both must outlive it.
  Handout(Plan& plan, Workforce& workforce) : plan_(plan), workforce_(workforce) {}

  // Who holds least gets the next batch. What goes to one worker leaves in one write.
  void run();

  // Workers that hold something.
  uint32_t busy() const;

 private:
  struct Load {
    WorkerLink* link;
    size_t leases;
  };
  Load* next_worker();

  Plan& plan_;
  Workforce& workforce_;
  std::vector<Load> loads_;  // of the handing-out under way
};

}  // namespace gigafetch::coordinator
