#include "cli/packed_sums.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <numeric>

#include "cli/children.h"

namespace gigafetch::cli {
namespace {

constexpr size_t kMaxDamages = 8;  // that one process tells; the rest are as many more

// One reader's.
struct Slot {
  store::ShardSums sums;
  std::atomic<uint64_t> names;
  uint64_t damaged;
  std::array<SharedText, kMaxDamages> damages;
  size_t lost_in;  // the first shard of which nobody knows what it has lost, from 1; 0: none
  SharedText lost;
  SharedError failure;

  void note(std::string_view damage) {
    if (damaged < kMaxDamages) damages[damaged].set(damage);
    ++damaged;
  }
  void note_lost(size_t shard, std::string_view damage) {
    if (lost_in != 0 && lost_in <= shard + 1) return;
    lost_in = shard + 1;
    lost.set(damage);
  }
};

// All readers'.
struct Common {
  std::atomic<size_t> next_shard;
  std::array<uint64_t, store::NameSums::kRanges> names;
};

struct Reading {
  int output_fd;
  const std::vector<store::CountedShard>& shards;
  std::vector<size_t> order;  // in which they are read
  store::Layout layout;
  store::MemberTableBuilder* table;
};

Result<void> read_shards(const Reading& reading, Common& common, Slot& slot) {
  store::NameSums names;
  for (size_t next; (next = common.next_shard.fetch_add(1)) < reading.order.size();) {
    const size_t at = reading.order[next];
    const uint64_t before = slot.names.load();
    store::SumHooks hooks;
    hooks.on_read = [&](const store::ShardSums& sums) {
      slot.names.store(before + sums.names.count);
    };
    hooks.on_damage = [&](const Error& why, bool covered) {
      slot.note(why.text);
      if (!covered) slot.note_lost(at, why.text);
    };
    if (reading.table != nullptr) {
      hooks.on_name = [&](const store::ShardMember& member, const store::Hash128& name) {
        return reading.table->add(name, {static_cast<uint32_t>(at), member.place});
      };
    }
    Result<store::ShardSums> sums =
        store::sum_shard(reading.output_fd, reading.shards[at], reading.layout, names, hooks);
    if (!sums) return std::move(sums).failure();
    slot.sums.add(*sums);
    hooks.on_read(*sums);
  }
  names.settle();
  for (size_t i = 0; i < common.names.size(); ++i)
    std::atomic_ref(common.names[i]).fetch_add(names.sums()[i], std::memory_order_relaxed);
  return reading.table != nullptr ? reading.table->flush() : Result<void>();
}

// In a process of its own: takes shards until none is left. When it fails, others need not go on.
int run_reader(const Reading& reading, Common& common, Slot& slot) {
  const Result<void> read = read_shards(reading, common, slot);
  if (!read) slot.failure.set(read.failure());
  return read ? 0 : 1;
}

void tell(const Slot& slot, std::vector<std::string>& damages) {
  for (size_t i = 0; i < std::min<uint64_t>(slot.damaged, kMaxDamages); ++i)
    damages.emplace_back(slot.damages[i].view());
  if (slot.damaged > kMaxDamages) {
    damages.push_back(fmt::format("and {} more", slot.damaged - kMaxDamages));
  }
}

}  // namespace

Result<PackedSums> sum_shards(int output_fd, const std::vector<store::CountedShard>& shards,
                              store::Layout layout, uint32_t processes,
                              store::MemberTableBuilder* table, supervisor::Observer& observer) {
  const TimePoint start = monotonic_now();
  Reading reading{output_fd, shards, std::vector<size_t>(shards.size()), layout, table};
  std::iota(reading.order.begin(), reading.order.end(), size_t{0});
  // The large ones first, so that no process is left with one at the end.
  std::sort(reading.order.begin(), reading.order.end(),
            [&](size_t a, size_t b) { return shards[a].end > shards[b].end; });
  Result<Shared<Common>> common = Shared<Common>::make();
  if (!common) return std::move(common).failure();
  std::vector<Shared<Slot>> slots;
  std::vector<Child> readers;
  for (size_t i = 0; i < std::min<size_t>(processes, shards.size()); ++i) {
    Result<Shared<Slot>> slot = Shared<Slot>::make();
    if (!slot) return std::move(slot).failure();
    slots.push_back(std::move(*slot));
    readers.push_back(
        {"gigafetch:read", [&, i] { return run_reader(reading, **common, *slots[i]); }});
  }
  const auto show = [&] {
    Figures figures;
    for (const Shared<Slot>& slot : slots)
      figures.listed = figures.fetched = figures.stored += slot->names.load();
    observer.on_figures(figures, seconds_between(start, monotonic_now()));
  };
  PackedSums all;
  Result<void> run = run_children(readers, show, all.accounts);
  for (const Shared<Slot>& slot : slots)
    if (std::optional<Error> failure = slot->failure.get()) return *std::move(failure);
  if (!run) return std::move(run).failure();
  size_t lost_in = 0;
  for (const Shared<Slot>& slot : slots) {
    all.sums.add(slot->sums);
    tell(*slot, all.damages);
    if (slot->lost_in == 0 || (lost_in != 0 && lost_in < slot->lost_in)) continue;
    lost_in = slot->lost_in;
    all.lost = std::string(slot->lost.view());
  }
  all.names = store::NameSums((*common)->names);
  all.seconds = seconds_between(start, monotonic_now());
  return all;
}

}  // namespace gigafetch::cli
