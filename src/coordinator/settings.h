// What the coordinator needs to know of its job: the one struct that crosses into its process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "http/request_writer.h"
#include "http/url.h"

namespace gigafetch::coordinator {

// Which names to fetch: shell patterns (fnmatch(3)); '*' matches '/' too.
struct Filter {
  std::vector<std::string> include;  // when not empty, one of them must match
  std::vector<std::string> exclude;  // none of them may match
};

// How to list.
struct ListingSettings {
  http::Url origin;
  std::string api;
  std::vector<http::Header> headers;
  uint32_t retries = 5;  // tries after the first, per page
  Millis connect_timeout{10'000};
  Millis stall_timeout{30'000};
  Millis list_timeout{120'000};      // for a page to begin
  uint64_t max_page_size = 1 << 30;  // bytes
  double rate = 0;                   // pages asked for a second, at most; 0: no limit
};

// What a stored file survives.
enum class Durability : uint8_t {
  process,  // the death of every process
  batch,    // a power loss too, soon after: group commit of the file system and the ledger
  file,     // the same, and each file is synced before it counts
};

struct Settings {
  ListingSettings listing;
  Filter filter;
  uint64_t limit = UINT64_MAX;  // names listed over all runs, at most
  uint32_t workers = 1;
  uint32_t batch_names = 1000;
  uint64_t max_in_flight = 64;  // requests, over all workers
  uint32_t pipeline = 0;        // requests in flight on a connection, as asked for; 0: to be found
  double rate = 0;  // requests for files a second over all workers, at most; 0: no limit
  Durability durability = Durability::batch;
  bool pack = false;          // into shards, whose ends are in the ledger
  bool retry_failed = false;  // try permanent failures again too
  // Nothing is recorded in the ledger; what is missing or different goes to this file in the state
  // folder. Empty for a fetch.
  std::string findings;
  // A verify that looks for the pages whose files are not what was stored.
  bool locate = false;

  bool is_verify() const { return !findings.empty(); }
};

}  // namespace gigafetch::coordinator
