#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <vector>

#include "base/escape.h"
#include "cli/commands.h"
#include "cli/summary.h"
#include "net/http_server.h"
#include "origin/origin.h"
#include "supervisor/child.h"

namespace gigafetch::cli {
namespace {

struct ListenAddress {
  std::string host;  // a literal without brackets
  uint16_t port = 0;
};

Result<ListenAddress> parse_listen(const std::string& text) {
  const size_t colon = text.rfind(':');
  ListenAddress address;
  if (colon != text.npos) {
    const char* digits = text.data() + colon + 1;
    const char* end = text.data() + text.size();
    const auto [parsed, status] = std::from_chars(digits, end, address.port);
    address.host = text.substr(0, colon);
    if (address.host.starts_with('[') && address.host.ends_with(']')) {
      address.host = address.host.substr(1, address.host.size() - 2);
    }
    if (status == std::errc() && parsed == end && digits != end) return address;
  }
  return error(ErrorCode::usage, "--listen takes ADDRESS:PORT (127.0.0.1:8080, [::1]:0), not '{}'",
               printable(text));
}

origin::Settings settings_of(const OriginServiceOptions& options) {
  origin::Settings settings;
  settings.files = options.files;
  settings.size = options.size;
  settings.page_size = options.page_size;
  settings.seed = options.seed;
  settings.lag = Millis(static_cast<int64_t>(std::ceil(options.lag)));
  settings.faults = {options.error_rate, options.throttle_rate,
                     options.reset_rate, options.truncate_rate,
                     options.stall_rate, options.close_rate,
                     options.busy_rate,  options.max_rate / options.workers,
                     options.retry_after};
  settings.counting = options.count;
  return settings;
}

// One process a socket. They live as long as this one does: a signal that ends it ends them through
// their death signal.
Result<void> serve_with_children(const origin::Settings& settings, std::vector<UniqueFd> sockets) {
  sigset_t child_died;
  ::sigemptyset(&child_died);
  ::sigaddset(&child_died, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child_died, nullptr);
  for (uint32_t i = 0; i < sockets.size(); ++i) {
    Result<pid_t> child = supervisor::fork_child("gigafetch:orig", [&] {
      UniqueFd own = std::move(sockets[i]);
      sockets.clear();
      const Result<void> served = origin::serve(settings, std::move(own), i);
      if (!served) print_error(served.failure().text);
      return 1;
    });
    if (!child) return std::move(child).failure();
  }
  sockets.clear();
  int signal = 0;
  ::sigwait(&child_died, &signal);
  return error(ErrorCode::io, "a process of the origin died");
}

Result<void> serve(const OriginServiceOptions& options) {
  if (options.count && options.workers > 1) {
    return error(ErrorCode::usage, "--count takes --workers 1: processes count for themselves");
  }
  Result<ListenAddress> address = parse_listen(options.listen);
  if (!address) return std::move(address).failure();
  // The kernel deals connections out over the sockets of one port.
  std::vector<UniqueFd> sockets;
  for (uint32_t i = 0; i < options.workers; ++i) {
    Result<UniqueFd> listening = net::listen_tcp(address->host, address->port);
    if (!listening) return std::move(listening).failure();
    sockets.push_back(std::move(listening).value());
  }
  const bool ipv6 = address->host.find(':') != std::string::npos;
  Result<void> told = print_output(fmt::format("listening on http://{}{}{}:{}\n", ipv6 ? "[" : "",
                                               address->host, ipv6 ? "]" : "", address->port));
  if (!told) return told;
  if (sockets.size() == 1) return origin::serve(settings_of(options), std::move(sockets[0]), 0);
  return serve_with_children(settings_of(options), std::move(sockets));
}

}  // namespace

ExitStatus origin_command(const OriginServiceOptions& options) {
  init_log(LogLevel::warning, "origin");
  const Result<void> served = serve(options);
  return served ? ExitStatus::complete : finish(served.failure());
}

}  // namespace gigafetch::cli
