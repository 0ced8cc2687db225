#include "cli/job.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>

#include "base/escape.h"
#include "base/io.h"
#include "base/unique_fd.h"
#include "http/request_writer.h"
#include "store/layout.h"
#include "supervisor/limits.h"

namespace gigafetch::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTokenBytes = 16 * 1024;
// Of --rate, for pages: enough wherever a page has ten names or more.
constexpr double kListingShare = 0.1;

Millis milliseconds(double seconds) {
  return Millis(static_cast<int64_t>(seconds * 1000));
}

Result<std::string> read_token(const std::string& path) {
  const std::string shown = printable(path);
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno_error(errno, fmt::format("cannot open the bearer file '{}'", shown));
  struct stat file;
  if (::fstat(fd.get(), &file) == 0 && (file.st_mode & 0077) != 0) {
    log_warning("others can read the bearer file '{}'; make it private: chmod 600", shown);
  }
  Result<std::string> token =
      read_to_end(fd.get(), kMaxTokenBytes, fmt::format("the bearer file '{}'", shown));
  if (!token) return token;
  std::string& text = token.value();
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r'))
    text.pop_back();
  for (const char c : text) {
    // b64token and more: visible ASCII (RFC 6750 section 2.1 allows less)
    if (c <= 0x20 || c == 0x7F) {
      return error(ErrorCode::usage, "the bearer file '{}' must hold one line with the token alone",
                   shown);
    }
  }
  if (text.empty()) return error(ErrorCode::usage, "the bearer file '{}' is empty", shown);
  return token;
}

// The path without links, dots and a slash at its end; what does not exist yet stays as written.
std::optional<fs::path> place_of(const std::string& path) {
  std::error_code failed;
  fs::path place = fs::absolute(path, failed);
  if (!failed) place = fs::weakly_canonical(place, failed);
  if (failed) return std::nullopt;
  return place.has_filename() ? place : place.parent_path();
}

}  // namespace

Result<coordinator::ListingSettings> listing_settings(const OriginOptions& options) {
  coordinator::ListingSettings settings;
  Result<http::Url> url = http::parse_url(options.url);
  if (!url) return std::move(url).failure();
  settings.origin = std::move(url).value();
  settings.api = options.api;
  for (const std::string& text : options.headers) {
    Result<http::Header> header = http::parse_header_option(text);
    if (!header) return std::move(header).failure();
    settings.headers.push_back(std::move(header).value());
  }
  if (!options.bearer_file.empty()) {
    Result<std::string> token = read_token(options.bearer_file);
    if (!token) return std::move(token).failure();
    settings.headers.push_back({"Authorization", "Bearer " + token.value()});
  }
  settings.retries = options.retries;
  settings.connect_timeout = milliseconds(options.connect_timeout);
  settings.stall_timeout = milliseconds(options.stall_timeout);
  settings.list_timeout = milliseconds(options.list_timeout);
  settings.max_page_size = options.max_page_size;
  return settings;
}

coordinator::Filter filter_of(const FilterOptions& options) {
  return coordinator::Filter{options.include, options.exclude};
}

Result<supervisor::Job> make_job(const coordinator::ListingSettings& listing,
                                 const OriginOptions& origin, const WorkerOptions& worker,
                                 const ReportOptions& report) {
  supervisor::Job job;
  job.log_level = report.log_level;
  job.workers = worker.workers > 0 ? worker.workers
                                   : static_cast<uint32_t>(supervisor::allowed_cpus().size());
  job.coordinator.listing = listing;
  job.coordinator.workers = job.workers;
  job.coordinator.batch_names = worker.batch;

  worker::Settings& settings = job.worker;
  settings.origin = listing.origin;
  settings.api = listing.api;
  settings.headers = listing.headers;
  settings.pipeline = worker.pipeline;
  settings.body.allow_unframed = worker.allow_unframed;
  settings.pipeline_auto = worker.pipeline_auto;
  job.coordinator.pipeline = worker.pipeline_auto ? 0 : worker.pipeline;
  settings.retries = origin.retries;
  settings.connect_timeout = listing.connect_timeout;
  settings.stall_timeout = listing.stall_timeout;
  // The cap holds over all processes: pages and files have a share each.
  job.coordinator.rate = worker.rate * (1 - kListingShare);
  job.coordinator.listing.rate = worker.rate * kListingShare;

  const uint64_t descriptors = supervisor::raise_descriptor_limit();
  settings.connections = supervisor::connections_within(descriptors, worker.connections);
  if (settings.connections == 0) {
    return error(ErrorCode::no_resource,
                 "only {} open descriptors are allowed; raise the limit (ulimit -n 4096)",
                 descriptors);
  }
  if (settings.connections < worker.connections) {
    log_warning("only {} open descriptors are allowed: each worker uses {} connections, not {}",
                descriptors, settings.connections, worker.connections);
  }
  job.coordinator.max_in_flight = uint64_t{settings.connections} * settings.pipeline * job.workers;
  return job;
}

Result<std::string> state_path(const std::string& out, const std::string& given) {
  const std::string inside = (fs::path(out) / store::kStateFolderName).string();
  if (given.empty()) return inside;
  const std::optional<fs::path> folder = place_of(out), state = place_of(given);
  if (!folder || !state) {
    return error(ErrorCode::usage, "--state '{}' is not a usable path", printable(given));
  }
  const auto end =
      std::mismatch(folder->begin(), folder->end(), state->begin(), state->end()).first;
  if (end == folder->end() && *state != *folder / store::kStateFolderName) {
    return error(ErrorCode::usage,
                 "--state must not lie in the output folder, where names could reach it; leave it "
                 "out to use '{}', or choose a folder elsewhere",
                 printable(inside));
  }
  return given;
}

std::string recorded_output(const std::string& out, const std::string& state) {
  const std::optional<fs::path> folder = place_of(out), state_folder = place_of(state);
  if (!folder || state_folder == *folder / store::kStateFolderName) return {};
  return folder->string();
}

}  // namespace gigafetch::cli
