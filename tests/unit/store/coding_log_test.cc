#include "store/coding_log.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/temp_folder.h"

using namespace gigafetch;
using namespace gigafetch::store;

namespace {

using Counts = std::map<std::string, uint64_t>;

struct Scene {
  TempFolder folder;

  std::filesystem::path path() const { return folder.path() / "encodings.jsonl"; }
  std::string text() const {
    std::ifstream file(path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  CodingLog log(bool sync = false) const { return CodingLog(folder.fd(), folder.fd(), sync); }
  Counts counts() const { return CodingLog::count(folder.fd()).value(); }
};

}  // namespace

TEST_CASE("without a coding there is no log, and nothing to count or remove") {
  Scene scene;
  CHECK(scene.log().flush().ok());
  CHECK_FALSE(std::ifstream(scene.path()).good());
  CHECK(scene.counts().empty());
  CHECK(CodingLog::remove(scene.folder.fd()).ok());
}

TEST_CASE("each file has a line of JSON, whoever of several wrote it") {
  Scene scene;
  CodingLog one = scene.log(), two = scene.log(true);
  one.add("a/\"b\"", "gzip");
  two.add("c\n\xFF", "br");
  CHECK(two.flush().ok());
  one.add("d", "gzip");
  CHECK(one.flush().ok());
  CHECK(scene.text() ==
        "{\"coding\":\"br\",\"name\":\"c\\n\\udcff\"}\n"
        "{\"coding\":\"gzip\",\"name\":\"a/\\\"b\\\"\"}\n"
        "{\"coding\":\"gzip\",\"name\":\"d\"}\n");
  CHECK(scene.counts() == Counts{{"br", 1}, {"gzip", 2}});
  CHECK(CodingLog::remove(scene.folder.fd()).ok());
  CHECK(scene.counts().empty());
}

TEST_CASE("behind a line that was cut, the next one begins anew") {
  Scene scene;
  std::ofstream(scene.path()) << "{\"coding\":\"gzip\",\"na";
  CodingLog log = scene.log();
  log.add("a", "br");
  CHECK(log.flush().ok());
  CHECK(scene.text() == "{\"coding\":\"gzip\",\"na\n{\"coding\":\"br\",\"name\":\"a\"}\n");
}

TEST_CASE("a log of any length is counted, with a bound on how many codings are told apart") {
  Scene scene;
  CodingLog log = scene.log();
  for (int i = 0; i < 20'000; ++i)
    log.add(std::string(static_cast<size_t>(i % 300), 'n'), i % 2 == 0 ? "gzip" : "br");
  for (int i = 0; i < 100; ++i)
    log.add("n", "odd" + std::to_string(i));
  CHECK(log.flush().ok());
  const Counts counts = scene.counts();
  CHECK(counts.at("gzip") == 10'000);
  CHECK(counts.at("br") == 10'000);
  CHECK(counts.at("other") == 100 - 14);
  CHECK(counts.size() == 17);
}

TEST_CASE("a FIFO or a link in its place is not waited for, nor followed") {
  Scene scene;
  REQUIRE(::mkfifo(scene.path().c_str(), 0600) == 0);
  CodingLog log = scene.log();
  log.add("a", "gzip");
  CHECK_FALSE(log.flush().ok());
  CHECK(scene.counts().empty());
}
