// PackedDifference: which names are listed and not in the shards, and the other way round, of sets
// that are known to differ.
//
// The listing is read once to find the ranges of hashes in which the sums over both sides are not
// the same (store/name_sums.h), then once more, beside the shards, to compare what is in those
// ranges name by name (store/member_join.h). So the time is that of reading the shards once more
// and listing twice, whatever the number of names; of a listing that has changed in between, twice
// that, and at last all ranges are compared with one listing. The temporary files are in the state
// folder and hold the names of those ranges alone: few when little is missing, and all names when a
// shard is.
#pragma once

#include <string>
#include <vector>

#include "cli/packed_sums.h"
#include "cli/stored_names.h"
#include "store/dead_letters.h"
#include "store/member_join.h"
#include "supervisor/child.h"
#include "supervisor/supervisor.h"

namespace gigafetch::cli {

struct PackedDifference {
  uint64_t listed = 0;  // names, each once a page
  uint64_t failed = 0;  // of them: missing, or their member is damaged
  uint64_t rejected = 0;
  uint64_t bytes = 0;                 // of the bodies of the others
  store::Hash128 content;             // sum of their content_hash
  uint64_t extra = 0;                 // members that are not listed
  uint64_t again = 0;                 // members of names that have another one stored later
  std::vector<std::string> examples;  // paths of extra ones
  supervisor::Accounts accounts;      // of the processes that read and listed
};

// `found` is what the shards hold. Names that failed or are rejected are added to
// `findings`, if there are any to be written. Calling process as for sum_shards. Fails when the
// listing does, when temporary files cannot be written, when a process dies, and when a member is
// damaged that was whole as `found` was made.
Result<PackedDifference> find_difference(const supervisor::Job& job, const StoredNames& stored,
                                         const PackedSums& found, store::DeadLetters* findings,
                                         supervisor::Observer& observer);

}  // namespace gigafetch::cli
