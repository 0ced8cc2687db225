#include "cli/extra_files.h"

#include <algorithm>

#include "base/escape.h"
#include "cli/summary.h"
#include "coordinator/list_names.h"
#include "store/set_difference.h"
#include "store/set_hash.h"

namespace gigafetch::cli {
namespace {

constexpr size_t kShownExtras = 10;

// What is on disk.
struct Found {
  store::SetHash names;    // files whose path belongs to a name
  uint64_t strangers = 0;  // links, devices, and files whose path belongs to no name
};

void show_extra(std::string_view path, uint64_t& shown) {
  if (shown++ < kShownExtras)
    print_error(fmt::format("not listed, but on disk: '{}'", printable(path)));
}

Result<Found> count_found(const StoredNames& stored) {
  Found found;
  Result<void> walked = stored.walk(
      [&](std::string_view, const std::string& name) -> Result<void> {
        found.names.add(store::hash_of_name(name));
        return {};
      },
      [&](std::string_view) { ++found.strangers; });
  if (!walked) return std::move(walked).failure();
  return found;
}

// Lists once more and compares, to tell extra files from names that are listed more than once.
Result<uint64_t> find_extras(const supervisor::Job& job, const StoredNames& stored,
                             const Found& found) {
  Result<store::SetDifference> sets = store::SetDifference::create(job.state_fd);
  if (!sets) return std::move(sets).failure();
  Result<void> walked = stored.walk(
      [&](std::string_view, const std::string& name) {
        return sets->add_found(store::hash_of_name(name));
      },
      [](std::string_view) {});
  if (!walked) return std::move(walked).failure();
  Result<void> listed = coordinator::list_names(
      job.coordinator.listing, job.coordinator.filter, UINT64_MAX,
      [&](std::string_view name) { return sets->add_listed(store::hash_of_name(name)); });
  if (!listed) return std::move(listed).failure();
  Result<store::SetDifference::Report> difference = sets->finish();
  if (!difference) return std::move(difference).failure();

  uint64_t shown = 0;
  const std::vector<store::Hash128>& examples = difference->examples;
  walked = stored.walk(
      [&](std::string_view path, const std::string& name) -> Result<void> {
        const store::Hash128 hash = store::hash_of_name(name);
        if (std::binary_search(examples.begin(), examples.end(), hash)) show_extra(path, shown);
        return {};
      },
      [&](std::string_view path) { show_extra(path, shown); });
  if (!walked) return std::move(walked).failure();
  return difference->extra + found.strangers;
}

}  // namespace

Result<uint64_t> count_extra_files(const supervisor::Job& job, const StoredNames& stored,
                                   const Figures& figures) {
  Result<Found> found = count_found(stored);
  if (!found) return std::move(found).failure();
  if (found->strangers == 0 && found->names == stored_names(figures)) return uint64_t{0};
  return find_extras(job, stored, *found);
}

}  // namespace gigafetch::cli
