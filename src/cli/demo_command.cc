#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/escape.h"
#include "base/unique_fd.h"
#include "cli/commands.h"
#include "cli/demo_folder.h"
#include "cli/fetch.h"
#include "cli/summary.h"
#include "origin/catalogue.h"
#include "store/shard_name.h"
#include "supervisor/child.h"
#include "supervisor/limits.h"

namespace gigafetch::cli {
namespace {

constexpr double kBillion = 1e9;
constexpr double kTargetCores = 16;
constexpr Millis kReapPatience{2'000};
constexpr int kReapPeriodMs = 2;
constexpr int kZstdLevel = 1;
constexpr size_t kShownShards = 4;
constexpr size_t kShownBytes = 100;

// At once, for who watches; and whoever does not read must not end the program.
void say(std::string_view text) {
  (void)print_output(fmt::format("{}\n", text));
}

// The origin as a process of its own, as a user would start it.
class OriginProcess {
 public:
  static Result<OriginProcess> start(const DemoOptions& options, uint32_t workers) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "pipe");
    UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);
    Result<pid_t> pid = supervisor::fork_child("gigafetch:demo", [&] {
      ::dup2(write_end.get(), STDOUT_FILENO);
      OriginServiceOptions origin;
      origin.listen = "127.0.0.1:0";
      origin.files = options.files;
      origin.size = options.size;
      origin.workers = workers;
      return static_cast<int>(origin_command(origin));
    });
    if (!pid) return std::move(pid).failure();
    write_end.reset();
    OriginProcess process(*pid);
    // "listening on http://127.0.0.1:PORT\n"
    char c;
    while (::read(read_end.get(), &c, 1) == 1 && c != '\n')
      process.url_ += c;
    const size_t url = process.url_.find("http://");
    if (url == std::string::npos) return error(ErrorCode::io, "the demo's origin did not start");
    process.url_.erase(0, url);
    return process;
  }

  OriginProcess(OriginProcess&& other) noexcept
      : pid_(std::exchange(other.pid_, 0)), url_(std::move(other.url_)) {}
  OriginProcess& operator=(OriginProcess&&) = delete;
  ~OriginProcess() {
    supervisor::Accounts ignored;
    if (pid_ != 0) supervisor::kill_and_reap({pid_}, kReapPatience, ignored);
  }

  const std::string& url() const { return url_; }

 private:
  explicit OriginProcess(pid_t pid) : pid_(pid) {}
  pid_t pid_;
  std::string url_;
};

// The files of a packed demo, other than the state folder.
struct Shard {
  std::string file;
  uint64_t bytes = 0;
};

std::vector<Shard> shards_in(const std::string& folder) {
  namespace fs = std::filesystem;
  std::vector<Shard> shards;
  std::error_code failed;
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    const std::string file = entry->path().filename().string();
    if (store::shard_of_file(file)) shards.push_back({file, entry->file_size(failed)});
  }
  std::ranges::sort(shards, {}, &Shard::file);
  return shards;
}

uint64_t bytes_of(const std::vector<Shard>& shards) {
  uint64_t bytes = 0;
  for (const Shard& shard : shards)
    bytes += shard.bytes;
  return bytes;
}

class Demo {
 public:
  Demo(const DemoOptions& options, std::string out)
      : options_(options),
        out_(std::move(out)),
        shown_out_(printable(out_)),
        workers_(options.workers > 0 ? options.workers
                                     : static_cast<uint32_t>(supervisor::allowed_cpus().size())) {}

  Result<ExitStatus> run() {
    Result<OriginProcess> origin = OriginProcess::start(options_, workers_);
    if (!origin) return std::move(origin).failure();
    url_ = origin->url();
    say(fmt::format("An origin (gigafetch origin) serves {} files of {} bytes at {}.",
                    with_commas(options_.files), options_.size, url_));
    Result<Summary> fetched = fetch_all();
    if (!fetched) return std::move(fetched).failure();
    ExitStatus status = print_summary(*fetched, false);
    if (status != ExitStatus::complete) return status;
    Result<Summary> verified = verify_all();
    if (!verified) return std::move(verified).failure();
    status = print_summary(*verified, false);
    if (status != ExitStatus::complete) return status;
    say("\nEvery listed file is stored once; nothing is missing and nothing is extra.");
    if (Result<void> looked = look_inside(); !looked) return std::move(looked).failure();
    print_outlook(*fetched);
    return ExitStatus::complete;
  }

 private:
  bool packed() const { return options_.sink == "tar"; }

