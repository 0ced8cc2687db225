#include "base/process_limit.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <fstream>
#include <optional>
#include <string>

#include "base/escape.h"

namespace gigafetch {
namespace {

struct Limit {
  uint64_t most = UINT64_MAX;
  std::string of;
};

// nullopt also for "max".
std::optional<uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  std::getline(file, text);
  uint64_t number = 0;
  const char* const end = text.data() + text.size();
  if (std::from_chars(text.data(), end, number).ptr != end || text.empty()) return std::nullopt;
  return number;
}

void take(Limit& limit, std::optional<uint64_t> most, const std::string& of) {
  if (most && *most < limit.most) limit = {*most, of};
}

// Of the control group and those that it lies in, as far as they can be seen from here.
void take_groups(Limit& limit, const std::string& mount, std::string group) {
  for (;;) {
    const std::string path = mount + group + "/pids.max";
    take(limit, number_in(path), printable(path));
    const size_t parent = group.rfind('/');
    if (group.empty() || parent == group.npos) return;
    group.resize(parent);
  }
}

Limit smallest_limit() {
  Limit limit;
  take(limit, number_in("/proc/sys/kernel/threads-max"), "kernel.threads-max");
  take(limit, number_in("/proc/sys/kernel/pid_max"), "kernel.pid_max");
  rlimit own{};
  if (::geteuid() != 0 && ::getrlimit(RLIMIT_NPROC, &own) == 0 && own.rlim_cur != RLIM_INFINITY) {
    take(limit, own.rlim_cur, "this user's, ulimit -u");
  }
  // "4:pids:/path", or "0::/path" where there is one hierarchy (cgroups(7)).
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) take_groups(limit, "/sys/fs/cgroup", group);
    if (controllers == "pids") take_groups(limit, "/sys/fs/cgroup/pids", group);
  }
  return limit;
}

}  // namespace

Error process_error(int error_number, std::string_view what) {
  Error failure = errno_error(error_number, what);
  if (error_number != EAGAIN) return failure;
  const Limit limit = smallest_limit();
  failure.text += fmt::format(
      "; the limit on processes and threads is {} ({}): raise it, or use fewer --workers",
      limit.most, limit.of);
  return failure;
}

}  // namespace gigafetch
