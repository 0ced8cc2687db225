#include "origin/origin.h"

#include "net/loop.h"

namespace gigafetch::origin {

Result<void> serve(const Settings& settings, UniqueFd listening_fd, uint32_t instance) {
  const Catalogue catalogue(settings.files, settings.size, settings.seed);
  net::Loop loop;
  Service service(catalogue, settings.page_size, settings.faults,
                  mix64(settings.seed + kGoldenGamma * (instance + 1)), settings.counting,
                  [&loop] { return loop.now(); });
  net::HttpServer server(loop, service, settings.lag);
  if (Result<void> listening = server.serve(std::move(listening_fd)); !listening) return listening;
  loop.run();
  return {};
}

}  // namespace gigafetch::origin
