// verify of packed output: the shards against what is listed and what was stored.
//
// All of this forks: the calling process must be single-threaded and must never have run an event
// loop.
#pragma once

#include <memory>

#include "cli/options.h"
#include "cli/packed_sums.h"
#include "cli/stored_names.h"
#include "store/ledger.h"
#include "store/member_table.h"
#include "supervisor/supervisor.h"

namespace gigafetch::cli {

struct ShardFindings {
  uint64_t extra = 0;    // members that are not listed; the first were shown
  bool damaged = false;  // not all of the shards can be read; what cannot was shown
};

// Reads the shards from end to end, and compares their names all together with the listing's: a
// look for each name would take far longer. Only when they differ are names compared one by one.
// Names that are missing or damaged are in the job's findings. Of a run that ended early
// (report.exit) nothing was found.
Result<ShardFindings> verify_shards(supervisor::Job& job, const store::LedgerImage& image,
                                    const StoredNames& stored, const VerifyOptions& options,
                                    supervisor::Report& report);

// Fetches each file again and compares it with its member; else the same.
Result<ShardFindings> compare_bodies(supervisor::Job& job, const StoredNames& stored,
                                     const VerifyOptions& options, supervisor::Report& report);

// What the shards hold, and a table by which the workers of `job` find each name's member.
struct ReadForWorkers {
  PackedSums shards;
  std::unique_ptr<const store::MemberTable> table;  // the job's workers borrow it
};
Result<ReadForWorkers> read_shards_for_workers(supervisor::Job& job, const StoredNames& stored,
                                               const VerifyOptions& options,
                                               supervisor::Report& report);

}  // namespace gigafetch::cli
