// Recovery of the ledger: whatever the bytes, it ends with a state that adds up or with a refusal;
// and a cut leaves a state that was there before.
//
// Input: when the first byte is 0x80 or more, the bytes of a ledger. Otherwise records to be framed
// with checksums that are right: type, length, payload, and so on, behind a RUN of format 4 where
// the first byte has 0x40. Before them stand two bytes that tell where the file is then cut.
#include <string>

#include "base/byte_order.h"
#include "input.h"
#include "store/ledger_format.h"
#include "store/ledger_recovery.h"
#include "store/record.h"

using namespace gigafetch;
using namespace gigafetch::store;
using fuzz::require;

namespace {

constexpr uint8_t kRaw = 0x80;
constexpr uint8_t kPlaces = 0x40;
constexpr uint64_t kJobId = 0x0102030405060708;
constexpr uint64_t kRunId = 0x1112131415161718;
constexpr std::string_view kBoot = "boot";

void check_state(const LedgerState& state) {
  const LedgerTotals& totals = state.totals();
  uint64_t open = 0;
  for (const auto& [number, page] : state.open()) {
    require(page.settled.count() < page.facts.names, "an open page has names that are not settled");
    if (!page.retry) open += page.facts.names - page.settled.count();
  }
  const uint64_t settled = totals.stored + totals.failed + totals.rejected + totals.duplicates;
  require(totals.listed == settled + open, "what is listed is settled or open");
  const std::string checkpoint = state.checkpoint(state.archive_bytes());
  LedgerState again;
  require(again.restore(checkpoint), "a checkpoint can be read");
  require(again.checkpoint(again.archive_bytes()) == checkpoint, "and says the same again");
}

struct Outcome {
  bool refused = false;
  bool rebooted = false;
  size_t size = 0;  // bytes that count
};

Outcome recover(std::string_view file, bool repair, bool check) {
  Result<LedgerImage> image = recover_ledger(file, Surroundings::of_boot(kBoot), repair);
  if (!image) {
    require(image.failure().code == ErrorCode::malformed, "a refused ledger is malformed");
    return {true, false, 0};
  }
  require(image->size + image->cut == file.size(), "what counts and what is cut is the file");
  if (check) check_state(image->state);
  return {false, image->distrust != Distrust::none, image->size};
}

// That of format 4 has places: here the first numbers there are.
void run_payload(std::string& out, bool has_places) {
  put_le<uint64_t>(out, kRunId);
  out += static_cast<char>(kBoot.size());
  out += kBoot;
  for (char value = 0; has_places && value < 8; ++value)
    out += value;
}

std::string framed(std::string_view records, bool has_places) {
  std::string file(kLedgerMagic);
  put_le<uint32_t>(file, kLedgerVersion);
  put_le<uint32_t>(file, 0);
  put_le<uint64_t>(file, kJobId);
  std::string run;
  run_payload(run, has_places);
  const auto append = [&](LedgerRecord type, std::string_view payload) {
    const bool of_job =
        is_of_job(type_of(static_cast<uint8_t>(type))) || type == LedgerRecord::identity;
    const uint64_t seed = of_job ? kJobId : kRunId;
    append_record(file, file.size(), seed, static_cast<uint8_t>(type), payload);
  };
  append(LedgerRecord::identity, encode_identity({"http://h", "marker", "files", "tree", {}, {}}));
  append(LedgerRecord::run, run);
  while (records.size() >= 2) {
    const auto type = static_cast<LedgerRecord>(records[0]);
    const size_t length = std::min<size_t>(static_cast<uint8_t>(records[1]), records.size() - 2);
    append(type, records.substr(2, length));
    records.remove_prefix(2 + length);
  }
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  if (size < 3) return 0;
  if (data[0] >= kRaw) {
    recover(input.substr(1), false, false);
    recover(input.substr(1), true, false);
    return 0;
  }
  const std::string file = framed(input.substr(2), (data[0] & kPlaces) != 0);
  const Outcome whole = recover(file, true, true);
  require(!whole.refused, "a ledger with a base can be repaired");
  recover(file, false, true);
  const size_t cut = (data[0] * 256u + data[1]) % (file.size() + 1);
  const Outcome part = recover(std::string_view(file).substr(0, cut), true, true);
  require(part.refused || part.size <= cut, "a cut leaves no more than was there");
  // Of a file that another boot has written to, less counts than of a part without that.
  require(part.refused || whole.rebooted || part.size <= whole.size, "and no more than counted");
  return 0;
}
