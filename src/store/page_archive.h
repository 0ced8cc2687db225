// PageArchive: the file `pages` in the state folder: the pages that are done, written at each
// checkpoint. It is read when a listing has to be begun anew (what is known need not be fetched)
// and by verify (where a difference lies), never at an ordinary start.
//
//     records    store/record.h, seeded with the job's id
//     payload    number, listed, names, duplicates, rejected, filtered, failed, stored, bytes
//                (varints), hash of the names, sum over the contents (16 bytes each)
//
// Some 70 bytes a page. The ledger says how much of it counts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/ledger_state.h"

namespace gigafetch::store {

// In the state folder.
inline constexpr char kArchiveFile[] = "pages";

// The bytes that `pages` add to an archive of `offset` bytes.
std::string archive_records(const std::vector<DonePage>& pages, uint64_t offset, uint64_t job_id);

// Writes them there, cutting what stands behind `offset`, and syncs the file. May be called off the
// loop.
Result<void> append_to_archive(int state_fd, uint64_t offset, std::string_view records);

// Calls `on_page` for each page in the first `size` bytes of the archive. Memory is bounded. Fails
// (malformed) with the place of any damage.
Result<void> read_archive(int state_fd, uint64_t job_id, uint64_t size,
                          const std::function<void(const DonePage& page)>& on_page);

}  // namespace gigafetch::store
