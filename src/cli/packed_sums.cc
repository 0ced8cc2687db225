#include "cli/packed_sums.h"

#include <algorithm>
#include <array>
#include <atomic>

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

  void note(std::string_view damage) {
    if (damaged < kMaxDamages) damages[damaged].set(damage);
    ++damaged;
  }
};

// All readers'.
struct Common {
  std::atomic<size_t> next_shard;
  std::array<uint64_t, store::NameSums::kRanges> names;
};

// In a process of its own: takes shards until none is left.
int read_shards(int output_fd, const std::vector<store::CountedShard>& shards, store::Layout layout,
                Common& common, Slot& slot) {
  store::NameSums names;
  for (size_t at; (at = common.next_shard.fetch_add(1)) < shards.size();) {
    const uint64_t before = slot.names.load();
    const auto count = [&](const store::ShardSums& sums) {
      slot.names.store(before + sums.names.count);
    };
    const store::ShardSums sums =
        store::sum_shard(output_fd, shards[at], layout, names, count,
                         [&](const Error& damage) { slot.note(damage.text); });
    slot.sums.add(sums);
    count(sums);
  }
  names.settle();
  for (size_t i = 0; i < common.names.size(); ++i)
    std::atomic_ref(common.names[i]).fetch_add(names.sums()[i], std::memory_order_relaxed);
  return 0;
}

void tell(const Slot& slot, std::vector<std::string>& damages) {
  for (size_t i = 0; i < std::min<uint64_t>(slot.damaged, kMaxDamages); ++i)
    damages.emplace_back(slot.damages[i].view());
  if (slot.damaged > kMaxDamages) {
    damages.push_back(fmt::format("and {} more", slot.damaged - kMaxDamages));
  }
}

}  // namespace

Result<PackedSums> sum_shards(int output_fd, std::vector<store::CountedShard> shards,
                              store::Layout layout, uint32_t processes,
                              supervisor::Observer& observer) {
  const TimePoint start = monotonic_now();
  // The large ones first, so that no process is left with one at the end.
  std::sort(shards.begin(), shards.end(),
            [](const auto& a, const auto& b) { return a.end > b.end; });
  Result<Shared<Common>> common = Shared<Common>::make();
  if (!common) return std::move(common).failure();
  std::vector<Shared<Slot>> slots;
  std::vector<Child> readers;
  for (size_t i = 0; i < std::min<size_t>(processes, shards.size()); ++i) {
    Result<Shared<Slot>> slot = Shared<Slot>::make();
    if (!slot) return std::move(slot).failure();
    slots.push_back(std::move(*slot));
    readers.push_back({"gigafetch:read", [&, i] {
                         return read_shards(output_fd, shards, layout, **common, *slots[i]);
                       }});
  }
  const auto show = [&] {
    Figures figures;
    for (const Shared<Slot>& slot : slots)
      figures.listed = figures.fetched = figures.stored += slot->names.load();
    observer.on_figures(figures, seconds_between(start, monotonic_now()));
  };
  PackedSums all;
  if (Result<void> read = run_children(readers, show, all.accounts); !read) {
    return std::move(read).failure();
  }
  for (const Shared<Slot>& slot : slots) {
    all.sums.add(slot->sums);
    tell(*slot, all.damages);
  }
  all.names = store::NameSums((*common)->names);
  all.seconds = seconds_between(start, monotonic_now());
  return all;
}

}  // namespace gigafetch::cli
