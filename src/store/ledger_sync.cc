#include "store/ledger_sync.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/io.h"
#include "store/ledger_format.h"
#include "store/page_archive.h"
#include "store/place.h"
#include "store/regular_file.h"

namespace gigafetch::store {

Result<void> SyncJob::run() const {
  Result<void> synced = sync();
  if (synced) return write_anew();
  note_io_error(state_fd);
  // At once, before anybody can die over it: a device tells of a lost write only once, and whoever
  // comes next would believe the records (syncfs(2), fsync(2)).
  if (::ftruncate(ledger_fd, static_cast<off_t>(synced_before)) != 0) {
    return error(synced.failure().code, "{}; and cannot cut the ledger", synced.failure().text);
  }
  return synced;
}

Result<void> SyncJob::sync() const {
  if (output_fd >= 0 && ::syncfs(output_fd) != 0) {
    return errno_error(errno, "cannot sync the file system of the output folder");
  }
  if (failures_fd >= 0 && ::fdatasync(failures_fd) != 0) {
    return errno_error(errno, "cannot sync the record of failed files");
  }
  if (::fdatasync(ledger_fd) != 0) return errno_error(errno, "cannot sync the ledger");
  if (sync_folder && ::fsync(state_fd) != 0) {
    return errno_error(errno, "cannot sync the state folder");
  }
  return {};
}

Result<void> SyncJob::write_anew() const {
  if (new_base.empty()) return {};
  if (Result<void> kept = append_to_archive(state_fd, archive_offset, archive); !kept) return kept;
  Result<UniqueFd> made = write_new_ledger(state_fd, new_base);
  if (!made) return std::move(made).failure();
  // The archive's name, too, must be there before a ledger that counts on it.
  if (::fsync(state_fd) != 0) return errno_error(errno, "cannot sync the state folder");
  return {};
}

Result<UniqueFd> write_new_ledger(int state_fd, std::string_view bytes) {
  UniqueFd fd = open_regular(state_fd, kNewLedgerFile, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
  if (!fd) return not_opened(errno, "cannot make the ledger");
  if (const int failed = write_all(fd.get(), bytes); failed != 0) {
    return errno_error(failed, "cannot write the ledger");
  }
  if (::fdatasync(fd.get()) != 0) return errno_error(errno, "cannot sync the ledger");
  return fd;
}

}  // namespace gigafetch::store
