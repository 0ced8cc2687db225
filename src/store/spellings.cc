#include "store/spellings.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cerrno>

#include "base/escape.h"
#include "store/directory_stream.h"

namespace gigafetch::store {
namespace {

constexpr std::string_view kAdvice = "--sink tar keeps both";

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

// Without case, accents as far as they stand alone, and dots and spaces at the end. Seeded, so that
// nobody can make up names that all have one key.
uint64_t key_of(std::string_view name) {
  static const uint64_t seed = [] {
    uint64_t drawn = 0;
    return ::getrandom(&drawn, sizeof drawn, GRND_NONBLOCK) == sizeof drawn ? drawn : 0;
  }();
  while (!name.empty() && (name.back() == '.' || name.back() == ' '))
    name.remove_suffix(1);
  std::string folded;
  for (const char c : name) {
    if (c >= 'A' && c <= 'Z') {
      folded += static_cast<char>(c - 'A' + 'a');
    } else if (static_cast<uint8_t>(c) < 0x80) {
      folded += c;
    }
  }
  return XXH3_64bits_withSeed(folded.data(), folded.size(), seed);
}

bool is_same_file(int directory_fd, const std::string& one, const std::string& other) {
  struct stat first, second;
  return ::fstatat(directory_fd, one.c_str(), &first, AT_SYMLINK_NOFOLLOW) == 0 &&
         ::fstatat(directory_fd, other.c_str(), &second, AT_SYMLINK_NOFOLLOW) == 0 &&
         first.st_ino == second.st_ino && first.st_dev == second.st_dev;
}

template <typename Entries>
auto with_key(const Entries& entries, uint64_t key) {
  return std::ranges::equal_range(entries, key, {}, &Entries::value_type::key);
}

template <typename Entries>
bool holds(const Entries& entries, std::string_view name) {
  return std::ranges::any_of(with_key(entries, key_of(name)),
                             [name](const auto& entry) { return entry.name == name; });
}

// The entry that the file system takes `name` for, if it can be told; none has that spelling. Some
// file systems give every spelling an inode number of its own.
template <typename Entries>
const std::string* twin_of(const Entries& entries, int directory_fd, const std::string& name,
                           bool sure) {
  const auto likely = with_key(entries, key_of(name));
  for (const auto& entry : likely) {
    if (is_same_file(directory_fd, entry.name, name)) return &entry.name;
  }
  if (sure) return nullptr;
  for (const auto& entry : entries) {
    if (is_ascii(name) && is_ascii(entry.name)) continue;  // they would have the same key
    if (is_same_file(directory_fd, entry.name, name)) return &entry.name;
  }
  return likely.empty() ? nullptr : &likely.front().name;
}

}  // namespace

StoreStatus Spellings::check(std::string_view directory, int directory_fd, std::string_view name) {
  const std::string wanted(name);
  const Listing* listing = known(directory);
  if (listing != nullptr) {
    if (holds(listing->entries, name)) return {};
    const std::string* const twin = twin_of(listing->entries, directory_fd, wanted, true);
    if (twin != nullptr) return conflict(directory, name, *twin);
  }
  if (StoreStatus status = read(directory, directory_fd, name, listing); !status.ok())
    return status;
  if (holds(listing->entries, name)) return {};
  struct stat there;
  if (::fstatat(directory_fd, wanted.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0) {
    return StoreStatus::of_errno(errno, "examine", wanted);
  }
  const std::string* const twin = twin_of(listing->entries, directory_fd, wanted, false);
  return conflict(directory, name, twin != nullptr ? *twin : "another spelling of it");
}

StoreStatus Spellings::check_new(std::string_view directory, int directory_fd,
                                 std::string_view name) {
  const Listing* listing = nullptr;
  if (StoreStatus status = read(directory, directory_fd, name, listing); !status.ok())
    return status;
  if (holds(listing->entries, name)) return {};
  return StoreStatus::file(
      FailureClass::bad_name,
      fmt::format("the file system would spell '{}' in another way, and it could not be told from "
                  "other names; --sink tar takes it",
                  printable(name)));
}

void Spellings::removed(std::string_view directory, std::string_view name) {
  const auto found = by_directory_.find(directory);
  if (found == by_directory_.end()) return;
  std::vector<Entry>& entries = found->second->entries;
  for (Entry& entry : std::ranges::equal_range(entries, key_of(name), {}, &Entry::key)) {
    // It keeps its place, for the order; no entry of a folder has this name.
    if (entry.name == name) entry.name.clear();
  }
}

StoreStatus Spellings::conflict(std::string_view directory, std::string_view name,
                                std::string_view other) const {
  const std::string folder = directory.empty() ? "" : std::string(directory) + "/";
  return StoreStatus::file(
      FailureClass::name_conflict,
      fmt::format("'{}' is there, which the file system takes for '{}'; {}",
                  printable(folder + std::string(other)), printable(name), kAdvice));
}

const Spellings::Listing* Spellings::known(std::string_view directory) {
  const auto found = by_directory_.find(directory);
  if (found == by_directory_.end()) return nullptr;
  listings_.splice(listings_.begin(), listings_, found->second);
  return &listings_.front();
}

StoreStatus Spellings::read(std::string_view directory, int directory_fd, std::string_view wanted,
                            const Listing*& listing) {
  if (const auto found = by_directory_.find(directory); found != by_directory_.end()) {
    forget(found->second);
  }
  const DirectoryStream dir =
      open_stream(UniqueFd(::openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  if (dir == nullptr) return StoreStatus::of_errno(errno, "list the folder", directory);
  Listing fresh;
  fresh.directory = directory;
  const uint64_t key = key_of(wanted);
  bool is_large = false;
  errno = 0;
  while (const dirent* entry = ::readdir(dir.get())) {
    const uint64_t its_key = key_of(entry->d_name);
    if (!is_large || its_key == key) fresh.entries.push_back({its_key, entry->d_name});
    if (!is_large && fresh.entries.size() > capacity_) {
      is_large = true;
      std::erase_if(fresh.entries, [key](const Entry& other) { return other.key != key; });
    }
    errno = 0;
  }
  if (errno != 0) return StoreStatus::of_errno(errno, "list the folder", directory);
  std::ranges::sort(fresh.entries, {}, &Entry::key);
  if (is_large) {
    large_ = std::move(fresh);
    listing = &large_;
    return {};
  }
  held_ += fresh.entries.size();
  while (held_ > capacity_ && !listings_.empty())
    forget(std::prev(listings_.end()));
  listings_.push_front(std::move(fresh));
  by_directory_.emplace(listings_.front().directory, listings_.begin());
  listing = &listings_.front();
  return {};
}

void Spellings::forget(Listings::iterator listing) {
  held_ -= listing->entries.size();
  by_directory_.erase(listing->directory);
  listings_.erase(listing);
}

}  // namespace gigafetch::store
