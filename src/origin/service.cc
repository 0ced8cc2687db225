#include "origin/service.h"

#include <charconv>
#include <iterator>

#include "base/percent.h"

namespace gigafetch::origin {
namespace {

using net::AfterReply;

// A marker is this letter and the index of the first file of its page.
constexpr char kMarkerPrefix = 'n';
constexpr std::string_view kMarkerParameter = "next-marker=";

AfterReply reply_status(std::string& out, int status, std::string_view reason,
                        std::string_view more_headers = "") {
  fmt::format_to(std::back_inserter(out), "HTTP/1.1 {} {}\r\nContent-Length: 0\r\n{}\r\n", status,
                 reason, more_headers);
  return AfterReply::keep;
}

AfterReply reply_json(std::string& out, std::string_view json) {
  fmt::format_to(std::back_inserter(out),
                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                 json.size());
  out += json;
  return AfterReply::keep;
}

bool parse_marker(std::string_view query, uint64_t& index) {
  if (!query.starts_with(kMarkerParameter)) return false;
  std::string marker;
  append_percent_decoded(marker, query.substr(kMarkerParameter.size()));
  if (marker.empty() || marker[0] != kMarkerPrefix) return false;
  const char* digits = marker.data() + 1;
  const char* end = marker.data() + marker.size();
  const auto [parsed, status] = std::from_chars(digits, end, index);
  return status == std::errc() && parsed == end;
}

// Bursts of a server that refuses what is over its rate.
constexpr double kBurstSeconds = 0.05;

std::string retry_after_field(std::optional<uint32_t> seconds) {
  return seconds ? fmt::format("Retry-After: {}\r\n", *seconds) : "";
}

}  // namespace

Service::Service(const Catalogue& catalogue, uint64_t page_size, const Faults& faults,
                 uint64_t fault_seed, bool counting, Clock clock)
    : catalogue_(catalogue),
      page_size_(page_size),
      faults_(faults),
      faulty_(faults.error + faults.throttle + faults.reset + faults.truncate + faults.stall +
                  faults.close + faults.busy + faults.max_rate >
              0),
      random_(fault_seed),
      clock_(std::move(clock)),
      rate_limit_(faults.max_rate, clock_(), kBurstSeconds),
      throttled_field_(retry_after_field(faults.retry_after.value_or(1))),
      refused_field_(retry_after_field(faults.retry_after)) {
  if (counting) counts_.emplace(catalogue.files());
  const std::string common = fmt::format(
      "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n",
      catalogue.size());
  file_head_ = common + "\r\n";
  closing_head_ = common + "Connection: close\r\n\r\n";
}

AfterReply Service::on_request(const http::Request& request, std::string& out) {
  if (!request.is_get) return reply_status(out, 405, "Method Not Allowed", "Allow: GET\r\n");
  constexpr std::string_view kGet = "/get/";
  constexpr std::string_view kList = "/list";
  if (request.target.starts_with(kGet)) return get(request.target.substr(kGet.size()), out);
  if (request.target == kList) return list("", out);
  if (request.target.starts_with("/list?"))
    return list(request.target.substr(kList.size() + 1), out);
  if (counts_ && request.target == "/count") return reply_counts(out);
  return reply_status(out, 404, "Not Found");
}

AfterReply Service::list(std::string_view query, std::string& out) {
  uint64_t index = 0;
  if (!query.empty() && (!parse_marker(query, index) || index >= catalogue_.files())) {
    return reply_status(out, 400, "Bad Request");
  }
  const uint64_t end = std::min(catalogue_.files(), index + page_size_);
  page_ = "{\"FileNames\":[";
  for (uint64_t i = index; i < end; ++i) {
    page_ += i == index ? "\"" : "\",\"";
    catalogue_.append_name(page_, i);
  }
  page_ += index < end ? "\"]" : "]";
  if (end < catalogue_.files()) {
    fmt::format_to(std::back_inserter(page_), ",\"NextMarker\":\"{}{}\"", kMarkerPrefix, end);
  }
  page_ += '}';
  return reply_json(out, page_);
}

AfterReply Service::get(std::string_view name, std::string& out) {
  const std::optional<uint64_t> index = catalogue_.index_of(name);
  if (!index) return reply_status(out, 404, "Not Found");
  if (counts_) counts_->on_request(*index);
  return faulty_ ? get_faultily(name, out) : reply_file(name, out, false);
}

AfterReply Service::get_faultily(std::string_view name, std::string& out) {
  if (faults_.max_rate > 0 && !rate_limit_.take(clock_())) {
    return reply_status(out, 429, "Too Many Requests", refused_field_);
  }
  if (random_.chance(faults_.busy)) {
    return reply_status(out, 503, "Service Unavailable", refused_field_);
  }
  if (random_.chance(faults_.error)) return reply_status(out, 500, "Internal Server Error");
  if (random_.chance(faults_.throttle)) {
    return reply_status(out, 429, "Too Many Requests", throttled_field_);
  }
  if (random_.chance(faults_.reset)) return AfterReply::reset;
  const bool truncate = random_.chance(faults_.truncate);
  const bool stall = !truncate && random_.chance(faults_.stall);
  const bool close = !truncate && random_.chance(faults_.close);
  if (!truncate && !stall) return reply_file(name, out, close);
  out += close ? closing_head_ : file_head_;
  catalogue_.append_body(out, name, catalogue_.size() / 2);
  return stall ? AfterReply::stall : AfterReply::close;
}

AfterReply Service::reply_file(std::string_view name, std::string& out, bool close) {
  out += close ? closing_head_ : file_head_;
  catalogue_.append_body(out, name, catalogue_.size());
  if (counts_) counts_->on_whole_answer();
  return close ? AfterReply::close : AfterReply::keep;
}

AfterReply Service::reply_counts(std::string& out) const {
  const std::string json =
      fmt::format(R"({{"requests":{},"names":{},"most":{},"answered":{}}})", counts_->requests(),
                  counts_->names(), counts_->most(), counts_->answered());
  return reply_json(out, json);
}

}  // namespace gigafetch::origin
