#include "store/job_identity.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace gigafetch::store {
namespace {

using namespace std::string_literals;

const JobIdentity kJob = {"http://example.org/api", "marker", "files", "tree",
                          {"*.jpg", "a b"},         {"tmp/*"}};

}  // namespace

TEST_CASE("an identity comes back as it was encoded") {
  JobIdentity odd;
  odd.url = "\0\n\xFF"s;
  odd.output = "/somewhere else";
  odd.include = {"", "0", "a\0b"s, std::string(70'000, 'x')};
  JobIdentity excluding = odd;
  std::swap(excluding.include, excluding.exclude);
  JobIdentity folding = kJob;
  folding.names = "case refused=:?*";
  JobIdentity decoding = folding;
  decoding.content_encoding = "decode";
  for (const JobIdentity& job : {kJob, JobIdentity{}, odd, excluding, folding, decoding})
    CHECK(decode_identity(encode_identity(job)) == job);
}

TEST_CASE("an identity's bytes are those that are documented") {
  CHECK(encode_identity(JobIdentity{"u", "a", "s", "l", {"i"}, {"e"}, "/o"}) ==
        "\1\0\0\0u\1\0\0\0a\1\0\0\0s\1\0\0\0l\2\0\0\0/o\1\0\0\0"
        "1\1\0\0\0i\1\0\0\0e"s);
  JobIdentity apart;
  apart.names = "apart";
  CHECK(encode_identity(apart) == std::string(20, '\0') +
                                      "\15\0\0\0"
                                      "0;names=apart"s);
  JobIdentity keeping{"u", "a", "s", "l", {}, {}};
  keeping.content_encoding = "keep";
  CHECK(encode_identity(keeping) ==
        "\1\0\0\0u\1\0\0\0a\1\0\0\0s\1\0\0\0l\0\0\0\0\x17\0\0\0"
        "0;content-encoding=keep"s);
}

TEST_CASE("bytes that are no identity are refused, none that are cut off are read beyond") {
  const std::string whole = encode_identity(JobIdentity{"u", "a", "s", "l", {"i", "j"}, {}, ""});
  CHECK_FALSE(decode_identity("").has_value());
  for (size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    // A copy of that size, so that a sanitizer sees any byte that is read behind it.
    CHECK_FALSE(decode_identity(std::string(whole, 0, size)).has_value());
  }
  CHECK_FALSE(decode_identity(whole + '\0').has_value());
  std::string more_includes = whole;
  more_includes[more_includes.find('2')] = '3';
  CHECK_FALSE(decode_identity(more_includes).has_value());
}

TEST_CASE("the difference between two jobs names the field, its old and its new value") {
  const auto changed = [](auto change) {
    JobIdentity job = kJob;
    change(job);
    return difference(kJob, job);
  };
  CHECK(difference(kJob, kJob) == "");
  CHECK(changed([](JobIdentity& job) { job.url = "http://other"; }) ==
        "the URL was 'http://example.org/api', now it is 'http://other'");
  CHECK(changed([](JobIdentity& job) { job.api = "s3"; }) == "--api was 'marker', now it is 's3'");
  CHECK(changed([](JobIdentity& job) { job.content_encoding = "keep"; }) ==
        "--content-encoding was 'refuse', now it is 'keep'");
  CHECK(changed([](JobIdentity& job) { job.sink = "tar"; }) ==
        "--sink was 'files', now it is 'tar'");
  CHECK(changed([](JobIdentity& job) { job.layout = "flat"; }) ==
        "--layout was 'tree', now it is 'flat'");
  CHECK(changed([](JobIdentity& job) { job.output = "/o"; }) ==
        "the output folder was '', now it is '/o'");
  CHECK(changed([](JobIdentity& job) { job.include = {"*.png"}; }).starts_with("--include was "));
  const std::string exclude = changed([](JobIdentity& job) { job.exclude.clear(); });
  CHECK(exclude.starts_with("--exclude was "));
  CHECK(exclude.find("tmp/*") != std::string::npos);
  CHECK(changed([](JobIdentity& job) { job.url = "\x1B"; }).find('\x1B') == std::string::npos);
}

TEST_CASE("names that were kept apart and are not any more are a difference, nothing else is") {
  const auto differs = [](const char* before, const char* now) {
    JobIdentity recorded = kJob, wanted = kJob;
    recorded.names = before;
    wanted.names = now;
    return !difference(recorded, wanted).empty();
  };
  CHECK(differs("apart", "case"));
  CHECK(differs("refused=:", "case refused=:"));
  for (const char* same : {"apart", "case", "", "longest=143"}) {
    CHECK_FALSE(differs("case", same));
    CHECK_FALSE(differs("", same));
  }
  CHECK_FALSE(differs("apart", ""));
  CHECK_FALSE(differs("apart", "refused=:"));
}

TEST_CASE("two jobs that differ in any way have a difference") {
  using Globs = std::vector<std::string>;
  const std::vector<Globs> lists = {{},         {""},           {"none"}, {"a b"},    {"a", "b"},
                                    {"b", "a"}, {"a", "b", ""}, {"a"},    {"a", "a"}, {"", ""}};
  for (const Globs& recorded : lists) {
    for (const Globs& wanted : lists) {
      CAPTURE(&recorded - lists.data());
      CAPTURE(&wanted - lists.data());
      JobIdentity one = kJob, other = kJob;
      one.include = recorded;
      other.include = wanted;
      CHECK(difference(one, other).empty() == (one == other));
      one = other = kJob;
      one.exclude = recorded;
      other.exclude = wanted;
      CHECK(difference(one, other).empty() == (one == other));
    }
  }
}

}  // namespace gigafetch::store