  Result<Summary> fetch_all() {
    FetchOptions fetching;
    fetching.origin.url = url_;
    fetching.out = out_;
    fetching.worker.workers = workers_;
    fetching.worker.pipeline = options_.pipeline;
    std::string how;
    if (packed()) {
      fetching.sink = "tar";
      fetching.zstd = kZstdLevel;
      how = fmt::format("--sink tar --zstd {}", kZstdLevel);
      say("Fetching them, packed into a compressed archive for each worker:");
    } else {
      fetching.layout = "fanout";
      how = "--layout fanout";
      say("Fetching them, each into a file of its own:");
    }
    say(fmt::format("\n$ gigafetch fetch {} --pipeline {} {} {}", how, options_.pipeline, url_,
                    shown_out_));
    return fetch(fetching);
  }

  Result<Summary> verify_all() const {
    VerifyOptions verifying;
    verifying.origin.url = url_;
    verifying.out = out_;
    verifying.worker.workers = workers_;
    say("\nListing again, and reading all that is on disk, to compare it with what was stored:");
    say(fmt::format("\n$ gigafetch verify {} {}", url_, shown_out_));
    return verify(verifying);
  }

  // One file from the middle, and what the folder holds.
  Result<void> look_inside() const {
    if (packed()) {
      const std::vector<Shard> shards = shards_in(out_);
      say(fmt::format("{} shard{} hold{} them, {} in all, which tar reads (zstd -d | tar tf -):",
                      shards.size(), shards.size() == 1 ? "" : "s", shards.size() == 1 ? "s" : "",
                      with_unit(bytes_of(shards))));
      for (const Shard& shard : std::span(shards).first(std::min(shards.size(), kShownShards)))
        say(fmt::format("  {}  {}", shard.file, with_unit(shard.bytes)));
      if (shards.size() > kShownShards) say("  ...");
    }
    CatOptions looking;
    looking.out = out_;
    const origin::Catalogue catalogue(options_.files, options_.size, OriginServiceOptions().seed);
    catalogue.append_name(looking.name, options_.files / 2);
    say("Looking at one of them:");
    say(fmt::format("\n$ gigafetch cat {} {}", shown_out_, looking.name));
    return show_output_of(looking);
  }

  // Its first bytes; cat runs in a process of its own, for its output.
  static Result<void> show_output_of(const CatOptions& looking) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "pipe");
    UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);
    Result<pid_t> pid = supervisor::fork_child("gigafetch:cat", [&] {
      ::dup2(write_end.get(), STDOUT_FILENO);
      return static_cast<int>(cat_command(looking));
    });
    if (!pid) return std::move(pid).failure();
    write_end.reset();
    std::string shown;
    uint64_t bytes = 0;
    char buffer[64 * 1024];
    for (ssize_t got; (got = ::read(read_end.get(), buffer, sizeof buffer)) > 0;) {
      const auto size = static_cast<size_t>(got);
      shown.append(buffer, std::min(size, kShownBytes - shown.size()));
      bytes += size;
    }
    say(bytes > shown.size() ? fmt::format("{}... ({} bytes)", shown, with_commas(bytes)) : shown);
    supervisor::Accounts ignored;
    supervisor::Death death;
    while (!supervisor::reap_child(*pid, death, ignored) && death.pid == 0)
      ::poll(nullptr, 0, kReapPeriodMs);
    if (death.wait_status == 0) return {};
    return error(ErrorCode::io, "cat {}", death.text());
  }

  // What the run says about a billion files on 16 such cores: there, the origin is elsewhere, so
  // what counts is the processor time that a file costs on this side.
  void print_outlook(const Summary& summary) const {
    const supervisor::Report& report = summary.report;
    const auto stored = static_cast<double>(report.figures.stored);
    if (stored == 0) return;
    const double at_pace = kBillion * report.seconds / stored;
    const double by_cpu = kBillion * report.cpu_seconds / stored / kTargetCores;
    const auto packed_bytes =
        static_cast<uint64_t>(static_cast<double>(bytes_of(shards_in(out_))) * kBillion / stored);
    const std::string_view how = packed() ? "packed so" : "each in a file of its own";
    say(
        fmt::format("\nA billion files would take, {}, {} at this pace on this machine, which the "
                    "origin shares,\n"
                    "and {} of processor time on each of {} such cores that have the origin "
                    "elsewhere{}.",
                    how, as_duration(at_pace), as_duration(by_cpu), kTargetCores,
                    packed() ? fmt::format("; {} of disk", with_unit(packed_bytes)) : ""));
  }

  const DemoOptions& options_;
  const std::string out_;
  const std::string shown_out_;
  const uint32_t workers_;
  std::string url_;
};

}  // namespace

ExitStatus demo_command(const DemoOptions& options) {
  init_log(LogLevel::warning, "gigafetch");
  Result<DemoFolder> folder = DemoFolder::make(options.out);
  if (!folder) return finish(folder.failure());
  return folder->run_in([&] {
    const Result<ExitStatus> status = Demo(options, folder->path()).run();
    return status ? status.value() : finish(status.failure());
  });
}

}  // namespace gigafetch::cli
