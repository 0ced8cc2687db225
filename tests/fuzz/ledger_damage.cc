// Ledgers: records that are valid in themselves but say anything, damaged or cut off anywhere. What
// is recovered is what a prefix of the file says, behind damage nothing counts, and a state that is
// written as a checkpoint is read back the same.
//
// Input: damage (position in 2 bytes, the bits to flip in 1; 0 cuts the file there), whether there
// is a checkpoint (bit 0), another boot (bit 1) and a RUN of format 4 (bit 2), then records: a
// type, a length and the payload. The checkpoint, when there is one, is the first of them, without
// a type.
#include "store/ledger_format.h"
#include "store/ledger_recovery.h"

#include <string>
#include <utility>
#include <vector>

#include "base/byte_order.h"
#include "base/varint.h"
#include "input.h"
#include "store/record.h"

using namespace gigafetch;
using namespace gigafetch::store;
using fuzz::Input;
using fuzz::require;

namespace {

constexpr uint64_t kJob = 0x1112131415161718, kRun = 0x2122232425262728;
const std::string kBoot = "boot";

class Writer {
 public:
  Writer(Input& input, bool has_checkpoint, bool has_places) {
    file_ = kLedgerMagic;
    put_le<uint32_t>(file_, kLedgerVersion);
    put_le<uint32_t>(file_, 0);
    put_le<uint64_t>(file_, kJob);
    add(LedgerRecord::identity, kJob,
        encode_identity({"http://h", "marker", "files", "tree", {}, {}}));
    if (has_checkpoint) add(LedgerRecord::checkpoint, kJob, input.take_bytes(input.take_byte()));
    std::string run;
    put_le<uint64_t>(run, kRun);
    put_sized(run, kBoot);
    for (uint64_t value = 1; has_places && value <= 8; ++value)
      put_varint(run, value);
    add(LedgerRecord::run, kJob, run);
    base_end = file_.size();
    while (!input.rest().empty()) {
      const auto type = static_cast<LedgerRecord>(input.take_byte() & (kEndOfFlush | 15));
      const std::string_view payload = input.take_bytes(input.take_byte());
      const LedgerRecord plain = type_of(static_cast<uint8_t>(type));
      const bool is_run = plain == LedgerRecord::run;
      add(type, is_of_job(plain) ? kJob : run_, payload);
      if (plain == LedgerRecord::synced) note_synced(payload);
      if (is_run && payload.size() >= sizeof run_) run_ = get_le<uint64_t>(payload.data());
    }
  }
  const std::string& file() const { return file_; }
  // What the SYNCED records in the first `size` bytes cover.
  uint64_t covered_in(uint64_t size) const {
    uint64_t covered = 0;
    for (const auto& [end, covers] : synced_)
      covered = end <= size ? std::max(covered, covers) : covered;
    return covered;
  }
  size_t base_end = 0;

 private:
  void note_synced(std::string_view payload) {
    VarintReader in(payload);
    synced_.emplace_back(file_.size(), in.take());
  }
  void add(LedgerRecord type, uint64_t seed, std::string_view payload) {
    append_record(file_, file_.size(), seed, static_cast<uint8_t>(type), payload);
  }
  std::string file_;
  uint64_t run_ = kRun;
  std::vector<std::pair<uint64_t, uint64_t>> synced_;  // end of the record, what it covers
};

void check_same(const LedgerState& a, const LedgerState& b) {
  require(a.totals() == b.totals() && a.frontier() == b.frontier() &&
              a.failures() == b.failures() && a.next_page() == b.next_page() &&
              a.relisting() == b.relisting() && a.open() == b.open() && a.shards() == b.shards(),
          "the states are the same");
}

// Every listed name is in one place. (The names of retry pages are listed with their first page.)
void check_balance(const LedgerState& state) {
  const LedgerTotals& t = state.totals();
  uint64_t open = 0;
  for (const auto& [number, page] : state.open())
    open += page.retry ? 0 : page.facts.names - page.settled.count();
  require(t.listed == t.stored + t.failed + t.rejected + t.duplicates + open,
          "listed = stored + failed + rejected + duplicates + open");
}

void check_checkpoint(const LedgerState& state) {
  const std::string written = state.checkpoint(7);
  LedgerState again;
  require(again.restore(written), "a checkpoint is read back");
  check_same(again, state);
  require(again.checkpoint(7) == written, "a checkpoint is written again the same");
}

// A cut may take the last RUN away, and with it the boot that the rest is of.
Result<LedgerImage> recover_as_of_its_boot(std::string_view file) {
  const Result<LedgerImage> image = recover_ledger(file, Surroundings(), false);
  if (!image) return image;
  Surroundings then;
  then.here = image.value().last_run;
  then.cache_is_marked = true;
  return recover_ledger(file, then, false);
}

// Recovers, and checks what holds for every file.
Result<LedgerImage> recover(std::string_view file, const std::string& boot, bool repair) {
  Result<LedgerImage> image = recover_ledger(file, Surroundings::of_boot(boot), repair);
  if (!image) {
    require(image.failure().code == ErrorCode::malformed, "a refused ledger is malformed");
    return image;
  }
  require(image->base_end <= image->size && image->size + image->cut == file.size(),
          "what counts and what is cut are the file");
  const Result<LedgerImage> prefix = recover_as_of_its_boot(file.substr(0, image->size));
  require(prefix.ok(), "what counts is whole in itself");
  require(prefix.value().cut == 0, "nothing more is to be cut of what counts");
  check_same(prefix.value().state, image->state);
  check_checkpoint(image->state);
  return image;
}

std::string damaged(std::string file, size_t at, uint8_t flip) {
  if (flip == 0) return file.substr(0, at);
  file[at] = static_cast<char>(file[at] ^ flip);
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const size_t position = input.take_byte() * size_t{256} + input.take_byte();
  const uint8_t flip = input.take_byte();
  const uint8_t choice = input.take_byte();
  const bool has_checkpoint = (choice & 1) != 0;
  const std::string boot = (choice & 2) != 0 ? "another" : kBoot;
  const Writer writer(input, has_checkpoint, (choice & 4) != 0);
  const std::string& file = writer.file();

  const Result<LedgerImage> whole = recover(file, boot, true);
  require(whole.ok() || has_checkpoint, "a base that says nothing wrong is read");
  if (!whole) return 0;
  require(whole.value().base_end == writer.base_end, "the base ends behind the run");
  if (!has_checkpoint) check_balance(whole.value().state);

  const size_t at = position % file.size();
  const std::string bad = damaged(file, at, flip);
  const Result<LedgerImage> left = recover(bad, boot, false);
  require(!left.ok() || left.value().size <= at, "behind damage nothing counts");
  require(!left.ok() || flip == 0 || at >= writer.covered_in(whole.value().size),
          "damage below what was synced is refused");
  require(!left.ok() || at >= writer.base_end, "damage in the base is refused");
  const Result<LedgerImage> repaired = recover(bad, boot, true);
  require(repaired.ok() == (at >= writer.base_end), "damage behind the base can be repaired");
  if (!repaired.ok()) return 0;
  require(repaired.value().size <= std::max<size_t>(at, writer.base_end),
          "the repair cuts before the damage");
  if (left.ok())
    require(left.value().size == repaired.value().size, "a repair takes no more than is needed");
  return 0;
}
