// The command line, as given: one struct a command. Names, defaults and exit statuses are a
// contract with scripts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"

namespace gigafetch::cli {

enum class ProgressMode : uint8_t { automatic, plain, json, none };

// Options of every command that talks to an origin.
struct OriginOptions {
  std::string url;
  std::string api = "marker";
  std::vector<std::string> headers;
  std::string bearer_file;
  uint32_t retries = 5;
  double connect_timeout = 10;                 // seconds
  double stall_timeout = 30;                   // seconds
  double list_timeout = 120;                   // seconds
  uint64_t max_page_size = uint64_t{1} << 30;  // bytes
};

// Options of the commands that use workers.
struct WorkerOptions {
  uint32_t workers = 0;  // 0: one per allowed processor
  uint32_t connections = 64;
  uint32_t pipeline = 1;
  bool pipeline_auto = false;
  uint32_t batch = 1000;
  double rate = 0;
  bool allow_unframed = false;
};

struct FilterOptions {
  std::vector<std::string> include;
  std::vector<std::string> exclude;
  std::optional<uint64_t> limit;
};

struct ReportOptions {
  ProgressMode progress = ProgressMode::automatic;
  bool json = false;
  LogLevel log_level = LogLevel::warning;
};

struct FetchOptions {
  OriginOptions origin;
  WorkerOptions worker;
  FilterOptions filter;
  ReportOptions report;
  std::string out;
  std::string sink = "files";
  std::optional<uint64_t> shard_size;  // bytes; 1 GiB
  int zstd = 0;                        // 0: not compressed
  std::string layout = "tree";
  std::string state;  // empty: OUT/.gigafetch
  std::string durability = "batch";
  std::optional<uint64_t> max_file_size;
  std::optional<uint64_t> min_free;  // bytes; 64 MiB
  std::string content_encoding = "refuse";
  bool restart = false;
  bool repair = false;
  bool retry_failed = false;
  bool force = false;
};

struct ListOptions {
  OriginOptions origin;
  FilterOptions filter;
  ReportOptions report;
};

struct VerifyOptions {
  OriginOptions origin;
  WorkerOptions worker;
  ReportOptions report;
  std::string out;
  std::string state;
  bool content = false;
};

struct CatOptions {
  std::string out;
  std::string name;
  std::string state;
};

struct OriginServiceOptions {
  std::string listen = "127.0.0.1:8080";
  uint64_t files = 1'000'000;
  uint64_t size = 100;
  uint64_t page_size = 10'000;
  double lag = 0;  // milliseconds
  uint64_t seed = 1;
  uint32_t workers = 1;
  double error_rate = 0;
  double throttle_rate = 0;
  double reset_rate = 0;
  double truncate_rate = 0;
  double stall_rate = 0;
  double close_rate = 0;
  double busy_rate = 0;
  double max_rate = 0;                  // 0: no limit
  std::optional<uint32_t> retry_after;  // seconds
  bool count = false;
};

struct DemoOptions {
  uint64_t files = 1'000'000;
  uint64_t size = 100;
  uint32_t workers = 0;
  uint32_t pipeline = 16;
  std::string sink = "tar";
  std::string out;  // empty: a temporary folder, removed at the end
};

}  // namespace gigafetch::cli
