// What the ledger costs a file: PAGE, STORED and the writes of a job, checkpoints as they are due;
// and to read it back. By the names on a page and in a batch; in a folder below TMPDIR.
#include "store/ledger.h"

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "base/name_list.h"

namespace gigafetch::store {
namespace {

// A job's ledger in a folder of its own, written as a coordinator does.
class Writer {
 public:
  Writer(uint32_t page_names, uint32_t batch_names)
      : page_names_(page_names), batch_names_(batch_names) {
    std::string pattern = (std::filesystem::temp_directory_path() / "gigafetch-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) return;
    folder_ = pattern;
    fd_ = UniqueFd(::open(pattern.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    auto made = Ledger::create(fd_.get(), {"http://h", "marker", "files", "tree", {}, {}});
    if (made) ledger_.emplace(std::move(made).value());
    NameList names;
    for (uint32_t i = 0; i < page_names; ++i)
      names.append(fmt::format("file{:010}-abcdef01", i));
    facts_.next = PageFacts::Next::marker;
    facts_.listed = facts_.names = page_names;
    facts_.names_hash = hash_of_names(names.bytes());
  }
  ~Writer() {
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Lists a page and stores all of it. False when something fails.
  bool add_page() {
    if (!ledger_) return false;
    facts_.marker = fmt::format("n{}", pages_++ * page_names_);
    const uint64_t page = ledger_->add_page(facts_);
    if (!ledger_->flush()) return false;
    for (uint32_t first = 0; first < page_names_; first += batch_names_) {
      ledger_->add_stored(page, {first, std::min(first + batch_names_, page_names_)});
      ledger_->add_content(page, 100ull * batch_names_, {pages_, first});
      if (!ledger_->flush()) return false;
    }
    return true;
  }

  bool write_anew_if_due() {
    if (!ledger_->wants_checkpoint()) return true;
    auto job = ledger_->begin_sync(-1);
    return job && job.value().run() && ledger_->finish_sync(job.value());
  }

  double bytes_per_file() const {
    uint64_t bytes = 0;
    for (const char* file : {"ledger", "pages"}) {
      struct stat there;
      if (::fstatat(fd_.get(), file, &there, 0) == 0) bytes += static_cast<uint64_t>(there.st_size);
    }
    return static_cast<double>(bytes) / static_cast<double>(pages_ * page_names_);
  }

  std::string content() const {
    std::ifstream in(folder_ / "ledger", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }

 private:
  uint32_t page_names_;
  uint32_t batch_names_;
  std::filesystem::path folder_;
  UniqueFd fd_;
  std::optional<Ledger> ledger_;
  PageFacts facts_;
  uint64_t pages_ = 0;
};

void record(benchmark::State& state) {
  Writer writer(static_cast<uint32_t>(state.range(0)), static_cast<uint32_t>(state.range(1)));
  for (auto _ : state) {
    if (!writer.add_page() || !writer.write_anew_if_due()) return state.SkipWithError("failed");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.counters["bytes_per_file"] = writer.bytes_per_file();
  state.SetLabel("file");
}
BENCHMARK(record)
    ->Name("ledger/record")
    ->Args({1000, 100})
    ->Args({1000, 1000})
    ->Args({10'000, 1000});

void recover(benchmark::State& state) {
  Writer writer(static_cast<uint32_t>(state.range(0)), 1000);
  for (int page = 0; page < 200; ++page)
    if (!writer.add_page()) return state.SkipWithError("failed");
  const std::string file = writer.content();
  const auto boot_id = current_boot_id();
  const Surroundings here = Surroundings::of_boot(boot_id.value());
  for (auto _ : state) {
    const auto image = recover_ledger(file, here, false);
    if (!image || image.value().state.totals().pages != 200) {
      return state.SkipWithError("not recovered");
    }
  }
  state.SetItemsProcessed(state.iterations() * 200);
  state.SetLabel("page");
}
BENCHMARK(recover)->Name("ledger/recover")->Arg(1000)->Arg(10'000);

}  // namespace
}  // namespace gigafetch::store
