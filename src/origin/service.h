// Service: the embedded origin's answers, with faults mixed in at given rates. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/random.h"
#include "base/rate_limit.h"
#include "net/http_server.h"
#include "origin/catalogue.h"
#include "origin/request_counts.h"

namespace gigafetch::origin {

struct Faults {
  // Shares of the file requests (0 to 1) that meet each fault; drawn anew for every request.
  double error = 0;     // 500
  double throttle = 0;  // 429
  double reset = 0;     // a TCP reset instead of an answer
  double truncate = 0;  // the connection ends in the middle of the body
  double stall = 0;     // the answer stops in the middle of the body and the connection stays
  double close = 0;     // "Connection: close" behind the answer
  double busy = 0;      // 503

  // File requests a second that are answered, 429 beyond them; 0: all. They may come in bursts of a
  // twentieth of a second's worth, or one.
  double max_rate = 0;
  // The seconds in the Retry-After of every 429 and 503. Not given: 1 for `throttle`, and no such
  // field for the others.
  std::optional<uint32_t> retry_after = std::nullopt;
};

// Serves the marker dialect: GET /list and GET /get/NAME. When it counts, also GET /count: as JSON,
// "requests" for existing files, "names" among them, the "most" for one of them (255 at most), and
// those "answered" with the whole file.
class Service final : public net::HttpServer::Handler {
 public:
  using Clock = std::function<TimePoint()>;

  Service(const Catalogue& catalogue, uint64_t page_size, const Faults& faults, uint64_t fault_seed,
          bool counting = false, Clock clock = monotonic_now);

  net::AfterReply on_request(const http::Request& request, std::string& out) override;

 private:
  net::AfterReply list(std::string_view query, std::string& out);
  net::AfterReply get(std::string_view name, std::string& out);
  net::AfterReply get_faultily(std::string_view name, std::string& out);
  net::AfterReply reply_file(std::string_view name, std::string& out, bool close);
  net::AfterReply reply_counts(std::string& out) const;

  const Catalogue& catalogue_;
  uint64_t page_size_;
  Faults faults_;
  bool faulty_;
  Random random_;
  Clock clock_;
  RateLimit rate_limit_;
  std::optional<RequestCounts> counts_;
  std::string throttled_field_;  // Retry-After, or nothing
  std::string refused_field_;    // the same for refusals that are not at random
  std::string file_head_;        // of every file's answer
  std::string closing_head_;     // the same with "Connection: close"
  std::string page_;             // the body of the page under way
};

}  // namespace gigafetch::origin
