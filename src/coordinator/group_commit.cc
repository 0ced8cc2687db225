#include "coordinator/group_commit.h"

#include <utility>

namespace gigafetch::coordinator {
namespace {

constexpr Millis kPeriod{250};

}  // namespace

GroupCommit::GroupCommit(net::Loop& loop, store::Ledger& ledger, Durability durability,
                         int output_fd, std::function<void(const Error&)> on_failure)
    : ledger_(ledger),
      durability_(durability),
      output_fd_(output_fd),
      on_failure_(std::move(on_failure)),
      background_(loop),
      timer_(loop, [this] { commit(); }) {}

Result<void> GroupCommit::start() {
  timer_.start(kPeriod, kPeriod);
  return background_.prepare();
}

void GroupCommit::finish(std::function<void()> on_done) {
  timer_.stop();
  on_done_ = std::move(on_done);
  commit();
}

// Also a job that need not survive a power loss is synced before its ledger is written anew: the
// new one must not be worth less than the old one.
bool GroupCommit::is_wanted() const {
  if (durability_ == Durability::process) return ledger_.wants_checkpoint();
  return ledger_.has_unsynced() || ledger_.wants_checkpoint();
}

void GroupCommit::commit() {
  if (busy() || broken_) return;
  if (!is_wanted()) {
    if (on_done_) std::exchange(on_done_, nullptr)();
    return;
  }
  Result<store::SyncJob> job = ledger_.begin_sync(output_fd_);
  if (!job) {
    broken_ = true;
    return on_failure_(job.failure());
  }
  job_ = std::move(job).value();
  background_.run([this] { result_ = job_->run(); }, [this] { on_committed(); });
}

void GroupCommit::on_committed() {
  if (result_) result_ = ledger_.finish_sync(*job_);
  if (result_) {
    // What the end of this one has left to be made durable (the record that says so) is next.
    if (on_done_) commit();
    return;
  }
  broken_ = true;
  Error why = result_.failure();
  Result<void> taken_back = ledger_.take_back_unsynced();
  why.text += taken_back ? "; what was written since the last good sync is fetched again by the "
                           "next run of the same command, once the device is mended"
                         : "; the ledger cannot be corrected either (" + taken_back.failure().text +
                               "): mend the device, then begin anew with --restart";
  on_failure_(why);
}

}  // namespace gigafetch::coordinator
