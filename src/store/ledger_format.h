// The bytes of the file `ledger` (store/ledger.h): its header, its records' types, and the base
// that every ledger begins with. Pure.
//
//     offset 0   "GFLEDGER"             8 bytes
//            8   format version         u32, 4; a ledger of version 3 is read, too
//           12   zero                   u32
//           16   job id                 u64, random: the files beside the ledger carry it too
//           24   records (store/record.h), seeded with the job's id up to the first RUN
//                and in every RUN and SYNCED, with the run's id otherwise
//
// Numbers in records are varints unless said otherwise, hashes 16 bytes, texts a length and bytes.
//
//     IDENTITY    1  the job (store/job_identity.h)
//     CHECKPOINT  2  the whole state, where the ledger was written anew (LedgerState::checkpoint)
//     RUN         3  run id u64, boot id text: a process begins to write
//     PAGE        4  facts, before the first of its names is handed out
//     STORED      5  page, ranges of names, bytes, sum over the contents (store/content_hash.h)
//     FAIL        6  page, ranges of names, how many of them are rejected, size of the failure log
//     SYNCED      7  an offset: all that stands before it, and the files it speaks of, are on the
//                    device
//     REPLACE     8  page, facts: an open page came back different
//     KNOWN       9  facts, bytes, contents: a page met again after RELIST, all of it stored
//     RETRY      10  four offsets into the failure log (RetryRange), names
//     RELIST     11  nothing: the listing begins anew
//     SHARD      12  worker, number, end, finished (0 or 1): how much of a shard is committed;
//                    stands before the STORED of the names in it, so that these are never cut
//
//     facts       next (0 marker, 1 none, 2 same), marker if there is one, listed, names,
//                 duplicates, rejected, filtered, size of the failure log, hash of the names;
//                 with 2, hash of all names of the page up to the limit
//     ranges      how many, then for each the gap before it and its length
//
// SYNCED has the job's seed so that it can be read when the RUN before it cannot: what it covers
// must never pass for a torn end.
//
// IDENTITY, then a CHECKPOINT if there is one, then RUN are the base: they are on the device before
// the file gets its name, so damage in them is never a torn end. Behind the base, a record counts
// when it and all before it are valid. What the last SYNCED covers also counts after a power loss.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "store/job_identity.h"

namespace gigafetch::store {

inline constexpr char kLedgerFile[] = "ledger";
// One that is being written anew, until it is put in the other's place.
inline constexpr char kNewLedgerFile[] = "ledger.new";

inline constexpr std::string_view kLedgerMagic = "GFLEDGER";
inline constexpr uint32_t kLedgerVersion = 4;
inline constexpr uint32_t kOldestLedgerVersion = 3;
inline constexpr size_t kLedgerHeaderBytes = 24;

enum class LedgerRecord : uint8_t {
  identity = 1,
  checkpoint = 2,
  run = 3,
  page = 4,
  stored = 5,
  fail = 6,
  synced = 7,
  replace = 8,
  known = 9,
  retry = 10,
  relist = 11,
  shard = 12,
};

// Whether such a record is seeded with the job's id wherever it stands.
constexpr bool is_of_job(LedgerRecord type) {
  return type == LedgerRecord::run || type == LedgerRecord::synced;
}

// The payload of a RUN.
std::string run_payload(uint64_t run_id, std::string_view boot_id);
// Header and base records of a ledger file. `run` is the payload of its RUN.
std::string ledger_base(uint64_t job_id, const JobIdentity& identity,
                        const std::optional<std::string>& checkpoint, std::string_view run);

}  // namespace gigafetch::store
