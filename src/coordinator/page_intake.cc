#include "coordinator/page_intake.h"

#include <fmt/format.h>
#include <fnmatch.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "base/byte_order.h"
#include "base/clock.h"

namespace gigafetch::coordinator {
namespace {

constexpr size_t kFirstSlots = 4096;  // a power of two

uint64_t big_endian(const char* from) {
  return __builtin_bswap64(get_le<uint64_t>(from));
}

// As std::string_view::compare; quicker for names that begin alike, as neighbours on a page do.
int compare(std::string_view a, std::string_view b) {
  const size_t common = std::min(a.size(), b.size());
  size_t at = 0;
  for (; at + sizeof(uint64_t) <= common; at += sizeof(uint64_t)) {
    const uint64_t left = big_endian(a.data() + at), right = big_endian(b.data() + at);
    if (left != right) return left < right ? -1 : 1;
  }
  return a.substr(at).compare(b.substr(at));
}

}  // namespace

PageIntake::PageIntake(const Filter& filter)
    : filter_(filter), filtering_(!filter.include.empty() || !filter.exclude.empty()) {
  if (::getrandom(&hash_seed_, sizeof hash_seed_, 0) != sizeof hash_seed_) {
    hash_seed_ = static_cast<uint64_t>(monotonic_now().time_since_epoch().count());
  }
}

void PageIntake::begin_page(uint64_t skip, uint64_t limit) {
  skip_ = skip;
  left_ = limit;
  skipped_.clear();
  names_.clear();
  // A page is likely to be about as long as the last one.
  names_.reserve(page_bytes_ + page_bytes_ / 8);
  listed_ = duplicates_ = filtered_ = 0;
  rejected_.clear();
  rejected_bytes_ = 0;
  last_ = {};
  by_bytes_ = by_length_ = true;
}

bool PageIntake::on_name(std::string_view name) {
  if (left_ == 0) return false;
  const bool skipped = skip_ > 0;
  if (filtering_ && !passes_filter(name)) {
    // Among the skipped names they were counted with these.
    if (!skipped) ++filtered_;
    return true;
  }
  count(skipped);
  if (name.size() > kMaxNameBytes) {
    reject(name, skipped,
           {FailureClass::name_too_long, 0, 0,
            fmt::format("{} bytes; at most {} are taken", name.size(), kMaxNameBytes)});
  } else if (seen_before(name)) {
    if (!skipped) ++duplicates_;
  } else {
    // A skipped one too, for a second mention of it behind the skipped ones is a duplicate.
    NameList& list = skipped ? skipped_ : names_;
    list.append(name);
    last_ = std::string_view(list.bytes()).substr(list.bytes().size() - name.size());
  }
  return left_ > 0;
}

bool PageIntake::on_bad_name(std::string_view shown, FailureClass cause, std::string_view why) {
  if (left_ == 0) return false;
  const bool skipped = skip_ > 0;
  count(skipped);
  reject(shown, skipped, {cause, 0, 0, std::string(why)});
  return left_ > 0;
}

void PageIntake::count(bool skipped) {
  if (skipped) {
    --skip_;
  } else {
    --left_;
    ++listed_;
  }
}

void PageIntake::reject(std::string_view name, bool skipped, FileFailure failure) {
  if (skipped) return;
  constexpr size_t kBesideName = 256;
  if (rejected_.emplace(name, std::move(failure)).second) {
    rejected_bytes_ += name.size() + kBesideName;
  } else {
    ++duplicates_;
  }
}

NameList PageIntake::take_names() {
  page_bytes_ = names_.bytes().size();
  NameList taken = std::exchange(names_, {});
  taken.trim();
  return taken;
}

bool PageIntake::passes_filter(std::string_view name) {
  c_name_.assign(name);
  const auto matches = [&](const std::string& glob) {
    return ::fnmatch(glob.c_str(), c_name_.c_str(), 0) == 0;
  };
  if (std::any_of(filter_.exclude.begin(), filter_.exclude.end(), matches)) return false;
  return filter_.include.empty() ||
         std::any_of(filter_.include.begin(), filter_.include.end(), matches);
}

// Offsets count through the skipped names, then the others.
std::string_view PageIntake::name_at(size_t offset) const {
  const size_t skipped = skipped_.bytes().size();
  const std::string& bytes = offset < skipped ? skipped_.bytes() : names_.bytes();
  return NameCursor(std::string_view(bytes).substr(offset < skipped ? offset : offset - skipped))
      .name();
}

bool PageIntake::seen_before(std::string_view name) {
  if (end_offset() == 0) return false;
  if (by_bytes_ || by_length_) {
    const int order = compare(last_, name);
    if (order == 0) return true;
    by_bytes_ = by_bytes_ && order < 0;
    by_length_ =
        by_length_ && (last_.size() != name.size() ? last_.size() < name.size() : order < 0);
    if (by_bytes_ || by_length_) return false;
    index_all();
  }
  return !index(name, end_offset());
}

// The names so far, which have stood in order.
void PageIntake::index_all() {
  if (slots_.empty()) slots_.resize(kFirstSlots);
  std::fill(slots_.begin(), slots_.end(), Slot{});
  size_t offset = 0;
  for (const NameList* list : {&skipped_, &names_}) {
    for (NameCursor cursor(list->bytes()); !cursor.done(); cursor.next()) {
      index(cursor.name(), offset);
      offset += NameCursor::kLengthBytes + cursor.name().size();
    }
  }
}

// Notes that `name` stands at `offset`; false when it is there already.
bool PageIntake::index(std::string_view name, size_t offset) {
  if ((skipped_.count() + names_.count() + 1ull) * 2 > slots_.size()) grow();
  const auto hash =
      static_cast<uint32_t>(XXH3_64bits_withSeed(name.data(), name.size(), hash_seed_));
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    Slot& slot = slots_[at];
    if (slot.offset_plus_one == 0) {
      slot = Slot{hash, static_cast<uint32_t>(offset) + 1};
      return true;
    }
    if (slot.hash == hash && name_at(slot.offset_plus_one - 1) == name) return false;
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
