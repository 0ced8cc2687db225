#include "store/ledger_format.h"

#include "base/byte_order.h"
#include "base/varint.h"
#include "store/record.h"

namespace gigafetch::store {
namespace {

std::string header(uint64_t job_id) {
  std::string out(kLedgerMagic);
  put_le<uint32_t>(out, kLedgerVersion);
  put_le<uint32_t>(out, 0);
  put_le<uint64_t>(out, job_id);
  return out;
}

void append_base(std::string& out, uint64_t seed, LedgerRecord type, std::string_view payload) {
  append_record(out, out.size(), seed, static_cast<uint8_t>(type), payload);
}

}  // namespace

std::string encode_run(const RunRecord& run) {
  std::string out;
  put_le<uint64_t>(out, run.run_id);
  put_sized(out, run.place.boot_id);
  for (const FolderPlace& folder : {run.place.output, run.place.state}) {
    for (const uint64_t value : {folder.device, folder.mount, folder.inode, folder.born})
      put_varint(out, value);
  }
  return out;
}

std::optional<RunRecord> decode_run(std::string_view payload) {
  VarintReader in(payload);
  RunRecord run;
  run.run_id = in.take_u64();
  run.place.boot_id = in.take_text();
  if (in.ok_at_end()) return run;
  for (FolderPlace* folder : {&run.place.output, &run.place.state}) {
    for (uint64_t* field : {&folder->device, &folder->mount, &folder->inode, &folder->born})
      *field = in.take();
  }
  run.flushes_are_marked = true;
  return in.ok_at_end() ? std::optional(std::move(run)) : std::nullopt;
}

std::string ledger_base(uint64_t job_id, const JobIdentity& identity,
                        const std::optional<std::string>& checkpoint, std::string_view run) {
  std::string out = header(job_id);
  append_base(out, job_id, LedgerRecord::identity, encode_identity(identity));
  if (checkpoint) append_base(out, job_id, LedgerRecord::checkpoint, *checkpoint);
  append_base(out, job_id, LedgerRecord::run, run);
  return out;
}

}  // namespace gigafetch::store
