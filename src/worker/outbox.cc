#include "worker/outbox.h"

#include <algorithm>
#include <utility>

namespace gigafetch::worker {
namespace {

// So many batches may have told of a part and still hold names. More hold up new ones.
constexpr size_t kMaxStragglers = 64;
// So many may be answered and wait for proof, and hold so many bytes of names. More keep their
// credit.
constexpr size_t kMostUnproven = 256;
constexpr size_t kMostUnprovenBytes = 8 * 1024 * 1024;
// A further part is told when it has so many names, or that share of the batch.
constexpr uint32_t kMinPart = 16;
constexpr uint32_t kPartShare = 8;
// Where proofs to come have to look is fetched into the processor's cache so far ahead.
constexpr size_t kProofsAhead = 8;
// And twice the usual: then a commit that is not proven holds up others no longer.
constexpr Millis kHeldUpTooLong{3'000};

}  // namespace

Batch& Outbox::add(const wire::BatchView& view) {
  batches_.push_back(std::make_unique<Held>(view, sink_.gathers()));
  return batches_.back()->batch;
}

Outbox::Held& Outbox::held(const Batch& batch) {
  return **std::find_if(batches_.begin(), batches_.end(),
                        [&](const auto& each) { return &each->batch == &batch; });
}

Part* Outbox::on_answered(const Task& task, bool stored) {
  if (broken_) return nullptr;
  Batch& batch = *task.batch;
  Part* part = batch.set_answered(task.index, stored);
  if (batch.lot().streamed) {
    part = commit_streamed(batch, task.index);
    if (part == nullptr) return nullptr;
  }
  if (batch.open_count() == 0) {
    on_all_answered(held(batch));
  } else if (stored && sink_.wants_commit(batch.lot())) {
    commit(held(batch));
  }
  return part;
}

// The commit comes last, here and below: with it the batch may be told whole, and be gone.
void Outbox::on_all_answered(Held& held) {
  if (held.has_credit && awaiting_ < kMostUnproven && awaiting_bytes_ < kMostUnprovenBytes) {
    held.has_credit = false;
    tell(held);
  }
  count_waiting(held, !held.has_credit);
  commit(held);
}

void Outbox::on_stored(std::span<const FileRun> files) {
  if (broken_) return;
  if (!sink_.gathers()) {
    for (const FileRun& each : files) {
      each.batch->prove(each);
      if (each.batch->all_settled()) report(*each.batch);
    }
    return;
  }
  size_t ahead = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    for (; ahead < std::min(i + kProofsAhead, files.size()); ++ahead) {
      __builtin_prefetch(files[ahead].part, 1);
      __builtin_prefetch(&files[ahead].part->sum.content, 1);
    }
    const store::Receipt proven = files[i].batch->prove(files[i]);
    if (proven != 0) sink_.prove(proven);
  }
  tell_tellable();
}

void Outbox::on_failed(const Task& task, FileFailure failure) {
  if (broken_) return;
  Batch& batch = *task.batch;
  const bool was_open = batch.open_count() > 0;
  batch.settle_failed(task.index, std::move(failure));
  if (batch.all_settled()) return report(batch);
  if (was_open && batch.open_count() == 0) on_all_answered(held(batch));
}

void Outbox::on_released(const Task& task) {
  if (broken_) return;
  Batch& batch = *task.batch;
  batch.release(task.index);
  if (batch.all_settled()) return report(batch);
  Held& still = held(batch);
  still.has_credit = false;
  count_waiting(still, batch.open_count() == 0);
  tell(still);
  commit(still);
}

void Outbox::on_taken_back(std::span<const Answer> answers) {
  if (broken_) return;
  std::vector<store::TakenBack> files;
  std::vector<store::Receipt> undone;
  for (const Answer& answer : answers) {
    if (!sink_.gathers() || !answer.has_file()) continue;
    Batch& batch = *answer.task.batch;
    const store::Receipt receipt = Batch::receipt_of(answer.part);
    files.push_back({&batch.lot(), receipt, answer.task.name()});
    if (receipt != 0) undone.push_back(receipt);
  }
  const store::StoreStatus status = sink_.take_back(files);
  if (!status.ok()) return end_broken(status.text());
  std::sort(undone.begin(), undone.end());
  undone.erase(std::unique(undone.begin(), undone.end()), undone.end());
  for (const store::Receipt receipt : undone)
    commits_.extract(receipt).mapped()->batch.reopen(receipt);
  for (const Answer& answer : answers) {
    answer.task.batch->take_back(answer.task.index, answer.part);
    count_waiting(held(*answer.task.batch), false);
  }
  tell_tellable();  // those behind the undone ones
}

void Outbox::tell_parts(bool draining, Millis patience) {
  sink_.step_aside(static_cast<uint32_t>((kHeldUpTooLong + 2 * patience) / kLookPeriod));
  auto stragglers = static_cast<size_t>(std::count_if(
      batches_.begin(), batches_.end(), [&](const auto& each) { return is_straggler(*each); }));
  // In a copy, for a batch may be told of whole.
  std::vector<Held*> all;
  for (const auto& each : batches_)
    all.push_back(each.get());
  for (Held* each : all) {
    if (broken_) return;
    if (std::none_of(batches_.begin(), batches_.end(),
                     [&](const auto& still) { return still.get() == each; })) {
      continue;
    }
    Batch& batch = each->batch;
    const bool aged = std::exchange(each->begun_before, batch.all_begun());
    if (!aged && !draining) continue;
    if (batch.open_count() == 0 && each->has_credit) {
      on_all_answered(*each);
      continue;
    }
    const uint32_t fresh = batch.untold_count() + (sink_.gathers() ? batch.gathered() : 0);
    const bool first = each->has_credit;
    if (fresh + batch.waiting_count() == 0 && !(first && each->told)) continue;
    if (first && !draining && stragglers >= kMaxStragglers) continue;
    const bool enough = fresh >= std::max(kMinPart, batch.count() / kPartShare);
    if (!first && !enough && !draining) continue;
    if (first) ++stragglers;
    each->has_credit = false;
    if (first || batch.untold_count() > 0) tell(*each);
    commit(*each);
  }
}

void Outbox::commit(Held& held) {
  Batch& batch = held.batch;
  if (broken_ || !sink_.gathers() || batch.gathered() == 0) return;
  store::Receipt receipt = 0;
  const store::StoreStatus status = sink_.commit(batch.lot(), receipt);
  if (!status.ok()) return end_broken(status.text());
  batch.on_committed(receipt);
  commits_[receipt] = &held;
  if (!batch.is_proven(receipt)) return;
  sink_.prove(receipt);
  tell_tellable();
}

// A file too large to be gathered.
Part* Outbox::commit_streamed(Batch& batch, uint32_t index) {
  store::Receipt receipt = 0;
  const store::StoreStatus status = sink_.commit_streamed(batch.lot(), receipt);
  if (!status.ok()) {
    end_broken(status.text());
    return nullptr;
  }
  commits_[receipt] = &held(batch);
  return batch.on_streamed(index, receipt);
}

// One outcome reports all commits of a batch that are adjacent in a shard. Where another batch's
// commit lies between them it must go out in its turn: if this process died before, the shard would
// keep bytes that no outcome accounts for.
void Outbox::tell_tellable() {
  store::Tellable tellable;
  store::StoreStatus status;
  Held* settled = nullptr;
  while (!broken_ && sink_.take_tellable(tellable, status)) {
    if (!status.ok()) return end_broken(status.text());
    Held* const its = commits_.extract(tellable.receipt).mapped();
    if (settled != nullptr && settled != its) tell(*settled);
    settled = its;
    its->batch.settle_part(tellable.receipt, tellable.end);
  }
  if (settled != nullptr && !broken_) tell(*settled);
}

// Sends what is settled of the batch; with the last of it, the batch goes.
void Outbox::tell(Held& held) {
  wire::Outcome outcome = held.batch.take_outcome();
  outcome.keeps_credit = held.has_credit && !outcome.last;
  held.told = true;
  const bool last = outcome.last;
  client_.send_outcome(std::move(outcome));
  if (last) erase(held);
}

void Outbox::count_waiting(Held& held, bool waits) {
  if (std::exchange(held.awaits_proof, waits) == waits) return;
  awaiting_ = waits ? awaiting_ + 1 : awaiting_ - 1;
  const size_t bytes = held.batch.name_bytes();
  awaiting_bytes_ = waits ? awaiting_bytes_ + bytes : awaiting_bytes_ - bytes;
}

void Outbox::erase(Held& held) {
  count_waiting(held, false);
  std::erase_if(batches_, [&](const auto& each) { return each.get() == &held; });
}

void Outbox::report(Batch& batch) {
  if (broken_) return;
  Held& its = held(batch);
  client_.send_outcome(batch.take_last_outcome());
  std::erase_if(commits_, [&](const auto& commit) { return commit.second == &its; });
  erase(its);
}

void Outbox::report_all() {
  std::vector<Batch*> all;
  for (const auto& each : batches_)
    all.push_back(&each->batch);
  for (Batch* batch : all) {
    const auto found = std::find_if(batches_.begin(), batches_.end(),
                                    [&](const auto& each) { return &each->batch == batch; });
    if (found != batches_.end()) commit(**found);
  }
  while (!broken_ && !batches_.empty())
    report(batches_.back()->batch);
}

void Outbox::end_broken(std::string_view text) {
  if (std::exchange(broken_, true)) return;
  // As far as it can be committed, what is proven counts.
  for (const auto& each : batches_) {
    Batch& batch = each->batch;
    if (!sink_.gathers() || batch.gathered() == 0 || !batch.gathered_is_proven()) continue;
    store::Receipt receipt = 0;
    if (!sink_.commit(batch.lot(), receipt).ok() || receipt == 0) continue;
    batch.on_committed(receipt);
    commits_[receipt] = each.get();
    sink_.prove(receipt);
  }
  store::Tellable tellable;
  store::StoreStatus status;
  while (sink_.take_tellable(tellable, status)) {
    if (!status.ok()) break;
    const auto found = commits_.find(tellable.receipt);
    if (found != commits_.end()) found->second->batch.settle_part(tellable.receipt, tellable.end);
  }
  for (const auto& each : batches_)
    client_.send_outcome(each->batch.take_last_outcome());
  client_.on_broken(text);
}

}  // namespace gigafetch::worker
