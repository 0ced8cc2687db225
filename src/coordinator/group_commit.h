// GroupCommit: makes what is recorded durable, many files at a time, off the loop, so that no
// worker waits for a device. Loop thread only. It must not be destroyed while it is busy: what runs
// off the loop uses it.
//
//     idle --something recorded, period over--> syncing --well--> idle
//                                                     \--failed--> broken (told once, final)
#pragma once

#include <functional>
#include <optional>

#include "coordinator/settings.h"
#include "net/background.h"
#include "net/timer.h"
#include "store/ledger.h"

namespace gigafetch::coordinator {

class GroupCommit {
 public:
  // `on_failure`: a device failed; what was not covered before has been taken back from the ledger
  // where that was possible, and is fetched again by the next run. `output_fd` is borrowed.
  GroupCommit(net::Loop& loop, store::Ledger& ledger, Durability durability, int output_fd,
              std::function<void(const Error& why)> on_failure);

  // Fails when the system makes no thread for it.
  Result<void> start();
  // No further commits but this last one: `on_done` once all that is recorded by now is durable. At
  // once when there is nothing to do.
  void finish(std::function<void()> on_done);
  // A commit is under way.
  bool busy() const { return background_.busy(); }

 private:
  void commit();
  void on_committed();
  bool is_wanted() const;

  store::Ledger& ledger_;
  Durability durability_;
  int output_fd_;
  std::function<void(const Error&)> on_failure_;
  std::function<void()> on_done_;
  bool broken_ = false;
  std::optional<store::SyncJob> job_;
  Result<void> result_;  // of the job
  net::Background background_;
  net::Timer timer_;
};

}  // namespace gigafetch::coordinator
