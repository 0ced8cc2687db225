// Service: the embedded origin's answers, with faults mixed in at given rates.
#pragma once

#include <cstdint>
#include <string>

#include "base/random.h"
#include "net/http_server.h"
#include "origin/catalogue.h"

namespace gigafetch::origin {

// Shares of the file requests (0 to 1) that meet each fault; drawn anew for every request.
struct Faults {
  double error = 0;     // 500
  double throttle = 0;  // 429 with Retry-After
  double reset = 0;     // a TCP reset instead of an answer
  double truncate = 0;  // the connection ends in the middle of the body
  double stall = 0;     // the answer stops in the middle of the body and the connection stays
  double close = 0;     // "Connection: close" behind the answer
};

// Serves the marker dialect: GET /list and GET /get/NAME.
class Service final : public net::HttpServer::Handler {
 public:
  Service(const Catalogue& catalogue, uint64_t page_size, const Faults& faults,
          uint64_t fault_seed);

  net::AfterReply on_request(const http::Request& request, std::string& out) override;

 private:
  net::AfterReply list(std::string_view query, std::string& out);
  net::AfterReply get(std::string_view name, std::string& out);

  const Catalogue& catalogue_;
  uint64_t page_size_;
  Faults faults_;
  bool faulty_;
  Random random_;
  std::string file_head_;     // of every file's answer
  std::string closing_head_;  // the same with "Connection: close"
  std::string page_;          // the body of the page under way
};

}  // namespace gigafetch::origin
