#include "store/name_rules.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "base/temp_folder.h"
#include "store/job_identity.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;

NameRules odd_rules() {
  NameRules rules;
  rules.folds_case = rules.folds_form = rules.trims = rules.respells = true;
  rules.ascii_only = rules.refuses_end = true;
  rules.refused = ":?*<>|\"\\";
  rules.longest = 143;
  return rules;
}

}  // namespace

TEST_CASE("a file system that keeps names apart has nothing to say, and nothing is left in it") {
  const TempFolder out;
  Result<NameRules> rules = probe_names(out.fd());
  REQUIRE(rules);
  CHECK(*rules == NameRules());
  CHECK_FALSE(rules->folds());
  CHECK(describe(*rules) == "");
  CHECK(fs::is_empty(out.path()));
}

TEST_CASE("names are tried in the state folder, which stays with what is in it") {
  const TempFolder out;
  fs::create_directories(out / ".gigafetch/names");
  write_file(out / ".gigafetch/names/case", "");  // of a run that was killed
  write_file(out / ".gigafetch/lock", "");
  CHECK(probe_names(out.fd()).value() == NameRules());
  CHECK(fs::exists(out / ".gigafetch/lock"));
  CHECK_FALSE(fs::exists(out / ".gigafetch/names"));
}

TEST_CASE("where nothing can be tried, any file may be another name's, and nothing is recorded") {
  const TempFolder out;
  fs::create_symlink("/", out / ".gigafetch");
  Result<NameRules> rules = probe_names(out.fd());
  REQUIRE(rules);
  CHECK(rules->folds());
  CHECK(encode_rules(*rules) == "");
  CHECK(describe(*rules) == "");
  CHECK_FALSE(fs::exists("/names"));
}

TEST_CASE("rules come back as they were recorded; what was not recorded has none") {
  CHECK(encode_rules(NameRules()) == "apart");
  NameRules vfat;
  vfat.folds_case = true;
  vfat.refused = ":?*";
  CHECK(encode_rules(vfat) == "case refused=:?*");
  for (const NameRules& rules : {NameRules(), vfat, odd_rules()})
    CHECK(decode_rules(encode_rules(rules)) == rules);
  CHECK_FALSE(decode_rules("").has_value());
  CHECK(decode_rules("case and what a later version knows") == [] {
    NameRules rules;
    rules.folds_case = true;
    return rules;
  }());
}

TEST_CASE("what is said names each kind, and what takes such names") {
  const std::string text = describe(odd_rules());
  for (const char* words :
       {"Readme", "accent", "at the end", "ASCII", ":?*", "143", "--sink tar"}) {
    CAPTURE(words);
    CHECK(text.find(words) != text.npos);
  }
}

TEST_CASE("a path is refused when one of its components is") {
  NameRules rules;
  CHECK_FALSE(rules.refuses("a:b./\xFF"));
  rules.refused = ":";
  CHECK(rules.refuses("a/b:c/d"));
  CHECK_FALSE(rules.refuses("a/b/d"));
  rules.refuses_end = true;
  CHECK(rules.refuses("a./b"));
  CHECK(rules.refuses("a/b "));
  CHECK_FALSE(rules.refuses(".a/ b"));
  rules.ascii_only = true;
  CHECK(rules.refuses("caf\u00e9"));
}

TEST_CASE("only some names may be stored in another spelling, and only where any is") {
  NameRules rules;
  CHECK_FALSE(rules.may_respell("README."));
  rules.respells = true;
  for (const char* name : {"README", "a.", "a ", "caf\u00e9", "8.3"})
    CHECK(rules.may_respell(name));
  for (const char* name : {"Readme", "a.b", ".a"})
    CHECK_FALSE(rules.may_respell(name));
}

TEST_CASE("who only reads goes by what is recorded") {
  const TempFolder out;
  write_file(out / "a", "");
  JobIdentity job;
  CHECK(rules_for_reading(out.fd(), job) == NameRules());
  job.names = "form";
  CHECK(rules_for_reading(out.fd(), job).folds_form);
  write_file(out / "A", "");
  CHECK_FALSE(rules_for_reading(out.fd(), job).folds_case);
}

}  // namespace gigafetch::store
