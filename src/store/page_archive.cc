#include "store/page_archive.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/io.h"
#include "base/unique_fd.h"
#include "store/ledger_fields.h"
#include "store/record.h"
#include "store/regular_file.h"

namespace gigafetch::store {
namespace {

constexpr uint8_t kPage = 1;

}  // namespace

std::string archive_records(const std::vector<DonePage>& pages, uint64_t offset, uint64_t job_id) {
  std::string out, payload;
  for (const DonePage& page : pages) {
    payload.clear();
    put_done_page(payload, page);
    append_record(out, offset + out.size(), job_id, kPage, payload);
  }
  return out;
}

Result<void> append_to_archive(int state_fd, uint64_t offset, std::string_view records) {
  const UniqueFd fd = open_regular(state_fd, kArchiveFile, O_WRONLY | O_CREAT, 0600);
  if (!fd) return not_opened(errno, "cannot open the archive of pages");
  if (::ftruncate(fd.get(), static_cast<off_t>(offset)) != 0 ||
      ::lseek(fd.get(), static_cast<off_t>(offset), SEEK_SET) < 0) {
    return errno_error(errno, "cannot cut the archive of pages");
  }
  if (const int failed = write_all(fd.get(), records); failed != 0) {
    return errno_error(failed, "cannot write the archive of pages");
  }
  if (::fdatasync(fd.get()) != 0) return errno_error(errno, "cannot sync the archive of pages");
  return {};
}

Result<void> read_archive(int state_fd, uint64_t job_id, uint64_t size,
                          const std::function<void(const DonePage& page)>& on_page) {
  if (size == 0) return {};
  const UniqueFd fd = open_regular(state_fd, kArchiveFile, O_RDONLY);
  if (!fd) return not_opened(errno, "cannot open the archive of pages");
  RecordFile records(fd.get(), job_id, 0, size);
  DonePage page;
  Record record;
  while (!records.at_end()) {
    Result<void> read = records.next(record);
    if (!read) return error(ErrorCode::malformed, "the archive of pages: {}", read.failure().text);
    VarintReader in(record.payload);
    page = take_done_page(in);
    if (record.type != kPage || !in.ok_at_end()) {
      return error(ErrorCode::malformed, "the archive of pages is damaged before byte {}",
                   record.end);
    }
    on_page(page);
  }
  return {};
}

}  // namespace gigafetch::store
