// What the ledger costs a file: PAGE, STORED and the writes of a job, nothing else.
//
//     bench/ledger FOLDER [NAMES_A_PAGE] [NAMES_A_BATCH]
//
// Records 10,000,000 files into a ledger in FOLDER, which must be empty, with a checkpoint whenever
// one is due, and prints CPU and bytes per file. Beside the CPU per file of a whole fetch
// (bench/run) it is the ledger's share.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstdlib>

#include "base/name_list.h"
#include "store/ledger.h"

using namespace gigafetch;
using namespace gigafetch::store;

namespace {

constexpr uint64_t kFiles = 10'000'000;

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

template <typename T>
T must(Result<T> result) {
  if (result) return std::move(result).value();
  fmt::print(stderr, "{}\n", result.failure().text);
  std::exit(1);
}

void must(const Result<void>& result) {
  if (result) return;
  fmt::print(stderr, "{}\n", result.failure().text);
  std::exit(1);
}

uint64_t file_bytes(int folder_fd, const char* file) {
  struct stat there;
  return ::fstatat(folder_fd, file, &there, 0) == 0 ? static_cast<uint64_t>(there.st_size) : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return fmt::print(stderr, "usage: ledger FOLDER [PAGE] [BATCH]\n"), 2;
  const auto page_names = static_cast<uint32_t>(argc > 2 ? std::atoi(argv[2]) : 1000);
  const auto batch_names = static_cast<uint32_t>(argc > 3 ? std::atoi(argv[3]) : 1000);
  const int folder_fd = ::open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  Ledger ledger = must(Ledger::create(folder_fd, {"http://h", "marker", "files", "tree", {}, {}}));
  NameList names;
  for (uint32_t i = 0; i < page_names; ++i)
    names.append(fmt::format("file{:010}-abcdef01", i));

  const double begin = cpu_seconds();
  uint64_t checkpoints = 0;
  for (uint64_t listed = 0; listed < kFiles; listed += page_names) {
    PageFacts facts;
    facts.next = PageFacts::Next::marker;
    facts.marker = fmt::format("n{}", listed);
    facts.listed = facts.names = page_names;
    facts.names_hash = hash_of_names(names.bytes());
    const uint64_t page = ledger.add_page(facts);
    must(ledger.flush());
    for (uint32_t first = 0; first < page_names; first += batch_names) {
      ledger.add_stored(page, {first, std::min(first + batch_names, page_names)});
      ledger.add_content(page, 100ull * batch_names, {listed, first});
      must(ledger.flush());
    }
    if (!ledger.wants_checkpoint()) continue;
    SyncJob job = must(ledger.begin_sync(-1));
    must(job.run());
    must(ledger.finish_sync(job));
    ++checkpoints;
  }
  const double used = cpu_seconds() - begin;
  const uint64_t bytes = file_bytes(folder_fd, "ledger") + file_bytes(folder_fd, "pages");
  fmt::print(
      "{} names a page, {} a batch: {:.4f} us of CPU a file, {} checkpoints, {:.3f} bytes a file\n",
      page_names, batch_names, used * 1e6 / static_cast<double>(kFiles), checkpoints,
      static_cast<double>(bytes) / static_cast<double>(kFiles));
  return 0;
}
