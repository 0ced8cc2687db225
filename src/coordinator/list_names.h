// Lists an origin's names in the calling process, without workers: for `ls`, and for `verify`.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "base/result.h"
#include "coordinator/settings.h"

namespace gigafetch::coordinator {

// Calls `on_name` for each name that passes the filter, once per page, in the order of the listing;
// an error from it ends the listing. Makes a loop of its own: the process must not fork afterwards.
Result<void> list_names(const ListingSettings& settings, const Filter& filter, uint64_t limit,
                        const std::function<Result<void>(std::string_view name)>& on_name);

}  // namespace gigafetch::coordinator
