// The ledger: the file `ledger` in the state folder, which says whose the output folder is.
//
// Today it holds one record, the job's identity, so that an output folder is never filled by two
// different jobs, and `verify` knows the layout. The framing is the one that every further record
// will use:
//
//     offset 0   "GFLEDGER"                    8 bytes
//            8   format version                u32, 1
//     records    length of the payload         u32
//                type                          u8 (1 = identity)
//                zero                          3 bytes
//                payload
//                checksum                      u64: XXH3-64 over length, type, zero and payload,
//                                              seeded with the record's offset
//
// Integers are little-endian. The identity's payload is a list of texts, each a u32 length and its
// bytes: url, api, sink, layout, output, then the number of includes as a decimal text, the
// includes, and the excludes. Chosen over JSON because every byte is under the checksum and nothing
// needs parsing; over a database because a record is written once and never changed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace gigafetch::store {

// What makes two runs the same job. Workers, depth, limits and timeouts may differ between runs.
struct JobIdentity {
  std::string url;  // canonical
  std::string api;
  std::string sink;
  std::string layout;
  std::vector<std::string> include;
  std::vector<std::string> exclude;
  // The output folder's path where the state folder lies elsewhere; empty where it lies inside and
  // may move with it.
  std::string output = {};
  bool operator==(const JobIdentity&) const = default;
};

// The first difference in words ("the URL was X, now it is Y"); empty when there is none.
std::string difference(const JobIdentity& recorded, const JobIdentity& wanted);

// The identity in the state folder's ledger; nullopt when there is no ledger. Fails (malformed)
// with the offset when the ledger is damaged.
Result<std::optional<JobIdentity>> read_ledger(int state_fd);

// Writes a new ledger, replacing any, and syncs it.
Result<void> write_ledger(int state_fd, const JobIdentity& identity);

}  // namespace gigafetch::store
