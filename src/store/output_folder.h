// The output folder: opened, made and checked before anything is written.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gigafetch::store {

// Opens OUT, making it when only its last component is missing. Fails, with what to do, when the
// parent is missing, OUT is no folder, or it cannot be written to.
Result<UniqueFd> open_output_folder(const std::string& path);

// Opens OUT for reading (verify).
Result<UniqueFd> open_existing_output_folder(const std::string& path);

// Whether the folder holds nothing that a run could overwrite: no entry but the state folder and
// ext4's lost+found.
Result<bool> is_empty_output(int output_fd);

// Whether the kernel has openat2(2) with the restrictions that keep writes inside (Linux 5.6).
Result<void> check_kernel(int output_fd);

// Waits until everything written to the folder's file system is on the device (syncfs(2)).
Result<void> sync_output(int output_fd, const std::string& path);

}  // namespace gigafetch::store
