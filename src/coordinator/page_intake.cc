#include "coordinator/page_intake.h"

#include <fnmatch.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

namespace gigafetch::coordinator {
namespace {

constexpr size_t kFirstSlots = 4096;  // a power of two

}  // namespace

void PageIntake::begin_page(uint64_t skip, uint64_t limit) {
  skip_ = skip;
  left_ = limit;
  skipped_.clear();
  names_.clear();
  listed_ = duplicates_ = filtered_ = 0;
  too_long_.clear();
  if (slots_.empty()) slots_.resize(kFirstSlots);
  std::fill(slots_.begin(), slots_.end(), Slot{});
}

bool PageIntake::on_name(std::string_view name) {
  if (left_ == 0) return false;
  if (!passes_filter(name)) {
    // Among the skipped names they were counted with these.
    if (skip_ == 0) ++filtered_;
    return true;
  }
  if (skip_ > 0) {
    --skip_;
    // Remembered, for a second mention of it behind the skipped ones is a duplicate.
    if (name.size() <= kMaxNameBytes && !seen_before(name)) skipped_.append(name);
    return true;
  }
  --left_;
  ++listed_;
  if (name.size() > kMaxNameBytes) {
    if (!too_long_.emplace(name).second) ++duplicates_;
  } else if (seen_before(name)) {
    ++duplicates_;
  } else {
    names_.append(name);
  }
  return left_ > 0;
}

bool PageIntake::passes_filter(std::string_view name) {
  if (filter_.include.empty() && filter_.exclude.empty()) return true;
  c_name_.assign(name);
  const auto matches = [&](const std::string& glob) {
    return ::fnmatch(glob.c_str(), c_name_.c_str(), 0) == 0;
  };
  if (std::any_of(filter_.exclude.begin(), filter_.exclude.end(), matches)) return false;
  return filter_.include.empty() ||
         std::any_of(filter_.include.begin(), filter_.include.end(), matches);
}

// Offsets count through the skipped names, then the others.
std::string_view PageIntake::name_at(uint32_t offset) const {
  const std::string& skipped = skipped_.bytes();
  const std::string_view rest =
      offset < skipped.size() ? std::string_view(skipped).substr(offset)
                              : std::string_view(names_.bytes()).substr(offset - skipped.size());
  return NameCursor(rest).name();
}

// Looks the name up, and notes that it will be appended next when it is new.
bool PageIntake::seen_before(std::string_view name) {
  if ((skipped_.count() + names_.count() + 1ull) * 2 > slots_.size()) grow();
  const auto hash = static_cast<uint32_t>(XXH3_64bits(name.data(), name.size()));
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    Slot& slot = slots_[at];
    if (slot.offset_plus_one == 0) {
      const size_t offset = skipped_.bytes().size() + names_.bytes().size();
      slot = Slot{hash, static_cast<uint32_t>(offset) + 1};
      return false;
    }
    if (slot.hash == hash && name_at(slot.offset_plus_one - 1) == name) return true;
  }
}

void PageIntake::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.offset_plus_one == 0) continue;
    size_t at = slot.hash & mask;
    while (slots_[at].offset_plus_one != 0)
      at = (at + 1) & mask;
    slots_[at] = slot;
  }
}

}  // namespace gigafetch::coordinator
