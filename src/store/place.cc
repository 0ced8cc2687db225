#include "store/place.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

#include "base/io.h"
#include "base/unique_fd.h"
#include "store/regular_file.h"

namespace gigafetch::store {
namespace {

constexpr char kNote[] = "io-error";
// Not in the headers of Linux before 6.8.
constexpr unsigned kUniqueMountId = 0x4000;  // STATX_MNT_ID_UNIQUE
constexpr uint64_t kCacheMark = RWH_WRITE_LIFE_NONE;

bool is_cache_marked(int folder_fd) {
  uint64_t hint = 0;
  return ::fcntl(folder_fd, F_GET_RW_HINT, &hint) == 0 && hint == kCacheMark;
}

}  // namespace

bool is_same_folder(const FolderPlace& then, const FolderPlace& now, bool same_boot) {
  if (!then.known() || !now.known()) return true;
  if (then.born != 0 && now.born != 0) return then.born == now.born && then.inode == now.inode;
  // Of the device's number and the inode's, neither need outlive the mount.
  const bool comparable = same_boot && then.device == now.device && then.mount == now.mount;
  return !comparable || then.inode == now.inode;
}

Distrust distrust(const RunPlace& then, const Surroundings& now) {
  const RunPlace& here = now.here;
  const bool same_boot = then.boot_id == here.boot_id;
  if (!is_same_folder(then.output, here.output, same_boot) ||
      !is_same_folder(then.state, here.state, same_boot)) {
    return Distrust::copied;
  }
  if (!same_boot) return Distrust::reboot;
  if (now.io_error) return Distrust::io_error;
  if (!then.output.known()) return Distrust::none;
  const bool same_mount = then.output.mount != 0 && then.output.mount == here.output.mount;
  const bool stayed =
      then.output.device == here.output.device && (same_mount || now.cache_is_marked);
  return stayed ? Distrust::none : Distrust::remount;
}

Result<FolderPlace> place_of(int folder_fd) {
  struct statx there = {};
  if (::statx(folder_fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME | kUniqueMountId, &there) !=
      0) {
    return errno_error(errno, "cannot examine a folder");
  }
  FolderPlace place;
  place.device = makedev(there.stx_dev_major, there.stx_dev_minor);
  place.inode = there.stx_ino;
  if ((there.stx_mask & kUniqueMountId) != 0) place.mount = there.stx_mnt_id;
  if ((there.stx_mask & STATX_BTIME) != 0 && there.stx_btime.tv_sec > 0) {
    place.born =
        static_cast<uint64_t>(there.stx_btime.tv_sec) * 1'000'000'000 + there.stx_btime.tv_nsec;
  }
  return place;
}

Result<std::string> current_boot_id() {
  const UniqueFd fd(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  if (!fd) return errno_error(errno, "cannot learn the boot id");
  Result<std::string> id = read_to_end(fd.get(), 256, "the boot id");
  while (id && !id->empty() && id->back() == '\n')
    id->pop_back();
  return id;
}

Result<Surroundings> surroundings(int state_fd, int output_fd) {
  Surroundings now;
  Result<std::string> boot_id = current_boot_id();
  if (!boot_id) return std::move(boot_id).failure();
  now.here.boot_id = std::move(boot_id).value();
  Result<FolderPlace> state = place_of(state_fd);
  if (!state) return std::move(state).failure();
  now.here.state = *state;
  now.io_error = has_io_error_note(state_fd);
  if (output_fd < 0) return now;
  Result<FolderPlace> output = place_of(output_fd);
  if (!output) return std::move(output).failure();
  now.here.output = *output;
  now.cache_is_marked = is_cache_marked(output_fd);
  return now;
}

void mark_cache(int folder_fd) {
  uint64_t hint = kCacheMark;
  (void)::fcntl(folder_fd, F_SET_RW_HINT, &hint);
}

void note_io_error(int state_fd) {
  const UniqueFd made = open_regular(state_fd, kNote, O_WRONLY | O_CREAT, 0600);
}

bool has_io_error_note(int state_fd) {
  struct stat there;
  return ::fstatat(state_fd, kNote, &there, AT_SYMLINK_NOFOLLOW) == 0;
}

void remove_io_error_note(int state_fd) {
  ::unlinkat(state_fd, kNote, 0);
}

}  // namespace gigafetch::store
