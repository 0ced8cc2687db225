#include "cli/job.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/temp_folder.h"
#include "supervisor/limits.h"

using namespace gigafetch;
using namespace gigafetch::cli;
namespace fs = std::filesystem;

namespace {

OriginOptions origin_of(const std::string& url) {
  OriginOptions options;
  options.url = url;
  return options;
}

// The settings with a bearer file of these bytes.
Result<coordinator::ListingSettings> with_bearer(const TempFolder& folder,
                                                 const std::string& bytes) {
  write_file(folder / "token", bytes);
  ::chmod((folder / "token").c_str(), 0600);
  OriginOptions options = origin_of("http://h");
  options.bearer_file = folder / "token";
  return listing_settings(options);
}

bool is_usage(const Result<std::string>& path) {
  return !path && path.failure().code == ErrorCode::usage;
}

}  // namespace

TEST_CASE("a listing's settings are those of the command line") {
  OriginOptions options = origin_of("http://Files.Example:8080/some/store/");
  options.headers = {"X-One: 1", "X-Two:  two words "};
  options.retries = 7;
  options.connect_timeout = 1.5;
  options.stall_timeout = 0.001;
  const Result<coordinator::ListingSettings> made = listing_settings(options);
  REQUIRE(made);
  const coordinator::ListingSettings& settings = made.value();
  CHECK(settings.origin.host == "files.example");
  CHECK(settings.origin.port == 8080);
  CHECK(settings.origin.base_path == "/some/store");
  CHECK(settings.api == "marker");
  REQUIRE(settings.headers.size() == 2);
  CHECK(settings.headers[0].name == "X-One");
  CHECK(settings.headers[0].value == "1");
  CHECK(settings.headers[1].value == "two words");
  CHECK(settings.retries == 7);
  CHECK(settings.connect_timeout == Millis(1500));
  CHECK(settings.stall_timeout == Millis(1));
}

TEST_CASE("a bad URL or header is wrong usage") {
  for (const char* url : {"", "files.example", "ftp://files.example", "http://", "http://h:0",
                          "http://user:secret@h", "http://h/?q"}) {
    CAPTURE(std::string(url));
    const Result<coordinator::ListingSettings> refused = listing_settings(origin_of(url));
    REQUIRE_FALSE(refused);
    CHECK(refused.failure().code == ErrorCode::usage);
    CHECK(refused.failure().text.find("secret") == std::string::npos);
  }
  for (const char* header : {"no colon", "Host: x", "Authorization: Bearer x", "X: a\r\nY: b"}) {
    CAPTURE(std::string(header));
    OriginOptions options = origin_of("http://h");
    options.headers = {header};
    const Result<coordinator::ListingSettings> refused = listing_settings(options);
    REQUIRE_FALSE(refused);
    CHECK(refused.failure().code == ErrorCode::usage);
  }
}

TEST_CASE("a bearer file gives the token, with or without a line end") {
  TempFolder folder;
  for (const char* bytes : {"abc.DEF-123~+/=", "abc.DEF-123~+/=\n", "abc.DEF-123~+/=\r\n"}) {
    const Result<coordinator::ListingSettings> settings = with_bearer(folder, bytes);
    REQUIRE(settings);
    REQUIRE(settings.value().headers.size() == 1);
    CHECK(settings.value().headers[0].name == "Authorization");
    CHECK(settings.value().headers[0].value == "Bearer abc.DEF-123~+/=");
  }
}

TEST_CASE("the token stands beside the headers of the command line") {
  TempFolder folder;
  write_file(folder / "token", "t");
  OriginOptions options = origin_of("http://h");
  options.headers = {"X-One: 1"};
  options.bearer_file = folder / "token";
  const Result<coordinator::ListingSettings> settings = listing_settings(options);
  REQUIRE(settings);
  REQUIRE(settings.value().headers.size() == 2);
}

