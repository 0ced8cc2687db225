// Spellings: which names the output's folders really hold, where the file system takes several
// spellings for one name (store/name_rules.h). There, that a file can be opened does not say whose
// it is; the kernel's own idea of its name is often the one that was asked for (vfat, cifs, FUSE);
// only the folder's listing tells.
//
// A listing is kept, up to a size, and read again when it does not hold what is asked for. One that
// holds it is believed: a name that is spelled so can only be replaced by its own file. One per
// process; not thread-safe. Where nothing folds it holds nothing and is asked nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "store/name_rules.h"
#include "store/status.h"

namespace gigafetch::store {

class Spellings {
 public:
  // Keeps at most `capacity` names, some 64 bytes each.
  explicit Spellings(NameRules rules, size_t capacity = size_t{1} << 19)
      : rules_(std::move(rules)), capacity_(capacity) {}

  const NameRules& rules() const { return rules_; }

  // Whether the entry `name`, which is in the folder `directory` (a path, open as `directory_fd`),
  // is spelled so. ok; or Kind::file with name_conflict, whose text names both, or with missing
  // when nothing is there; or why the folder cannot be listed.
  StoreStatus check(std::string_view directory, int directory_fd, std::string_view name);

  // After a successful creation of `name`: ok, or Kind::file with bad_name when it is stored in
  // another spelling. Only for names that may_respell().
  StoreStatus check_new(std::string_view directory, int directory_fd, std::string_view name);

  // `name` has been removed from the folder.
  void removed(std::string_view directory, std::string_view name);

 private:
  // A folder's names, sorted by key: what all spellings of one name have in common, as far as one
  // can tell without the file system's tables.
  struct Entry {
    uint64_t key;
    std::string name;
  };
  struct Listing {
    std::string directory;
    std::vector<Entry> entries;
  };
  using Listings = std::list<Listing>;

  const Listing* known(std::string_view directory);
  // Replaces what is known of the folder. `listing` is valid until the next call; of a folder with
  // more names than may be kept it holds those that have the key of `wanted`, and is not kept.
  StoreStatus read(std::string_view directory, int directory_fd, std::string_view wanted,
                   const Listing*& listing);
  void forget(Listings::iterator listing);
  StoreStatus conflict(std::string_view directory, std::string_view name,
                       std::string_view other) const;

  NameRules rules_;
  size_t capacity_;
  size_t held_ = 0;    // names in all listings
  Listings listings_;  // the most recently used first
  Listing large_;      // what was read last of a folder that is too large to be kept
  std::unordered_map<std::string_view, Listings::iterator> by_directory_;
};

}  // namespace gigafetch::store
