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

std::string run_payload(uint64_t run_id, std::string_view boot_id) {
  std::string out;
  put_le<uint64_t>(out, run_id);
  put_sized(out, boot_id);
  return out;
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