TEST_CASE("a bearer file that is empty or holds more than a token is refused, without its bytes") {
  TempFolder folder;
  for (const std::string& bytes :
       {std::string(""), std::string("\n\r\n"), std::string("secret\nsecond"),
        std::string("secret token"), std::string("\tsecret"), std::string("secret\0", 7),
        std::string("secret\x7F"), std::string("secret\xC3\xA4"), std::string("secret\r\nX: y\r\n"),
        "secret" + std::string(20'000, 'x')}) {
    CAPTURE(bytes);
    const Result<coordinator::ListingSettings> refused = with_bearer(folder, bytes);
    REQUIRE_FALSE(refused);
    CHECK(refused.failure().text.find("token'") != std::string::npos);
    CHECK(refused.failure().text.find("secret") == std::string::npos);
  }
}

TEST_CASE("a bearer file that is not there is told by its name, shown escaped") {
  TempFolder folder;
  OriginOptions options = origin_of("http://h");
  options.bearer_file = (folder / "no\x1bsuch").string();
  const Result<coordinator::ListingSettings> refused = listing_settings(options);
  REQUIRE_FALSE(refused);
  CHECK(refused.failure().text.find("no\\x1bsuch") != std::string::npos);
  CHECK(refused.failure().code == ErrorCode::not_found);
}

TEST_CASE("a bearer file that is a folder is refused") {
  TempFolder folder;
  OriginOptions options = origin_of("http://h");
  options.bearer_file = folder.path();
  CHECK_FALSE(listing_settings(options));
}

TEST_CASE("the filter is that of the command line") {
  FilterOptions options;
  options.include = {"a*", "b*"};
  options.exclude = {"c*"};
  const coordinator::Filter filter = filter_of(options);
  CHECK(filter.include == options.include);
  CHECK(filter.exclude == options.exclude);
}

TEST_CASE("a job's parts agree on what it is") {
  OriginOptions origin = origin_of("http://h:81/base");
  origin.headers = {"X-One: 1"};
  origin.retries = 9;
  origin.connect_timeout = 2;
  origin.stall_timeout = 3;
  const Result<coordinator::ListingSettings> listing = listing_settings(origin);
  REQUIRE(listing);
  WorkerOptions worker;
  worker.workers = 5;
  worker.connections = 8;
  worker.pipeline = 4;
  worker.pipeline_auto = true;
  worker.batch = 77;
  worker.rate = 1000;
  ReportOptions report;
  report.log_level = LogLevel::error;
  const Result<supervisor::Job> made = make_job(listing.value(), origin, worker, report);
  REQUIRE(made);
  const supervisor::Job& job = made.value();
  CHECK(job.workers == 5);
  CHECK(job.log_level == LogLevel::error);
  CHECK(job.coordinator.workers == 5);
  CHECK(job.coordinator.batch_names == 77);
  CHECK(job.coordinator.limit == UINT64_MAX);
  CHECK(job.coordinator.listing.origin.canonical() == "http://h:81/base");
  CHECK(job.coordinator.listing.retries == 9);
  CHECK(job.worker.origin.canonical() == "http://h:81/base");
  CHECK(job.worker.api == "marker");
  REQUIRE(job.worker.headers.size() == 1);
  CHECK(job.worker.headers[0].name == "X-One");
  CHECK(job.worker.mode == worker::Mode::store);
  CHECK(job.worker.connections == 8);
  CHECK(job.worker.pipeline == 4);
  CHECK(job.worker.pipeline_auto);
  CHECK(job.worker.retries == 9);
  CHECK(job.worker.connect_timeout == Millis(2000));
  CHECK(job.worker.stall_timeout == Millis(3000));
  CHECK(job.coordinator.max_in_flight == 5 * 8 * 4);
  CHECK_MESSAGE(job.coordinator.rate == doctest::Approx(900), "nine tenths for the files");
  CHECK_MESSAGE(job.coordinator.listing.rate == doctest::Approx(100), "a tenth for the listing");
}

TEST_CASE(
    "without a number of workers there is one for each allowed processor, without a rate none") {
  const OriginOptions origin = origin_of("http://h");
  const Result<supervisor::Job> job =
      make_job(listing_settings(origin).value(), origin, WorkerOptions(), ReportOptions());
  REQUIRE(job);
  CHECK(job.value().workers == supervisor::allowed_cpus().size());
  CHECK(job.value().coordinator.workers == job.value().workers);
  CHECK(job.value().coordinator.rate == 0);
  CHECK(job.value().coordinator.listing.rate == 0);
  CHECK(job.value().worker.connections == 64);
}

TEST_CASE(
    "where few descriptors are allowed, workers use fewer connections; with too few, none starts") {
  const auto connections_under = [](rlim_t descriptors) {
    return in_child([descriptors] {
      const rlimit limit{descriptors, descriptors};
      if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 254;
      const OriginOptions origin = origin_of("http://h");
      WorkerOptions worker;
      worker.connections = 200;
      const Result<supervisor::Job> job =
          make_job(listing_settings(origin).value(), origin, worker, ReportOptions());
      if (job) return static_cast<int>(job.value().worker.connections);
      return job.failure().code == ErrorCode::no_resource ? 253 : 252;
    });
  };
  CHECK(connections_under(1024) == 200);
  const int few = connections_under(400);
  CHECK(few > 0);
  CHECK(few < 200);
  CHECK(connections_under(64) == 253);
}

TEST_CASE("the state folder is OUT/.gigafetch, unless told") {
  TempFolder folder;
  const std::string out = folder / "out";
  CHECK(state_path(out, "").value() == out + "/.gigafetch");
  CHECK(state_path("relative", "").value() == "relative/.gigafetch");
  const std::string elsewhere = folder / "state";
  CHECK(state_path(out, elsewhere).value() == elsewhere);
}

TEST_CASE("a state folder beside the output folder is taken as given") {
  TempFolder folder;
  fs::create_directories(folder / "out/sub");
  const std::string out = folder / "out";
  for (const std::string& given :
       {std::string(folder / "out2"), std::string(folder / "ou"), std::string(folder / "out.state"),
        std::string(folder / "out/../state"), std::string(folder / "out/sub/../../state"),
        std::string(folder.path())}) {
    CAPTURE(std::string(given));
    const Result<std::string> path = state_path(out, given);
    REQUIRE(path);
    CHECK(path.value() == given);
  }
}

TEST_CASE("no other place in the output folder is taken, however it is written") {
  TempFolder folder;
  fs::create_directories(folder / "out/sub");
  fs::create_directory_symlink(folder / "out", folder / "link");
  fs::create_directory_symlink(folder / "out/sub", folder / "sublink");
  const std::string name = "out";
  for (const std::string& out : {std::string(folder / "out"), std::string(folder / "out/"),
                                 std::string(folder / "./out/."), std::string(folder / "link")}) {
    for (const char* given :
         {"out", "out/", "out/state", "out/sub", "out/sub/state", "out/.", "out/sub/..",
          "out/../out/state", "out/.gigafetch/deeper", "out/.gigafetch2", "link", "link/state",
          "sublink", "sublink/state", "./out/state", "out//state"}) {
      CAPTURE(out);
      CAPTURE(std::string(given));
      CHECK(is_usage(state_path(out, folder / given)));
    }
  }
}

TEST_CASE("OUT/.gigafetch may be named, however it is written") {
  TempFolder folder;
  fs::create_directories(folder / "out/sub");
  fs::create_directory_symlink(folder / "out", folder / "link");
  const std::string out = folder / "out";
  for (const char* given : {"out/.gigafetch", "out/sub/../.gigafetch", "link/.gigafetch",
                            "out//.gigafetch", "out/.gigafetch/"}) {
    CAPTURE(std::string(given));
    CHECK(state_path(out, folder / given));
    fs::create_directory(folder / "out/.gigafetch");
    CHECK(state_path(out, folder / given));
    fs::remove(folder / "out/.gigafetch");
  }
}

TEST_CASE("the same holds for an output folder that is still to be made") {
  TempFolder folder;
  for (const std::string& out : {std::string(folder / "new"), std::string(folder / "new/")}) {
    CAPTURE(out);
    CHECK(is_usage(state_path(out, folder / "new")));
    CHECK(is_usage(state_path(out, folder / "new/state")));
    CHECK(is_usage(state_path(out, folder / "new/a/../state")));
    CHECK(state_path(out, folder / "new2"));
    CHECK(state_path(out, folder / "new/../state"));
    CHECK(state_path(out, folder / "new/.gigafetch"));
  }
}

TEST_CASE("relative paths are judged by where they lead") {
  TempFolder folder;
  fs::create_directories(folder / "out");
  // In a child: the working directory belongs to the whole process.
  CHECK(in_child([&] {
          if (::chdir(folder.path().c_str()) != 0) return 1;
          if (!is_usage(state_path("out", "out/state"))) return 2;
          if (!is_usage(state_path("out", folder / "out/state"))) return 3;
          if (!is_usage(state_path(folder / "out", "out/state"))) return 4;
          if (!is_usage(state_path(".", "state"))) return 5;
          if (!is_usage(state_path("./out", "./out"))) return 6;
          const Result<std::string> beside = state_path("out", "state");
          if (!beside || beside.value() != "state") return 7;
          if (!state_path("out", "../state")) return 8;
          if (!state_path(".", ".gigafetch")) return 9;
          return 0;
        }) == 0);
}
