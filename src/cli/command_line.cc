#include "cli/command_line.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <functional>
#include <sstream>

#include "base/escape.h"
#include "base/standard_error.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/summary.h"
#include "origin/catalogue.h"
#include "wire/messages.h"

namespace gigafetch::cli {
namespace {

constexpr double kMaxSeconds = 86'400;

const char kExitStatus[] =
    "Exit status: 0 all that was listed is stored; 1 the run could not go on;\n"
    "2 wrong usage; 3 finished, but some files failed (failed.jsonl in the state\n"
    "folder names them); 4 interrupted.";

const char kExamples[] =
    "Examples:\n"
    "  gigafetch fetch http://files.example:8080 /data/files\n"
    "  gigafetch fetch --layout fanout --pipeline 16 http://10.0.0.7/store /data/files\n"
    "  gigafetch verify --content http://files.example:8080 /data/files\n"
    "  gigafetch ls http://files.example:8080 | wc -l\n"
    "\n"
    "'gigafetch COMMAND --help' says what a command takes.";

// Checks that --help says nothing about: its texts name the values themselves.
CLI::Validator quiet(CLI::Validator check) {
  return check.description("");
}

// Decimal numbers as people write them. Stricter than CLI11's own reading, which takes octal and
// hexadecimal ones, wraps negative ones round and lets "nan" through every range.
template <typename Number>
CLI::Validator between(Number low, Number high) {
  const auto check = [low, high](const std::string& text) -> std::string {
    Number value{};
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, value);
    const bool octal = text.size() > 1 && text[0] == '0' && text.find('.') == text.npos;
    const bool in_range = value >= low && value <= high;  // false for "nan"
    if (read.ec == std::errc() && read.ptr == end && !octal && in_range) return {};
    return fmt::format("takes a number from {} to {}, not '{}'", low, high, printable(text));
  };
  return CLI::Validator(check, "");
}

CLI::Validator any_count() {
  return between(uint64_t{0}, UINT64_MAX);
}

CLI::Validator one_of(std::vector<std::string> values) {
  const auto check = [values = std::move(values)](const std::string& text) -> std::string {
    if (std::find(values.begin(), values.end(), text) != values.end()) return {};
    return fmt::format("takes {}, not '{}'", fmt::join(values, ", "), printable(text));
  };
  return CLI::Validator(check, "");
}

// An option whose value is the name of a choice.
template <typename Value>
CLI::Option* choice_option(CLI::App& app, const std::string& name, Value& value,
                           const std::vector<std::pair<std::string, Value>>& choices,
                           const std::string& text) {
  std::vector<std::string> names;
  for (const auto& [choice, ignored] : choices)
    names.push_back(choice);
  const auto set = [&value, choices](const std::string& given) {
    for (const auto& [choice, meaning] : choices) {
      if (choice == given) value = meaning;
    }
  };
  return app.add_option_function<std::string>(name, set, text)->check(one_of(std::move(names)));
}

// An option that may be given several times, each time with one value: it must not take the
// arguments behind it for more of them.
CLI::Option* repeated_option(CLI::App& app, const std::string& name,
                             std::vector<std::string>& values, const std::string& text) {
  return app.add_option(name, values, text)->take_all()->allow_extra_args(false);
}

CLI::Validator byte_count() {
  return quiet(CLI::AsSizeValue(false));
}

// "N" or "auto".
void set_pipeline(WorkerOptions& worker, const std::string& text) {
  constexpr uint32_t kMostPipeline = 1024;
  // Twice as many save a worker 0.04 us a file (bench/fetch), and double what a break costs.
  constexpr uint32_t kMostAutomatic = 64;
  if (text == "auto") {
    worker.pipeline_auto = true;
    worker.pipeline = kMostAutomatic;
    return;
  }
  if (!between(1u, kMostPipeline)(const_cast<std::string&>(text)).empty()) {
    throw CLI::ValidationError(
        "--pipeline", fmt::format("takes 'auto' or a number from 1 to {}, not '{}'", kMostPipeline,
                                  printable(text)));
  }
  worker.pipeline_auto = false;
  worker.pipeline = static_cast<uint32_t>(std::stoul(text));
}

CLI::Option* seconds_option(CLI::App& app, const std::string& name, double& value,
                            const std::string& text) {
  return app.add_option(name, value, text)
      ->type_name("SECONDS")
      ->check(between(0.001, kMaxSeconds));
}

void add_origin(CLI::App& app, OriginOptions& origin) {
  app.add_option("URL", origin.url, "The service's base: its listing is at URL/list")
      ->required()
      ->type_name("");
  const char* group = "The service";
  app.add_option("--api", origin.api, "How it lists its names: marker")
      ->type_name("NAME")
      ->check(one_of({"marker"}))
      ->capture_default_str()
      ->group(group);
  repeated_option(app, "--header", origin.headers,
                  "Send this header with every request (repeatable)")
      ->type_name("'K: V'")
      ->group(group);
  app.add_option("--bearer-file", origin.bearer_file,
                 "Send the token in this file as 'Authorization: Bearer'")
      ->type_name("FILE")
      ->group(group);
  group = "When things go wrong";
  app.add_option("--retries", origin.retries, "Further tries for a page or file that fails")
      ->type_name("N")
      ->check(between(0u, 1000u))
      ->capture_default_str()
      ->group(group);
  seconds_option(app, "--connect-timeout", origin.connect_timeout,
                 "Give a connection up after this")
      ->capture_default_str()
      ->group(group);
  seconds_option(app, "--stall-timeout", origin.stall_timeout,
                 "Give an answer up when no byte comes for this long")
      ->capture_default_str()
      ->group(group);
  seconds_option(app, "--list-timeout", origin.list_timeout,
                 "Give a page up that does not begin for this long")
      ->capture_default_str()
      ->group(group);
  app.add_option("--max-page-size", origin.max_page_size,
                 "A larger page ends the listing; K, M, G for powers of 1024 (default: 1G)")
      ->transform(byte_count())
      ->check(any_count())
      ->type_name("BYTES")
      ->group(group);
}

void add_worker(CLI::App& app, WorkerOptions& worker) {
  const char* group = "How fast";
  app.add_option("--workers", worker.workers, "Worker processes (default: one per processor)")
      ->type_name("N")
      ->check(between(1u, 1024u))
      ->group(group);
  app.add_option("--connections", worker.connections, "Connections per worker")
      ->type_name("N")
      ->check(between(1u, 65'536u))
      ->capture_default_str()
      ->group(group);
  app.add_option_function<std::string>(
         "--pipeline", [&worker](const std::string& text) { set_pipeline(worker, text); },
         "Requests in flight per connection, or 'auto' to find it [1]")
      ->type_name("N")
      ->group(group);
  app.add_option("--batch", worker.batch, "Names handed to a worker at a time, at most")
      ->type_name("N")
      ->check(between(1u, wire::kMaxBatchNames))
      ->capture_default_str()
      ->group(group);
  app.add_option("--rate", worker.rate, "Requests a second, at most, over all workers")
      ->type_name("N")
      ->check(between(0.001, 1e9))
      ->group(group);
  app.add_flag("--allow-unframed", worker.allow_unframed,
               "Take files that only the end of their connection delimits; one that was cut then "
               "looks whole")
      ->group("When things go wrong");
}

void add_filter(CLI::App& app, FilterOptions& filter) {
  const char* group = "Which names";
  app.add_option("--limit", filter.limit,
                 "Stop listing after this many names; for trials, verify will miss the rest")
      ->type_name("N")
      ->check(any_count())
      ->group(group);
  repeated_option(app, "--include", filter.include,
                  "Only names that match this pattern (repeatable); * matches / too")
      ->type_name("GLOB")
      ->group(group);
  repeated_option(app, "--exclude", filter.exclude, "No names that match this pattern (repeatable)")
      ->type_name("GLOB")
      ->group(group);
}

void add_log_level(CLI::App& app, ReportOptions& report) {
  choice_option<LogLevel>(app, "--log-level", report.log_level,
                          {{"debug", LogLevel::debug},
                           {"info", LogLevel::info},
                           {"warning", LogLevel::warning},
                           {"error", LogLevel::error},
                           {"off", LogLevel::off}},
                          "debug, info, warning, error or off [warning]")
      ->type_name("LEVEL")
      ->group("What to print");
}

void add_report(CLI::App& app, ReportOptions& report) {
  app.add_flag("--json", report.json, "The summary as one JSON object on standard output")
      ->group("What to print");
  choice_option<ProgressMode>(app, "--progress", report.progress,
                              {{"auto", ProgressMode::automatic},
                               {"plain", ProgressMode::plain},
                               {"json", ProgressMode::json},
                               {"none", ProgressMode::none}},
                              "auto, plain, json or none, on standard error [auto]")
      ->type_name("MODE")
      ->group("What to print");
  add_log_level(app, report);
}

void add_state(CLI::App& app, std::string& state) {
  app.add_option("--state", state, "The state folder [OUT/.gigafetch]")
      ->type_name("DIR")
      ->group("Where to put it");
}

void define_fetch(CLI::App& app, FetchOptions& fetch) {
  add_origin(app, fetch.origin);
  app.add_option("OUT", fetch.out, "The output folder; made when only its last part is missing")
      ->required()
      ->type_name("");
  add_filter(app, fetch.filter);
  const char* group = "Where to put it";
  app.add_option("--sink", fetch.sink,
                 "files: one file a name; tar: archives that each worker appends to")
      ->type_name("KIND")
      ->check(one_of({"files", "tar"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--zstd", fetch.zstd, "Compress the archives at this level, from 1 to 19")
      ->type_name("LEVEL")
      ->check(between(1, 19))
      ->group(group);
  app.add_option("--shard-size", fetch.shard_size,
                 "Begin another archive when one has this many bytes [1G]")
      ->transform(byte_count())
      ->check(between(uint64_t{1}, UINT64_MAX))
      ->type_name("BYTES")
      ->group(group);
  app.add_option(
         "--layout", fetch.layout,
         "tree: the names' slashes are folders; flat: one folder; fanout: 256 x 256 folders")
      ->type_name("KIND")
      ->check(one_of({"tree", "flat", "fanout"}))
      ->capture_default_str()
      ->group(group);
  add_state(app, fetch.state);
  app.add_option("--durability", fetch.durability,
                 "process: what is stored survives the program's death; batch: soon also a power "
                 "loss; file: the same, and each file is synced before it counts")
      ->type_name("LEVEL")
      ->check(one_of({"process", "batch", "file"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--max-file-size", fetch.max_file_size,
                 "Larger files fail; K, M, G for powers of 1024")
      ->transform(byte_count())
      ->check(any_count())
      ->type_name("BYTES")
      ->group(group);
  app.add_option("--min-free", fetch.min_free,
                 "Let no large file leave less than this free where OUT is; 0: never mind [64M]")
      ->transform(byte_count())
      ->check(any_count())
      ->type_name("BYTES")
      ->group(group);
  app.add_option(
         "--content-encoding", fetch.content_encoding,
         "Files that come in a content coding (gzip, zstd, br, ...): refuse: they fail; keep: "
         "store what is sent, and its coding in encodings.jsonl; decode: undo it")
      ->type_name("HOW")
      ->check(one_of({"refuse", "keep", "decode"}))
      ->capture_default_str()
      ->group(group);
  app.add_flag("--force", fetch.force, "Use an output folder that is not empty and has no ledger")
      ->group(group);
  app.add_flag("--restart", fetch.restart,
               "Forget the ledger, and remove the archives that it knows, and begin anew")
      ->group(group);
  app.add_flag("--repair", fetch.repair,
               "Cut a damaged ledger where the damage begins; what stood behind is fetched again")
      ->group(group);
  app.add_flag("--retry-failed", fetch.retry_failed,
               "Try also those names again that had failed for good (404, say)")
      ->group("When things go wrong");
  add_worker(app, fetch.worker);
  add_report(app, fetch.report);
  app.footer(kExitStatus);
}

void define_ls(CLI::App& app, ListOptions& list) {
  add_origin(app, list.origin);
  add_filter(app, list.filter);
  add_log_level(app, list.report);
  app.footer(
      "Exit status: 0 all names are listed; 1 the listing could not go on; 2 wrong\n"
      "usage; 4 interrupted.");
}

void define_verify(CLI::App& app, VerifyOptions& verify) {
  add_origin(app, verify.origin);
  app.add_option("OUT", verify.out, "The output folder of a fetch")->required()->type_name("");
  app.add_flag("--content", verify.content, "Fetch every file again and compare the bytes")
      ->group("What to verify");
  add_state(app, verify.state);
  add_worker(app, verify.worker);
  add_report(app, verify.report);
  app.footer(
      "Exit status: 0 every listed name is stored once and nothing is extra; 1 the\n"
      "run could not go on; 2 wrong usage; 3 there are differences (verify.jsonl in\n"
      "the state folder names what is missing or different); 4 interrupted.");
}

void define_cat(CLI::App& app, CatOptions& cat) {
  app.add_option("OUT", cat.out, "The output folder of a fetch")->required()->type_name("");
  app.add_option("NAME", cat.name, "The file's name, as listed")->required()->type_name("");
  add_state(app, cat.state);
  app.footer(
      "Exit status: 0 it is printed whole; 1 it is not there, or cannot be read; 2 wrong\nusage.");
}

void define_origin(CLI::App& app, OriginServiceOptions& origin) {
  app.add_option("--listen", origin.listen, "Where to serve; port 0 picks a free one and prints it")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_option("--files", origin.files, "How many files there are")
      ->type_name("N")
      ->check(between(uint64_t{0}, origin::Catalogue::kMaxFiles))
      ->capture_default_str();
  app.add_option("--size", origin.size, "Bytes of each file")
      ->transform(byte_count())
      ->check(any_count())
      ->type_name("BYTES")
      ->capture_default_str();
  app.add_option("--page-size", origin.page_size, "Names on a listing page")
      ->type_name("N")
      ->check(between(uint64_t{1}, uint64_t{500'000}))
      ->capture_default_str();
  app.add_option("--seed", origin.seed, "Names and bodies are a function of it")
      ->type_name("S")
      ->check(any_count())
      ->capture_default_str();
  app.add_option("--workers", origin.workers, "Processes that serve")
      ->type_name("N")
      ->check(between(1u, 1024u))
      ->capture_default_str();
  app.add_option("--lag", origin.lag, "Wait before each answer")
      ->type_name("MS")
      ->check(between(0.0, 3'600'000.0))
      ->capture_default_str();
  app.add_flag("--count", origin.count,
               "Count the requests, at a byte of memory per file, and tell them at /count");
  const auto add_rate = [&](const char* name, double& rate, const char* text) {
    app.add_option(name, rate, text)
        ->type_name("SHARE")
        ->check(between(0.0, 1.0))
        ->group("Faults, as shares (0 to 1) of the file requests");
  };
  add_rate("--error-rate", origin.error_rate, "Answer 500");
  add_rate("--throttle-rate", origin.throttle_rate, "Answer 429");
  add_rate("--busy-rate", origin.busy_rate, "Answer 503");
  add_rate("--reset-rate", origin.reset_rate, "Reset the connection");
  add_rate("--truncate-rate", origin.truncate_rate, "End the connection in the middle of the body");
  add_rate("--stall-rate", origin.stall_rate, "Fall silent in the middle of the body");
  add_rate("--close-rate", origin.close_rate, "Answer with Connection: close");
  const char* group = "Refusals";
  app.add_option("--max-rate", origin.max_rate,
                 "Answer this many file requests a second, in all, and 429 to the others")
      ->type_name("N")
      ->check(between(0.001, 1e9))
      ->group(group);
  app.add_option("--retry-after", origin.retry_after,
                 "The Retry-After of each 429 and 503 (default: 1 with --throttle-rate, else none)")
      ->type_name("SECONDS")
      ->check(between(0u, 1'000'000u))
      ->group(group);
}

void define_demo(CLI::App& app, DemoOptions& demo) {
  app.add_option("--files", demo.files, "How many files")
      ->type_name("N")
      ->check(between(uint64_t{1}, origin::Catalogue::kMaxFiles))
      ->capture_default_str();
  app.add_option("--size", demo.size, "Bytes of each file")
      ->transform(byte_count())
      ->check(any_count())
      ->type_name("BYTES")
      ->capture_default_str();
  app.add_option("--workers", demo.workers, "Worker processes (default: one per processor)")
      ->type_name("N")
      ->check(between(1u, 1024u));
  app.add_option("--pipeline", demo.pipeline, "Requests in flight per connection")
      ->type_name("N")
      ->check(between(1u, 1024u))
      ->capture_default_str();
  app.add_option(
         "--sink", demo.sink,
         "tar: packed, --zstd 1; files: each a file of its own, which takes far longer, and "
         "may again to remove")
      ->type_name("KIND")
      ->check(one_of({"files", "tar"}))
      ->capture_default_str();
  app.add_option("--out", demo.out, "Keep the files here (default: a temporary folder, removed)")
      ->type_name("DIR");
}

int run_command(int argc, char** argv) {
  CLI::App app("Copies every file of a list-then-get HTTP service onto this host.", "gigafetch");
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_version_flag("--version", "gigafetch " GIGAFETCH_VERSION);
  app.set_help_flag("-h,--help", "Print this help");
  app.require_subcommand(1);
  // Options of a command can stand in a file: [fetch] and then workers = 16, and so on.
  app.set_config("--config", "", "Read options from this file; [fetch] begins those of fetch")
      ->type_name("FILE");
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.fallthrough();

  FetchOptions fetch;
  ListOptions list;
  VerifyOptions verify;
  CatOptions cat;
  OriginServiceOptions origin;
  DemoOptions demo;
  std::function<ExitStatus()> chosen;
  const auto add_command = [&](const char* name, const char* text, auto& options, auto define,
                               auto command) {
    CLI::App* sub = app.add_subcommand(name, text);
    define(*sub, options);
    sub->callback([&options, &chosen, command] {
      chosen = [&options, command] { return command(options); };
    });
  };
  add_command("fetch", "Copy everything", fetch, define_fetch, fetch_command);
  add_command("ls", "List the names to standard output, one a line", list, define_ls, ls_command);
  add_command("verify", "List again and compare with what is on disk", verify, define_verify,
              verify_command);
  add_command("cat", "Print one stored file to standard output", cat, define_cat, cat_command);
  add_command("origin", "Serve made-up files, for trials, tests and benchmarks", origin,
              define_origin, origin_command);
  add_command("demo", "Start an origin, fetch from it, verify, and report", demo, define_demo,
              demo_command);
  // After the commands, which would inherit it.
  app.footer(std::string(kExitStatus) + "\n\n" + kExamples);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help, --version
      std::ostringstream text;
      app.exit(error, text, text);
      const Result<void> printed = print_output(text.str());
      return static_cast<int>(printed ? ExitStatus::complete : finish(printed.failure()));
    }
    std::string command = "gigafetch";
    for (const CLI::App* sub : app.get_subcommands())
      command += " " + sub->get_name();
    std::string why = error.what();
    if (error.get_name() == "ConfigError") {
      why = fmt::format("--config: {}", why);
    }
    if (app.get_subcommands().empty() && error.get_name() == "RequiredError") {
      const bool other = argc > 1 && argv[1][0] != '-';
      why =
          other ? fmt::format("'{}' is not a command", printable(argv[1])) : "a command is missing";
      why += "; there are: fetch, ls, verify, cat, origin, demo";
    }
    standard_error::write(fmt::format("{}: {}\nSee '{} --help'.\n", command, why, command));
    return static_cast<int>(ExitStatus::usage);
  }
  return static_cast<int>(chosen());
}

}  // namespace

int run(int argc, char** argv) {
  standard_error::open("gigafetch");
  const int status = run_command(argc, argv);
  standard_error::drain(standard_error::kLastPatience);
  return status;
}

}  // namespace gigafetch::cli
