// Whether the folders that a run finds are those that its ledger speaks of. A ledger that is whole
// says nothing about a volume that is not mounted, or a folder that was emptied, put back or
// copied.
#pragma once

#include <string>

#include "base/result.h"
#include "store/ledger_recovery.h"

namespace gigafetch::cli {

struct ResumedFolders {
  int output_fd = -1;
  int state_fd = -1;
  std::string output;  // their paths, for messages
  std::string state;
  bool output_is_empty = false;
};

// To be called before a job goes on. Fails (exists), with the ways on, when
//   - OUT has no mark of the job, or another's (a volume that is not mounted, another folder);
//   - OUT or the state folder is a copy of the one that was written to;
//   - files are recorded as stored, and nothing is there;
//   - a file of the state folder has another link.
// With `repair`, the mark, a copy and links are put in order, if as many files are there as are
// recorded: that they are the right ones is what the operator says, and verify can prove. What no
// sync covers does not count in a copy (store::Distrust).
//
// Leaves the mark in OUT; jobs from before format 4 get theirs here.
Result<void> check_resumed(const ResumedFolders& folders, const store::LedgerImage& image,
                           bool repair);

}  // namespace gigafetch::cli
