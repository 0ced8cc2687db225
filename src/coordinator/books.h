// Books: what the coordinator writes down of its job. A fetch keeps them in the ledger; a verify in
// memory, with its findings in a file. Loop thread only.
#pragma once

#include <memory>

#include "base/figures.h"
#include "base/name_list.h"
#include "coordinator/settings.h"
#include "store/dead_letters.h"
#include "store/ledger.h"
#include "store/set_hash.h"

namespace gigafetch::coordinator {

class Books {
 public:
  virtual ~Books() = default;

  virtual const store::LedgerState& state() const = 0;
  // A page as listed, before any of its names is handed out. Gives its number.
  virtual uint64_t add_page(const store::PageFacts& facts, const NameList& names) = 0;
  // A name that fails as it is listed; to be called before add_page of its page.
  virtual void log_failure(std::string_view name, const FileFailure& failure) = 0;
  // What PageFacts::log_end is to be.
  virtual uint64_t log_end() const = 0;
  virtual void add_stored(uint64_t page, IndexRange names) = 0;
  virtual void add_content(uint64_t page, uint64_t bytes, const store::Hash128& content) = 0;
  virtual void add_failed(uint64_t page, uint32_t index, std::string_view name,
                          const FileFailure& failure) = 0;
  // How far a shard goes with what is stored since.
  virtual void add_shard(const ShardEnd&) {}
  // Writes what has gathered. After a failure the run must end.
  virtual Result<void> flush() = 0;
  // Brings the file of failed names (or of findings) up to date.
  virtual Result<void> write_failures() = 0;
  // Adds what else is known to the figures.
  virtual void complete(Figures&) const {}

  // The ledger; null in a verify.
  virtual store::Ledger* ledger() { return nullptr; }
};

// Opens those of the job in `state_fd`, which must stay open. Fails when a fetch has no ledger, or
// a file cannot be made. `output_fd`: see store::Ledger.
Result<std::unique_ptr<Books>> open_books(const Settings& settings, int state_fd,
                                          int output_fd = -1);

}  // namespace gigafetch::coordinator
