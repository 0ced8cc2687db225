#include "cli/summary.h"

#include <doctest/doctest.h>

#include <set>

using namespace gigafetch;
using namespace gigafetch::cli;

namespace {

Summary sample() {
  Summary summary;
  summary.workers = 16;
  summary.resumed = true;
  supervisor::Report& report = summary.report;
  report.exit = ExitStatus::failures;
  report.seconds = 12.5;
  report.cpu_seconds = 7.25;
  report.peak_rss_bytes = 123'456'789;
  Figures& figures = report.figures;
  figures.listed = 1'000'010;
  figures.stored = 1'000'000;
  figures.fetched = 1'000'000;
  figures.failed = 4;
  figures.rejected = 3;
  figures.duplicates = 2;
  figures.filtered = 50;
  figures.bytes = 100'000'000;
  figures.pages = 101;
  figures.requests = 1'000'200;
  figures.retries = 99;
  figures.fetched = 1'000'000;
  figures.listing_bound = 0.1234567;
  return summary;
}

// The keys of a flat JSON object, in their order.
std::vector<std::string> keys_of(const std::string& json) {
  std::vector<std::string> keys;
  for (size_t at = 0; (at = json.find('"', at)) != std::string::npos;) {
    const size_t end = json.find('"', at + 1);
    keys.push_back(json.substr(at + 1, end - at - 1));
    at = end + 1;
  }
  return keys;
}

}  // namespace

TEST_CASE("the summary is this JSON, to the byte") {
  CHECK(summary_json(sample()) ==
        "{\"listed\":1000010,\"stored\":1000000,\"failed\":4,\"rejected\":3,\"duplicates\":2,"
        "\"filtered\":50,\"bytes\":100000000,\"pages\":101,\"requests\":1000200,\"retries\":99,"
        "\"workers\":16,\"resumed\":true,\"seconds\":12.500,\"files_per_second\":80000.0,"
        "\"cpu_seconds\":7.250,\"cpu_us_per_file\":7.250,\"peak_rss_bytes\":123456789,"
        "\"listing_bound\":0.1235,\"exit\":3}");
}

TEST_CASE("rates and costs are this run's, over the files that it stored; the rest is the job's") {
  Summary summary = sample();
  summary.report.figures.fetched = 250'000;
  const std::string json = summary_json(summary);
  CHECK(json.find("\"stored\":1000000,") != std::string::npos);
  CHECK(json.find("\"files_per_second\":20000.0,") != std::string::npos);
  CHECK(json.find("\"cpu_us_per_file\":29.000,") != std::string::npos);
  summary.report.figures.fetched = 0;
  CHECK(summary_json(summary).find("\"files_per_second\":0.0,\"cpu_seconds\":7.250,"
                                   "\"cpu_us_per_file\":0.000,") != std::string::npos);
}

TEST_CASE("the summary of verify tells the extra files as well") {
  Summary summary = sample();
  summary.extra = 0;
  CHECK(summary_json(summary).ends_with(",\"listing_bound\":0.1235,\"extra\":0,\"exit\":3}"));
  summary.extra = 17;
  CHECK(summary_json(summary).ends_with(",\"extra\":17,\"exit\":3}"));
}

TEST_CASE("the summary has every key of the contract, once") {
  const std::vector<std::string> keys = keys_of(summary_json(sample()));
  const std::set<std::string> unique(keys.begin(), keys.end());
  CHECK(unique.size() == keys.size());
  CHECK(unique == std::set<std::string>{"listed", "stored", "failed", "rejected", "duplicates",
                                        "filtered", "bytes", "pages", "requests", "retries",
                                        "workers", "resumed", "seconds", "cpu_seconds",
                                        "files_per_second", "cpu_us_per_file", "peak_rss_bytes",
                                        "exit", "listing_bound"});
}

TEST_CASE("a run that did nothing has figures of none, not of nonsense") {
  CHECK(
      summary_json(Summary()) ==
      "{\"listed\":0,\"stored\":0,\"failed\":0,\"rejected\":0,\"duplicates\":0,\"filtered\":0,"
      "\"bytes\":0,\"pages\":0,\"requests\":0,\"retries\":0,\"workers\":0,\"resumed\":false,"
      "\"seconds\":0.000,\"files_per_second\":0.0,\"cpu_seconds\":0.000,\"cpu_us_per_file\":0.000,"
      "\"peak_rss_bytes\":0,\"listing_bound\":0.0000,\"exit\":1}");
}

