#include "store/spellings.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <filesystem>
#include <string>

#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;

// On a file system that keeps names apart a hard link stands for the other spelling of a name.
NameRules folding() {
  NameRules rules;
  rules.folds_case = true;
  return rules;
}

}  // namespace

TEST_CASE("a name that the folder lists is spelled so, one that is not there is missing") {
  const TempFolder out;
  write_file(out / "Readme", "");
  Spellings spellings(folding());
  CHECK(spellings.check("", out.fd(), "Readme").ok());
  CHECK(spellings.check("", out.fd(), "Readme").ok());
  CHECK(spellings.check("", out.fd(), "README").cause() == FailureClass::missing);
}

TEST_CASE(
    "what is found under a name that the folder does not list is another's, and both are named") {
  const TempFolder out;
  write_file(out / "Readme", "");
  Spellings spellings(folding());
  REQUIRE(spellings.check("docs", out.fd(), "Readme").ok());
  fs::create_hard_link(out / "Readme", out / "README");  // not seen: the listing is older
  const StoreStatus status = spellings.check("docs", out.fd(), "README");
  CHECK(status.kind() == StoreStatus::Kind::file);
  CHECK(status.cause() == FailureClass::name_conflict);
  CHECK(status.text().find("'docs/Readme'") != std::string::npos);
  CHECK(status.text().find("'README'") != std::string::npos);
  CHECK(status.text().find("--sink tar") != std::string::npos);
}

TEST_CASE("a file that was made since the folder was read is seen") {
  const TempFolder out;
  write_file(out / "a", "");
  Spellings spellings(folding());
  REQUIRE(spellings.check("", out.fd(), "a").ok());
  write_file(out / "b", "");
  write_file(out / "A", "");  // another file: not one with `a`
  CHECK(spellings.check("", out.fd(), "b").ok());
  CHECK(spellings.check("", out.fd(), "A").ok());
}

TEST_CASE("a name that was removed is looked for again") {
  const TempFolder out;
  write_file(out / "a", "");
  Spellings spellings(folding());
  REQUIRE(spellings.check("", out.fd(), "a").ok());
  fs::remove(out / "a");
  spellings.removed("", "a");
  spellings.removed("elsewhere", "a");
  CHECK(spellings.check("", out.fd(), "a").cause() == FailureClass::missing);
}

TEST_CASE("folders that hold more than may be kept are read each time, and judged alike") {
  const TempFolder out;
  for (int i = 0; i < 20; ++i)
    write_file(out / fmt::format("file{}", i), "");
  Spellings spellings(folding(), 5);
  for (int i = 0; i < 20; ++i)
    CHECK(spellings.check("", out.fd(), fmt::format("file{}", i)).ok());
  CHECK(spellings.check("", out.fd(), "File1").cause() == FailureClass::missing);
  const TempFolder small;
  write_file(small / "a", "");
  for (const char* folder : {"x", "y", "z"})
    CHECK(spellings.check(folder, small.fd(), "a").ok());
  CHECK(spellings.check("x", small.fd(), "a").ok());
}

TEST_CASE("a new file in another spelling is told by the folder's listing") {
  const TempFolder out;
  write_file(out / "e\u0301", "");
  Spellings spellings(folding());
  CHECK(spellings.check_new("", out.fd(), "e\u0301").ok());
  const StoreStatus status = spellings.check_new("", out.fd(), "\u00e9");
  CHECK(status.cause() == FailureClass::bad_name);
  CHECK(status.text().find("--sink tar") != std::string::npos);
}

TEST_CASE("a folder that cannot be listed is no proof of anything") {
  Spellings spellings(folding());
  CHECK_FALSE(spellings.check("", -1, "a").ok());
  CHECK_FALSE(spellings.check_new("", -1, "a").ok());
}

}  // namespace gigafetch::store
