#include "supervisor/limits.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "base/temp_folder.h"

using namespace gigafetch;
using namespace gigafetch::supervisor;

TEST_CASE("connections leave room for a worker's other descriptors") {
  CHECK(connections_within(20'000, 64) == 64);
  CHECK(connections_within(1024, 64) == 64);
  CHECK(connections_within(1024, 65'536) < 1024 - 256);
  CHECK(connections_within(1024, 65'536) > 512);
  CHECK(connections_within(UINT64_MAX, 65'536) == 65'536);
  CHECK(connections_within(10'000, 0) == 0);
}

TEST_CASE("with too few descriptors there are fewer connections, down to none") {
  uint32_t last = 0;
  for (uint64_t limit = 0; limit < 1000; ++limit) {
    const uint32_t connections = connections_within(limit, 64);
    CHECK(connections >= last);
    CHECK(connections <= last + 1);
    CHECK(connections <= 64);
    last = connections;
  }
  CHECK(last == 64);
  CHECK(connections_within(0, 64) == 0);
  CHECK(connections_within(256, 64) == 0);
}

TEST_CASE("the limit on descriptors is raised as far as it goes") {
  CHECK(in_child([] {
          rlimit limit{};
          ::getrlimit(RLIMIT_NOFILE, &limit);
          limit.rlim_cur = 100;
          limit.rlim_max = std::min<rlim_t>(limit.rlim_max, 500);
          if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
          if (raise_descriptor_limit() != limit.rlim_max) return 2;
          rlimit after{};
          ::getrlimit(RLIMIT_NOFILE, &after);
          return after.rlim_cur == limit.rlim_max ? 0 : 3;
        }) == 0);
}

TEST_CASE("the allowed processors are those of the kernel, ascending") {
  const std::vector<int> cpus = allowed_cpus();
  cpu_set_t set;
  CPU_ZERO(&set);
  REQUIRE(::sched_getaffinity(0, sizeof set, &set) == 0);
  CHECK(cpus.size() == static_cast<size_t>(CPU_COUNT(&set)));
  CHECK(std::is_sorted(cpus.begin(), cpus.end()));
  for (const int cpu : cpus)
    CHECK(CPU_ISSET(cpu, &set));
}

TEST_CASE("a pinned process runs on its processor alone, and its parent is left as it was") {
  const std::vector<int> before = allowed_cpus();
  for (const int cpu : before) {
    CHECK(in_child([cpu] {
            if (!pin_to_cpu(cpu)) return 1;
            if (allowed_cpus() != std::vector<int>{cpu}) return 2;
            return ::sched_getcpu() == cpu ? 0 : 3;
          }) == 0);
  }
  CHECK(allowed_cpus() == before);
}

TEST_CASE("a processor that does not exist is refused with its number") {
  for (const int cpu : {8191, 8192, 1'000'000, -1}) {
    CAPTURE(cpu);
    const Result<void> refused = pin_to_cpu(cpu);
    REQUIRE_FALSE(refused);
    CHECK(refused.failure().text.find(std::to_string(cpu)) != std::string::npos);
  }
  CHECK_FALSE(allowed_cpus().empty());
}
