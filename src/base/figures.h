// Figures: a job's live counters, from the coordinator to the supervisor and into the summary.
#pragma once

#include <cstdint>

namespace gigafetch {

// The names, bytes and pages count over all runs of the job; requests, retries, fetched and
// listing_bound over this run. The first five are a partition: every listed name is in exactly one
// of stored, failed, rejected, duplicates, or still open (balanced() is about the end of a complete
// run, when none is open).
struct Figures {
  uint64_t listed = 0;       // names listed, without those left out by a filter
  uint64_t stored = 0;       // names whose file is whole in the sink
  uint64_t failed = 0;       // names that could not be fetched or stored
  uint64_t rejected = 0;     // names refused by the name policy before any request
  uint64_t duplicates = 0;   // second and later mentions of a name on one page
  uint64_t filtered = 0;     // names left out by --include and --exclude
  uint64_t bytes = 0;        // body bytes of stored files
  uint64_t pages = 0;        // listing pages read
  uint64_t requests = 0;     // HTTP requests sent, for pages and files
  uint64_t retries = 0;      // requests repeated after a failed attempt
  uint64_t fetched = 0;      // files stored in this run
  double listing_bound = 0;  // share of the workers' time spent waiting for names, 0 to 1
  // verify: sum of the 128-bit hashes of the names found stored (store/set_hash.h).
  uint64_t set_hash_low = 0;
  uint64_t set_hash_high = 0;
  // Sum of the 128-bit hashes over name and body of the stored files (store/content_hash.h).
  uint64_t content_low = 0;
  uint64_t content_high = 0;

  uint64_t settled() const { return stored + failed + rejected + duplicates; }
  bool balanced() const { return listed == settled(); }
};

}  // namespace gigafetch