TEST_CASE("the largest figures are written whole") {
  Summary summary;
  summary.report.figures.bytes = UINT64_MAX;
  summary.report.figures.listed = 10'000'000'000;
  const std::string json = summary_json(summary);
  CHECK(json.find("\"bytes\":18446744073709551615,") != std::string::npos);
  CHECK(json.find("\"listed\":10000000000,") != std::string::npos);
}

TEST_CASE("each exit status is its number") {
  for (const ExitStatus exit : {ExitStatus::complete, ExitStatus::fatal, ExitStatus::usage,
                                ExitStatus::failures, ExitStatus::interrupted}) {
    Summary summary;
    summary.report.exit = exit;
    CHECK(summary_json(summary).ends_with(",\"exit\":" + std::to_string(static_cast<int>(exit)) +
                                          "}"));
  }
}

TEST_CASE("the summary for people says the same") {
  const std::string text = summary_text(sample());
  for (const char* part : {"listed 1,000,010", "stored 1,000,000", "failed 4", "rejected 3",
                           "duplicates 2", "filtered 50", "95.4 MiB", "12.5 s", "80,000 files/s",
                           "16 workers", "1,000,200 requests", "99 of them retries", "101 pages",
                           "12% of the time", "CPU 7.2 s", "7.2 us a file", "117.7 MiB"}) {
    CAPTURE(std::string(part));
    CHECK(text.find(part) != std::string::npos);
  }
  CHECK(text.ends_with("\n"));
  CHECK(text.find("extra") == std::string::npos);

  Summary verified = sample();
  verified.extra = 5;
  verified.workers = 1;
  CHECK(summary_text(verified).find("extra on disk 5") != std::string::npos);
  CHECK(summary_text(verified).find("1 worker\n") != std::string::npos);
}

TEST_CASE("numbers have a comma at every third digit") {
  CHECK(with_commas(0) == "0");
  CHECK(with_commas(7) == "7");
  CHECK(with_commas(999) == "999");
  CHECK(with_commas(1000) == "1,000");
  CHECK(with_commas(12'345) == "12,345");
  CHECK(with_commas(999'999) == "999,999");
  CHECK(with_commas(1'000'000) == "1,000,000");
  CHECK(with_commas(UINT64_MAX) == "18,446,744,073,709,551,615");
}

TEST_CASE("bytes have the unit that leaves a number below 1024") {
  CHECK(with_unit(0) == "0 B");
  CHECK(with_unit(1023) == "1023 B");
  CHECK(with_unit(1024) == "1.0 KiB");
  CHECK(with_unit(1536) == "1.5 KiB");
  CHECK(with_unit(1024 * 1024) == "1.0 MiB");
  CHECK(with_unit(5ull << 30) == "5.0 GiB");
  CHECK(with_unit(3ull << 40) == "3.0 TiB");
  CHECK(with_unit(1ull << 50) == "1.0 PiB");
  CHECK(with_unit(UINT64_MAX) == "16384.0 PiB");
  // Rounded up to the next unit, it is written in that unit.
  CHECK(with_unit(1024 * 1024 - 1) == "1.0 MiB");
  CHECK(with_unit((1ull << 40) - 1) == "1.0 TiB");
}

TEST_CASE("times are in the units that people use") {
  CHECK(as_duration(0) == "0.0 s");
  CHECK(as_duration(1.54) == "1.5 s");
  CHECK(as_duration(59.9) == "59.9 s");
  CHECK(as_duration(60) == "1 min 0 s");
  CHECK(as_duration(200) == "3 min 20 s");
  CHECK(as_duration(3599) == "59 min 59 s");
  CHECK(as_duration(3600) == "1 h 0 min");
  CHECK(as_duration(18'180) == "5 h 3 min");
  CHECK(as_duration(86'400) == "24 h 0 min");
  CHECK(as_duration(34.7 * 86'400) == "34.7 days");
  // Rounded up to the next unit, it is written in that unit.
  CHECK(as_duration(3599.9) == "1 h 0 min");
  CHECK(as_duration(59.96) == "1 min 0 s");
}
