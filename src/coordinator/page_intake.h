// PageIntake: a page's names as listed become the names to fetch: filtered, counted, each once.
//
// Duplicates are found exactly within a page; across pages they would need memory for every name,
// and the second file is stored over the first. Names in ascending order, as most services list
// them, are compared with the one before alone; only where the order breaks are they hashed, with a
// seed of this process, so that nobody can choose names to collide.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/failure.h"
#include "base/name_list.h"
#include "coordinator/settings.h"
#include "listing/dialect.h"
#include "store/set_hash.h"

namespace gigafetch::coordinator {

class PageIntake final : public listing::NameReceiver {
 public:
  // `filter` must outlive the intake.
  explicit PageIntake(const Filter& filter);

  // Forgets the last page. Of the next one the first `skip` names are left out, which an earlier
  // run has listed, and no more than `limit` are listed behind them.
  void begin_page(uint64_t skip, uint64_t limit);
  // False once `limit` names have been listed.
  bool on_name(std::string_view name) override;
  // Listed, and rejected.
  bool on_bad_name(std::string_view shown, FailureClass cause, std::string_view why) override;

  // Whether the filter lets a name through.
  bool passes(std::string_view name) { return !filtering_ || passes_filter(name); }

  // Hash of the skipped names, and with those behind them.
  store::Hash128 skipped_hash() const { return store::hash_of_names(skipped_.bytes()); }
  store::Hash128 cut_hash() const {
    return store::hash_of_names(skipped_.bytes() + names_.bytes());
  }

  // Of the page under way:
  const NameList& names() const { return names_; }  // to fetch
  // The same, and leaves none behind.
  NameList take_names();
  uint64_t listed() const { return listed_; }  // of all kinds, without the filtered
  uint64_t duplicates() const { return duplicates_; }
  uint64_t filtered() const { return filtered_; }
  // Names that no batch can hold, and what stands in a name's place and is none.
  const std::map<std::string, FileFailure>& rejected() const { return rejected_; }
  // Of memory, held for the page.
  size_t bytes() const { return names_.bytes().size() + rejected_bytes_; }

  // Whether the limit has been reached: the page may have further names.
  bool limit_reached() const { return left_ == 0; }

 private:
  // Open addressing over the offsets of the page's names; 0 is an empty slot.
  struct Slot {
    uint32_t hash = 0;
    uint32_t offset_plus_one = 0;
  };

  void count(bool skipped);
  void reject(std::string_view name, bool skipped, FileFailure failure);
  bool passes_filter(std::string_view name);
  bool seen_before(std::string_view name);
  std::string_view name_at(size_t offset) const;
  size_t end_offset() const { return skipped_.bytes().size() + names_.bytes().size(); }
  void index_all();
  bool index(std::string_view name, size_t offset);
  void grow();

  const Filter& filter_;
  const bool filtering_;
  uint64_t skip_ = 0;
  uint64_t left_ = 0;
  NameList skipped_;
  NameList names_;
  size_t page_bytes_ = 0;    // of the names last taken
  std::string_view last_;    // name remembered, where its list has it
  bool by_bytes_ = true;     // they ascend, compared byte by byte
  bool by_length_ = true;    // they ascend, compared by length, then byte by byte
  std::vector<Slot> slots_;  // filled once they do neither
  uint64_t listed_ = 0;
  uint64_t duplicates_ = 0;
  uint64_t filtered_ = 0;
  std::map<std::string, FileFailure> rejected_;
  size_t rejected_bytes_ = 0;
  uint64_t hash_seed_;
  std::string c_name_;  // for fnmatch
};

}  // namespace gigafetch::coordinator
