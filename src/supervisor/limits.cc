#include "supervisor/limits.h"

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

namespace gigafetch::supervisor {
namespace {

// A worker's other descriptors: cached directories (FileSink), and the loop's and the job's own.
constexpr uint64_t kOtherDescriptors = 256 + 64;
constexpr int kMaxCpus = 8192;

}  // namespace

uint64_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

uint32_t connections_within(uint64_t descriptor_limit, uint32_t wanted) {
  const uint64_t room =
      descriptor_limit > kOtherDescriptors ? descriptor_limit - kOtherDescriptors : 0;
  return static_cast<uint32_t>(std::min<uint64_t>(wanted, room));
}

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
  cpu_set_t* set = CPU_ALLOC(kMaxCpus);
  const size_t size = CPU_ALLOC_SIZE(kMaxCpus);
  if (set == nullptr) return {0};
  CPU_ZERO_S(size, set);
  if (::sched_getaffinity(0, size, set) == 0) {
    for (int cpu = 0; cpu < kMaxCpus; ++cpu) {
      if (CPU_ISSET_S(static_cast<size_t>(cpu), size, set)) cpus.push_back(cpu);
    }
  }
  CPU_FREE(set);
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

Result<void> pin_to_cpu(int cpu) {
  cpu_set_t* set = CPU_ALLOC(kMaxCpus);
  const size_t size = CPU_ALLOC_SIZE(kMaxCpus);
  if (set == nullptr) return errno_error(ENOMEM, "cannot pin to a processor");
  CPU_ZERO_S(size, set);
  CPU_SET_S(static_cast<size_t>(cpu), size, set);
  const int status = ::sched_setaffinity(0, size, set);
  CPU_FREE(set);
  if (status == 0) return {};
  return errno_error(errno, fmt::format("cannot pin to processor {}", cpu));
}

}  // namespace gigafetch::supervisor
