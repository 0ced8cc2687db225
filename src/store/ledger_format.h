// The bytes of the file `ledger` (store/ledger.h): its header, its records' types, and the base
// that every ledger begins with. Pure.
//
//     offset 0   "GFLEDGER"             8 bytes
//            8   format version         u32, 4 (3 is read, and continued as 4)
//           12   zero                   u32
//           16   job id                 u64, random: the files beside the ledger carry it too
//           24   records (store/record.h), seeded with the job's id up to the first RUN
//                and in every RUN and SYNCED, with the run's id otherwise
//
// Numbers in records are varints unless said otherwise, hashes 16 bytes, texts a length and bytes.
//
//     IDENTITY    1  the job (store/job_identity.h)
//     CHECKPOINT  2  the whole state, where the ledger was written anew (LedgerState::checkpoint)
//     RUN         3  run id u64, boot id text: a process begins to write. Since format 4 also where
//                    it found output and state folder: device, mount, inode, born of each
//                    (store/place.h)
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
//     EPOCH      13  a number: the shards of all earlier runs have lower ones
//
//     facts       next (0 marker, 1 none, 2 same), marker if there is one, listed, names,
//                 duplicates, rejected, filtered, size of the failure log, hash of the names;
//                 with 2, hash of all names of the page up to the limit
//     ranges      how many, then for each the gap before it and its length
//
// A write tells of things that belong together, as the end of a shard and the names in it do. So
// the last record of each has kEndOfFlush in its type, and recovery stops at one of these: a write
// that was torn says nothing. (Rejected: a record that closes a write, ten bytes for what a bit can
// say.) Of records behind a RUN of format 3, each is a write by itself.
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
#include "store/place.h"

namespace gigafetch::store {

inline constexpr char kLedgerFile[] = "ledger";
// One that is being written anew, until it is put in the other's place.
inline constexpr char kNewLedgerFile[] = "ledger.new";

inline constexpr std::string_view kLedgerMagic = "GFLEDGER";
inline constexpr uint32_t kLedgerVersion = 4;
inline constexpr uint32_t kOldestLedgerVersion = 3;
// Where it stands.
inline constexpr size_t kLedgerVersionOffset = 8;
inline constexpr size_t kLedgerHeaderBytes = 24;
// What is longer is not read, and so it is not written either. A ledger is some bytes a page and is
// written anew long before this.
inline constexpr uint64_t kMaxLedgerBytes = uint64_t{1} << 30;

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
  epoch = 13,
};

// Set in the type of the last record of a write.
inline constexpr uint8_t kEndOfFlush = 0x80;
constexpr LedgerRecord type_of(uint8_t type) {
  return static_cast<LedgerRecord>(type & ~kEndOfFlush);
}

// Whether such a record is seeded with the job's id wherever it stands.
constexpr bool is_of_job(LedgerRecord type) {
  return type == LedgerRecord::run || type == LedgerRecord::synced;
}

// The payload of a RUN.
struct RunRecord {
  uint64_t run_id = 0;
  RunPlace place;
  bool flushes_are_marked = false;  // set by decode_run: it is of format 4
};
std::string encode_run(const RunRecord& run);
// The way back, of either format; nullopt when it is none.
std::optional<RunRecord> decode_run(std::string_view payload);
// Header and base records of a ledger file. `run` is the payload of its RUN.
std::string ledger_base(uint64_t job_id, const JobIdentity& identity,
                        const std::optional<std::string>& checkpoint, std::string_view run);

}  // namespace gigafetch::store
