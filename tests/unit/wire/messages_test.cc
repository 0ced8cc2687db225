#include "wire/messages.h"

#include <doctest/doctest.h>

#include "base/byte_order.h"
#include "base/name_list.h"

using namespace gigafetch;
using namespace gigafetch::wire;

namespace {

template <typename Message>
std::string payload_of(const Message& message) {
  std::string out;
  append(out, message);
  return out.substr(kFrameHeaderBytes);
}

Outcome outcome_of(uint32_t count, uint32_t stored) {
  Outcome outcome;
  outcome.lease = 1;
  outcome.count = count;
  outcome.stored = stored;
  return outcome;
}

Outcome::Failure failure_at(uint32_t index) {
  return {index, FileFailure{FailureClass::http_status, 404, 1, "x"}};
}

bool accepts(const Outcome& outcome) {
  return parse_outcome(payload_of(outcome)).ok();
}

}  // namespace

TEST_CASE("a batch holds 1 to 100,000 names, and exactly as many as it says") {
  NameList names;
  for (uint32_t i = 0; i < kMaxBatchNames; ++i)
    names.append("n");
  CHECK(parse_batch(payload_of(BatchView{1, kMaxBatchNames, names.bytes()})));
  CHECK_FALSE(parse_batch(payload_of(BatchView{1, kMaxBatchNames - 1, names.bytes()})));
  names.append("n");
  CHECK_FALSE(parse_batch(payload_of(BatchView{1, kMaxBatchNames + 1, names.bytes()})));
  CHECK_FALSE(parse_batch(payload_of(BatchView{1, 0, {}})));
  CHECK_FALSE(parse_batch(payload_of(BatchView{1, 1, {}})));
}

TEST_CASE("a batch with a name over 4096 bytes is refused") {
  for (const size_t length : {kMaxNameBytes, kMaxNameBytes + 1}) {
    std::string names;
    put_le<uint16_t>(names, static_cast<uint16_t>(length));
    names.append(length, 'n');
    CHECK(parse_batch(payload_of(BatchView{1, 1, names})).ok() == (length == kMaxNameBytes));
  }
}

TEST_CASE("a batch of more than a megabyte of names is refused") {
  NameList names;
  while (names.bytes().size() <= kMaxBatchBytes)
    names.append(std::string(kMaxNameBytes, 'n'));
  CHECK_FALSE(parse_batch(payload_of(BatchView{1, names.count(), names.bytes()})));
}

TEST_CASE("an outcome in which 100,000 names failed with long texts fits a frame") {
  Outcome outcome = outcome_of(kMaxBatchNames, 0);
  const std::string text(5000, 't');
  for (uint32_t i = 0; i < kMaxBatchNames; ++i) {
    outcome.failures.push_back(
        {i, FileFailure{FailureClass::stalled, static_cast<uint16_t>(i), 6, text}});
  }
  const std::string payload = payload_of(outcome);
  CHECK(payload.size() <= kMaxPayloadBytes);

  const Result<Outcome> got = parse_outcome(payload);
  REQUIRE(got);
  const std::vector<Outcome::Failure>& failures = got.value().failures;
  REQUIRE(failures.size() == kMaxBatchNames);
  bool all_there = true;
  for (uint32_t i = 0; i < kMaxBatchNames; ++i) {
    all_there = all_there && failures[i].index == i &&
                failures[i].file.status == static_cast<uint16_t>(i) &&
                failures[i].file.attempts == 6 && failures[i].file.cause == FailureClass::stalled;
  }
  CHECK(all_there);
  CHECK(failures.front().file.text == text.substr(0, kMaxFailureText));
  CHECK(failures.back().file.text.empty());
}

TEST_CASE("an outcome with as many failures, texts and runs as there can be fits a frame") {
  Outcome outcome = outcome_of(kMaxBatchNames, 0);
  for (uint32_t i = 0; i < kMaxBatchNames; i += 2) {
    outcome.failures.push_back(
        {i, FileFailure{FailureClass::reset, 0, 1, std::string(kMaxFailureText, 't')}});
    outcome.released.push_back({i + 1, 1});
  }
  const std::string payload = payload_of(outcome);
  CHECK(payload.size() <= kMaxPayloadBytes);
  const Result<Outcome> got = parse_outcome(payload);
  REQUIRE(got);
  CHECK(got.value().failures.size() == kMaxBatchNames / 2);
  CHECK(got.value().released.size() == kMaxBatchNames / 2);
}

TEST_CASE("the texts of an outcome's failures are kept while they are few") {
  Outcome outcome = outcome_of(1000, 0);
  for (uint32_t i = 0; i < 1000; ++i) {
    outcome.failures.push_back(
        {i, FileFailure{FailureClass::reset, 0, 1, std::string(kMaxFailureText, 't')}});
  }
  const std::string payload = payload_of(outcome);
  const Result<Outcome> got = parse_outcome(payload);
  REQUIRE(got);
  for (const Outcome::Failure& failure : got.value().failures) {
    CHECK(failure.file.text.size() == kMaxFailureText);
  }
}

TEST_CASE("an outcome over 100,000 names is refused") {
  CHECK(accepts(outcome_of(kMaxBatchNames, kMaxBatchNames)));
  CHECK_FALSE(accepts(outcome_of(kMaxBatchNames + 1, kMaxBatchNames + 1)));
}

