// Walks everything below the output folder, for verify. Never follows a link; memory is bounded by
// the depth of the tree.
#pragma once

#include <functional>
#include <string_view>

#include "base/result.h"

namespace gigafetch::store {

enum class EntryKind : uint8_t { file, other };  // `other`: a link, device, pipe or socket

// Calls `visit` for each entry below `output_fd` that is not a folder, with its path relative to
// it. Leaves out the state folder and a lost+found at the top. Ends early when `visit` returns an
// error.
Result<void> walk_tree(int output_fd,
                       const std::function<Result<void>(std::string_view, EntryKind)>& visit);

}  // namespace gigafetch::store
