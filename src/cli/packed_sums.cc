#include "cli/packed_sums.h"

#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>

namespace gigafetch::cli {
namespace {

constexpr int kWatchPeriodMs = 100;
constexpr size_t kMaxText = 500;
constexpr size_t kMaxDamages = 8;  // that one process tells; the rest are as many more

// One reader's, in memory that it shares with the process that forked it.
struct Slot {
  store::ShardSums sums;
  std::atomic<uint64_t> names;
  uint64_t damaged;
  char damages[kMaxDamages][kMaxText];
};
struct Shared {
  std::atomic<size_t> next_shard;
};

struct Unmap {
  size_t bytes = 0;
  void operator()(char* at) const { ::munmap(at, bytes); }
};
using SharedMemory = std::unique_ptr<char, Unmap>;

SharedMemory share(size_t bytes) {
  void* const at =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return SharedMemory(at == MAP_FAILED ? nullptr : static_cast<char*>(at), Unmap{bytes});
}

void note(Slot& slot, const std::string& damage) {
  if (slot.damaged < kMaxDamages) {
    const size_t length = std::min(damage.size(), kMaxText - 1);
    std::memcpy(slot.damages[slot.damaged], damage.data(), length);
  }
  ++slot.damaged;
}

// In a process of its own: takes shards until none is left.
int read_shards(int output_fd, const std::vector<store::CountedShard>& shards, store::Layout layout,
                Shared& shared, Slot& slot) {
  for (;;) {
    const size_t at = shared.next_shard.fetch_add(1);
    if (at >= shards.size()) return 0;
    const uint64_t before = slot.names.load();
    const auto count = [&](const store::ShardSums& sums) {
      slot.names.store(before + sums.names.count);
    };
    Result<store::ShardSums> sums = store::sum_shard(output_fd, shards[at], layout, count);
    if (sums) {
      slot.sums.add(*sums);
      count(*sums);
    } else {
      note(slot, sums.failure().text);
    }
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
  const size_t readers = std::min<size_t>(processes, shards.size());
  const SharedMemory memory = share(sizeof(Shared) + (readers + 1) * sizeof(Slot));
  if (memory == nullptr) return errno_error(errno, "cannot share memory");
  Shared& shared = *new (memory.get()) Shared();
  Slot* const slots = reinterpret_cast<Slot*>(memory.get() + sizeof(Slot));
  PackedSums all;
  std::vector<pid_t> pids;
  Result<void> forked;
  for (size_t i = 0; i < readers && forked; ++i) {
    Slot& slot = *new (&slots[i]) Slot();
    Result<pid_t> pid = supervisor::fork_child(
        "gigafetch:read", [&] { return read_shards(output_fd, shards, layout, shared, slot); });
    if (pid) pids.push_back(*pid);
    if (!pid) forked = std::move(pid).failure();
  }
  while (!pids.empty() && forked) {
    ::poll(nullptr, 0, kWatchPeriodMs);
    Figures figures;
    for (size_t i = 0; i < readers; ++i)
      figures.listed = figures.fetched = figures.stored += slots[i].names.load();
    observer.on_figures(figures, seconds_between(start, monotonic_now()));
    std::erase_if(pids, [&](pid_t pid) {
      supervisor::Death death;
      if (!supervisor::reap_child(pid, death, all.accounts)) return false;
      if (death.wait_status != 0) {
        forked = error(ErrorCode::io, "a process that read shards died: {}", death.text());
      }
      return true;
    });
  }
  supervisor::kill_and_reap(pids, Millis(2000), all.accounts);
  if (!forked) return std::move(forked).failure();
  for (size_t i = 0; i < readers; ++i) {
    const Slot& slot = slots[i];
    all.sums.add(slot.sums);
    for (size_t j = 0; j < std::min<uint64_t>(slot.damaged, kMaxDamages); ++j)
      all.damages.emplace_back(slot.damages[j]);
    if (slot.damaged > kMaxDamages) {
      all.damages.push_back(fmt::format("and {} more", slot.damaged - kMaxDamages));
    }
  }
  all.seconds = seconds_between(start, monotonic_now());
  return all;
}

}  // namespace gigafetch::cli