TEST_CASE("an outcome's stored, failed and released names add up to its batch") {
  Outcome outcome = outcome_of(10, 5);
  outcome.failures = {failure_at(0), failure_at(1)};
  outcome.released = {{4, 3}};
  CHECK(accepts(outcome));
  outcome.stored = 4;
  CHECK_FALSE(accepts(outcome));
  outcome.stored = 6;
  CHECK_FALSE(accepts(outcome));
  outcome.stored = UINT32_MAX;
  CHECK_FALSE(accepts(outcome));
  CHECK_FALSE(accepts(outcome_of(10, 9)));
  CHECK_FALSE(accepts(outcome_of(10, 11)));
  CHECK(accepts(outcome_of(10, 10)));
}

TEST_CASE("an outcome's failures ascend, each index once, all within the batch") {
  Outcome outcome = outcome_of(10, 8);
  outcome.failures = {failure_at(3), failure_at(7)};
  CHECK(accepts(outcome));
  outcome.failures = {failure_at(7), failure_at(3)};
  CHECK_FALSE(accepts(outcome));
  outcome.failures = {failure_at(3), failure_at(3)};
  CHECK_FALSE(accepts(outcome));
  outcome.failures = {failure_at(3), failure_at(10)};
  CHECK_FALSE(accepts(outcome));
  outcome.failures = {failure_at(3), failure_at(UINT32_MAX)};
  CHECK_FALSE(accepts(outcome));
  outcome.failures = {failure_at(0), failure_at(9)};
  CHECK(accepts(outcome));
}

TEST_CASE("an outcome's failures are of known classes") {
  for (unsigned cause = 0; cause < 256; ++cause) {
    Outcome outcome = outcome_of(1, 0);
    outcome.failures = {failure_at(0)};
    outcome.failures[0].file.cause = static_cast<FailureClass>(cause);
    CAPTURE(cause);
    CHECK(accepts(outcome) == failure_class_of(static_cast<uint8_t>(cause)).has_value());
  }
}

TEST_CASE("an outcome's released runs ascend, do not touch, are not empty and lie in the batch") {
  const auto accepts_runs = [](std::vector<Outcome::Range> runs) {
    uint32_t released = 0;
    for (const Outcome::Range& run : runs)
      released += run.count;
    Outcome outcome = outcome_of(20, released <= 20 ? 20 - released : 0);
    outcome.released = std::move(runs);
    return accepts(outcome);
  };
  CHECK(accepts_runs({{0, 20}}));
  CHECK(accepts_runs({{0, 1}, {2, 1}, {19, 1}}));
  CHECK_FALSE(accepts_runs({{5, 5}, {9, 2}}));   // overlapping
  CHECK_FALSE(accepts_runs({{5, 5}, {5, 5}}));   // the same
  CHECK_FALSE(accepts_runs({{5, 5}, {10, 2}}));  // touching
  CHECK_FALSE(accepts_runs({{10, 2}, {5, 2}}));  // descending
  CHECK_FALSE(accepts_runs({{5, 0}}));
  CHECK_FALSE(accepts_runs({{19, 2}}));
  CHECK_FALSE(accepts_runs({{20, 1}}));
  CHECK_FALSE(accepts_runs({{UINT32_MAX, 1}}));
  CHECK_FALSE(accepts_runs({{0, UINT32_MAX}}));
  CHECK_FALSE(accepts_runs({{UINT32_MAX, UINT32_MAX}}));
}

TEST_CASE("an outcome in which a name is both failed and released is refused") {
  Outcome outcome = outcome_of(2, 0);
  outcome.failures = {failure_at(0)};
  outcome.released = {{0, 1}};
  CHECK_FALSE(accepts(outcome));

  outcome = outcome_of(10, 3);
  outcome.failures = {failure_at(6)};
  outcome.released = {{2, 6}};
  CHECK_FALSE(accepts(outcome));
}

TEST_CASE("a count that promises more failures or runs than there are bytes is refused") {
  const std::string good = payload_of(outcome_of(3, 3));
  // The two counts are the payload's last eight bytes.
  for (const size_t at : {good.size() - 8, good.size() - 4}) {
    for (const uint32_t promised : {1u, 3u, 0x7FFFFFFFu, UINT32_MAX}) {
      std::string bytes;
      put_le<uint32_t>(bytes, promised);
      std::string payload = good;
      payload.replace(at, 4, bytes);
      CHECK_FALSE(parse_outcome(payload));
    }
  }
}

TEST_CASE("long texts of the other messages are cut, not refused") {
  const std::string text(100'000, 't');
  const std::string pulse = payload_of(Pulse{{}, text});
  const std::string fatal = payload_of(Fatal{text});
  const std::string done = payload_of(Done{1, text});
  REQUIRE(parse_pulse(pulse));
  REQUIRE(parse_fatal(fatal));
  REQUIRE(parse_done(done));
  CHECK(parse_pulse(pulse).value().trouble == text.substr(0, 4096));
  CHECK(parse_fatal(fatal).value().text == text.substr(0, 4096));
  CHECK(parse_done(done).value().text == text.substr(0, 4096));
}

TEST_CASE("a refusal says which message it was, as malformed") {
  const Result<Hello> refused = parse_hello("short");
  REQUIRE_FALSE(refused);
  CHECK(refused.failure().code == ErrorCode::malformed);
  CHECK(refused.failure().text.find("hello") != std::string::npos);
  CHECK(parse_worker_reaped("").failure().text.find("worker-reaped") != std::string::npos);
  CHECK(parse_kill_worker("").failure().text.find("kill-worker") != std::string::npos);
}
