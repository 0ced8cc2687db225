#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <utility>

#include "base/unique_fd.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "supervisor/child.h"
#include "supervisor/limits.h"

namespace gigafetch::cli {
namespace {

constexpr double kBillion = 1e9;
constexpr double kTargetCores = 16;
constexpr Millis kReapPatience{2'000};

// What is told along the way. Whether standard output can be written is for the summaries to say.
void say(std::string_view text) {
  (void)print_output(text);
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

// Where the files go: the folder given, or a temporary one that is removed at the end.
class DemoFolder {
 public:
  static Result<DemoFolder> make(const std::string& given) {
    if (!given.empty()) return DemoFolder(given, false);
    std::string path = (std::filesystem::temp_directory_path() / "gigafetch-demo-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr)
      return errno_error(errno, "cannot make a temporary folder");
    return DemoFolder(path, true);
  }
  DemoFolder(DemoFolder&& other) noexcept
      : path_(std::move(other.path_)), remove_(std::exchange(other.remove_, false)) {}
  DemoFolder& operator=(DemoFolder&&) = delete;
  ~DemoFolder() {
    if (!remove_) return;
    say("Removing the files...\n");
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  DemoFolder(std::string path, bool remove) : path_(std::move(path)), remove_(remove) {}
  std::string path_;
  bool remove_;
};

// What the run says about a billion files on 16 such cores: there, the origin is elsewhere, so what
// counts is the processor time that a file costs on this side.
void print_outlook(const Summary& summary) {
  const supervisor::Report& report = summary.report;
  const auto stored = static_cast<double>(report.figures.stored);
  if (stored == 0) return;
  const double at_pace = kBillion * report.seconds / stored;
  const double by_cpu = kBillion * report.cpu_seconds / stored / kTargetCores;
  say(fmt::format(
      "A billion files would take {} at this pace on this machine, which the origin shares,\n"
      "and {} of processor time on each of {} such cores that have the origin elsewhere.\n",
      as_duration(at_pace), as_duration(by_cpu), kTargetCores));
}

Result<ExitStatus> run_demo(const DemoOptions& options) {
  const uint32_t workers = options.workers > 0
                               ? options.workers
                               : static_cast<uint32_t>(supervisor::allowed_cpus().size());
  Result<DemoFolder> folder = DemoFolder::make(options.out);
  if (!folder) return std::move(folder).failure();
  Result<OriginProcess> origin = OriginProcess::start(options, workers);
  if (!origin) return std::move(origin).failure();

  FetchOptions fetching;
  fetching.origin.url = origin->url();
  fetching.out = folder->path();
  fetching.layout = "fanout";
  fetching.worker.workers = workers;
  fetching.worker.pipeline = options.pipeline;
  say(fmt::format("An origin serves {} files of {} bytes at {}.\n", with_commas(options.files),
                  options.size, origin->url()));
  say(fmt::format("\n$ gigafetch fetch --layout fanout --pipeline {} {} {}\n", options.pipeline,
                  origin->url(), folder->path()));
  Result<Summary> fetched = fetch(fetching);
  if (!fetched) return std::move(fetched).failure();
  ExitStatus status = print_summary(*fetched, false);
  if (status != ExitStatus::complete) return status;

  VerifyOptions verifying;
  verifying.origin.url = origin->url();
  verifying.out = folder->path();
  verifying.worker.workers = workers;
  say(fmt::format("\n$ gigafetch verify {} {}\n", origin->url(), folder->path()));
  Result<Summary> verified = verify(verifying);
  if (!verified) return std::move(verified).failure();
  status = print_summary(*verified, false);
  if (status != ExitStatus::complete) return status;

  say("\nEvery listed file is stored once; nothing is missing and nothing is extra.\n");
  print_outlook(*fetched);
  return ExitStatus::complete;
}

}  // namespace

ExitStatus demo_command(const DemoOptions& options) {
  init_log(LogLevel::warning, "gigafetch");
  const Result<ExitStatus> status = run_demo(options);
  return status ? status.value() : finish(status.failure());
}

}  // namespace gigafetch::cli
