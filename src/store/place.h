// Where a job's folders are, as the kernel tells it. The ledger's RUN has it
// (store/ledger_format.h), so that the next run knows what has become of both folders since, rather
// than assume it.
//
// What was written and not synced is in the page cache. It is there for the next run as long as the
// file system that it was written to has been mounted all the time, and as long as the device took
// what the kernel wrote back. A boot id alone does not say so: a volume may have gone and come
// back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gigafetch::store {

struct FolderPlace {
  uint64_t device = 0;  // of the file system; may be another after a reboot
  uint64_t mount =
      0;  // as no other mount under this boot is called; 0: not told (before Linux 6.8)
  uint64_t inode = 0;  // 0: nothing is known of the folder
  uint64_t born = 0;   // when it was made, in nanoseconds since 1970; 0: not told

  bool known() const { return inode != 0; }
  bool operator==(const FolderPlace&) const = default;
};

// What a run records of itself.
struct RunPlace {
  std::string boot_id;
  FolderPlace output;  // not known of runs before format 4
  FolderPlace state;
  bool operator==(const RunPlace&) const = default;
};

// What the next one finds.
struct Surroundings {
  RunPlace here;
  // The output folder still has the mark that a run put on it in memory (mark_cache).
  bool cache_is_marked = false;
  // A process of the last run met a device that failed, and nobody has dealt with it (IoErrorNote).
  bool io_error = false;

  // Where nothing else is known.
  static Surroundings of_boot(std::string_view boot_id) {
    Surroundings now;
    now.here.boot_id = boot_id;
    return now;
  }
};

// Why what no SYNCED covers may be lost.
enum class Distrust : uint8_t { none, reboot, remount, io_error, copied };

// Pure. `then` is what the last run recorded. Runs before format 4 recorded the boot alone, and are
// judged by that.
Distrust distrust(const RunPlace& then, const Surroundings& now);

// Whether it is the same folder, though it may have moved: a copy is another one. Pure. True when
// that cannot be told: on file systems that do not say when a folder was made, after a reboot or
// a mount.
bool is_same_folder(const FolderPlace& then, const FolderPlace& now, bool same_boot);

// Of an open folder.
Result<FolderPlace> place_of(int folder_fd);
// The id of the running system's boot (proc(5), random/boot_id).
Result<std::string> current_boot_id();
// What there is to be known about the two folders; `output_fd` may be -1 where it is not at hand,
// and is then not known.
Result<Surroundings> surroundings(int state_fd, int output_fd);

// Puts a mark on the folder that is in memory only, so that it goes when the file system is
// unmounted, whatever the kernel's version and in whichever mount namespace: the hint about the
// life of what is written (fcntl(2), F_SET_RW_HINT), set to one that means the same as none. A
// kernel that needs memory may forget it; then more is fetched again than must be. Where it is not
// to be had, nothing happens.
void mark_cache(int folder_fd);

// The file `io-error` in the state folder: made by whoever meets a device that fails, before he
// tells anybody, so that a death cannot hide it; removed when what is in doubt has been taken back.
void note_io_error(int state_fd);
bool has_io_error_note(int state_fd);
void remove_io_error_note(int state_fd);

}  // namespace gigafetch::store
