#include "worker/probation.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "base/name_list.h"
#include "worker/batch_of.h"

using namespace gigafetch;
using namespace gigafetch::worker;
using namespace gigafetch::testing;

namespace {

constexpr TimePoint kStart{};

FileRun file(Batch& batch, Part* part, uint32_t index) {
  return file_of({&batch, index}, part, index + 1, {index, 0});
}

std::vector<std::string> names_of(Answers answers) {
  std::vector<std::string> names;
  for (const Answer& answer : answers.take_singly())
    names.emplace_back(answer.task.name());
  return names;
}

NameList letters() {
  NameList names;
  for (const char* name : {"a", "b", "c", "d", "e", "f"})
    names.append(name);
  return names;
}

}  // namespace

TEST_CASE("files that follow each other in their batch are kept as one run") {
  const auto batch = batch_of({"a", "b", "c", "d", "e", "f"});
  Probation probation;
  for (const uint32_t index : {0, 1, 2, 4, 5, 3})
    probation.add_file(file(*batch, nullptr, index), kStart);
  CHECK(probation.size() == 6);
  const Answers all = probation.take_all();
  CHECK(probation.empty());
  CHECK(all.others.empty());
  REQUIRE(all.files.size() == 3);
  CHECK(all.files[0].first == 0);
  CHECK(all.files[0].count == 3);
  CHECK(all.files[0].bytes == 1 + 2 + 3);
  CHECK(all.files[0].content == store::Hash128{0 + 1 + 2, 0});
  CHECK(all.files[1].first == 4);
  CHECK(all.files[1].count == 2);
  CHECK(all.files[2].first == 3);
}

TEST_CASE("a run ends with its segment and with its part") {
  const NameList names = letters();
  Batch batch(wire::BatchView{1, 6, false, {2, 4}, names.bytes()});
  Part one, other;
  Probation probation;
  for (uint32_t index = 0; index < 6; ++index)
    probation.add_file(file(batch, index < 4 ? &one : &other, index), kStart);
  const Answers all = probation.take_all();
  REQUIRE(all.files.size() == 3);
  CHECK(all.files[0].count == 2);
  CHECK(all.files[1].segment == 1);
  CHECK(all.files[1].part == &one);
  CHECK(all.files[2].part == &other);
}

TEST_CASE("a quiet point proves all but the last answer, and the next head that") {
  const auto batch = batch_of({"a", "b", "c", "d", "e", "f"});
  Probation probation;
  for (uint32_t index = 0; index < 3; ++index)
    probation.add_file(file(*batch, nullptr, index), kStart);
  CHECK(names_of(probation.take_all_but_last(kStart)) == std::vector<std::string>{"a", "b"});
  CHECK(probation.has_attributed());
  CHECK(probation.size() == 1);
  CHECK(names_of(probation.take_attributed()) == std::vector<std::string>{"c"});
  CHECK(probation.empty());
  CHECK_FALSE(probation.has_attributed());
}

TEST_CASE("the last answer can be suspected by itself, and the others taken back after it") {
  const auto batch = batch_of({"a", "b", "c", "d", "e", "f"});
  Part part;
  Probation probation;
  probation.add_file(file(*batch, &part, 0), kStart);
  Answer failed;
  failed.task = {batch.get(), 1};
  failed.failure = std::make_unique<FileFailure>();
  probation.add(std::move(failed), kStart);
  probation.add_file(file(*batch, &part, 2), kStart);
  const Answer last = probation.take_last();
  CHECK(last.task.name() == "c");
  CHECK(last.part == &part);
  CHECK(last.has_file());
  CHECK(probation.size() == 2);
  const std::vector<Answer> others = probation.take_all().take_singly();
  REQUIRE(others.size() == 2);
  CHECK(others[0].task.name() == "b");
  CHECK_FALSE(others[0].has_file());
  CHECK(others[1].task.name() == "a");
}
