#include "wire/messages.h"

#include <doctest/doctest.h>

#include <limits>

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

// One segment of all names.
BatchView batch_of(uint32_t count, std::string_view names) {
  return {1, count, false, {count}, names};
}

std::string some_names(uint32_t count) {
  NameList names;
  for (uint32_t i = 0; i < count; ++i)
    names.append("n");
  return names.bytes();
}

bool accepts_segments(uint32_t count, std::vector<uint32_t> segments) {
  const std::string names = some_names(count);
  return parse_batch(payload_of(BatchView{1, count, false, std::move(segments), names})).ok();
}

Outcome outcome_of(uint32_t count) {
  Outcome outcome;
  outcome.lease = 1;
  outcome.count = count;
  return outcome;
}

Outcome::Failure failure_at(uint32_t index) {
  return {index, FileFailure{FailureClass::http_status, 404, 1, "x"}};
}

bool accepts(const Outcome& outcome) {
  return parse_outcome(payload_of(outcome)).ok();
}

std::string with_byte(std::string bytes, size_t at, uint8_t value) {
  bytes[at] = static_cast<char>(value);
  return bytes;
}

// A payload of `before` and one text of so many bytes.
std::string text_behind(std::string before, size_t text_bytes) {
  put_le<uint16_t>(before, static_cast<uint16_t>(text_bytes));
  return before.append(text_bytes, 't');
}

}  // namespace

TEST_CASE("a batch holds 1 to 100,000 names, and exactly as many as it says") {
  std::string names = some_names(kMaxBatchNames);
  CHECK(parse_batch(payload_of(batch_of(kMaxBatchNames, names))));
  CHECK_FALSE(parse_batch(payload_of(batch_of(kMaxBatchNames - 1, names))));
  names = some_names(kMaxBatchNames + 1);
  CHECK_FALSE(parse_batch(payload_of(batch_of(kMaxBatchNames + 1, names))));
  CHECK_FALSE(parse_batch(payload_of(BatchView{1, 0, false, {}, {}})));
  CHECK_FALSE(parse_batch(payload_of(batch_of(0, {}))));
  CHECK_FALSE(parse_batch(payload_of(batch_of(1, {}))));
}

TEST_CASE("a batch is patient or is not") {
  const std::string payload = payload_of(batch_of(1, some_names(1)));
  const size_t patient = sizeof(uint64_t) + sizeof(uint32_t);
  REQUIRE(payload[patient] == 0);
  for (unsigned value = 0; value < 256; ++value) {
    const Result<BatchView> got = parse_batch(with_byte(payload, patient, uint8_t(value)));
    CAPTURE(value);
    CHECK(got.ok() == (value <= 1));
    if (got) CHECK(got.value().patient == (value == 1));
  }
}

TEST_CASE("a batch's segments are not empty and have as many names as the batch") {
  CHECK(accepts_segments(5, {5}));
  CHECK(accepts_segments(5, {1, 1, 1, 1, 1}));
  CHECK(accepts_segments(5, {2, 3}));
  CHECK_FALSE(accepts_segments(5, {}));
  CHECK_FALSE(accepts_segments(5, {4}));
  CHECK_FALSE(accepts_segments(5, {6}));
  CHECK_FALSE(accepts_segments(5, {2, 2}));
  CHECK_FALSE(accepts_segments(5, {2, 4}));
  CHECK_FALSE(accepts_segments(5, {5, 0}));
  CHECK_FALSE(accepts_segments(5, {0, 5}));
  CHECK_FALSE(accepts_segments(5, {1, 1, 1, 1, 1, 0}));
  // Sums that would be right in 32 bits.
  CHECK_FALSE(accepts_segments(5, {UINT32_MAX, 6}));
  CHECK_FALSE(accepts_segments(5, {0x80000000, 0x80000005}));
}

TEST_CASE("a batch that promises more segments than it has is refused") {
  const std::string payload = payload_of(batch_of(3, some_names(3)));
  const size_t count_at = sizeof(uint64_t) + sizeof(uint32_t) + sizeof(uint8_t);
  for (const uint8_t promised : {uint8_t{0}, uint8_t{2}, uint8_t{3}, uint8_t{4}, uint8_t{255}})
    CHECK_FALSE(parse_batch(with_byte(payload, count_at, promised)));
}

TEST_CASE("a batch with a name over 4096 bytes is refused") {
  for (const size_t length : {kMaxNameBytes, kMaxNameBytes + 1}) {
    std::string names;
    put_le<uint16_t>(names, static_cast<uint16_t>(length));
    names.append(length, 'n');
    CHECK(parse_batch(payload_of(batch_of(1, names))).ok() == (length == kMaxNameBytes));
  }
}

TEST_CASE("a batch of more than a megabyte of names is refused") {
  NameList names;
  while (names.bytes().size() + NameCursor::kLengthBytes + kMaxNameBytes <= kMaxBatchBytes)
    names.append(std::string(kMaxNameBytes, 'n'));
  const size_t left = kMaxBatchBytes - names.bytes().size();
  NameList over = names;
  names.append(std::string(left - NameCursor::kLengthBytes, 'n'));
  over.append(std::string(left - NameCursor::kLengthBytes + 1, 'n'));
  CHECK(parse_batch(payload_of(batch_of(names.count(), names.bytes()))));
  CHECK_FALSE(parse_batch(payload_of(batch_of(over.count(), over.bytes()))));
}

TEST_CASE("an outcome in which 100,000 names failed with long texts fits a frame") {
  Outcome outcome = outcome_of(kMaxBatchNames);
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

TEST_CASE(
    "an outcome with as many failures, texts, runs and contents as there can be fits a frame") {
  const auto append_every_other = [](Outcome& outcome, bool stored) {
    for (uint32_t i = 0; i < kMaxBatchNames; i += 2) {
      outcome.failures.push_back(
          {i, FileFailure{FailureClass::reset, 0, 1, std::string(kMaxFailureText, 't')}});
      (stored ? outcome.stored : outcome.released).push_back({i + 1, 1});
      if (stored) outcome.contents.push_back({i + 1, 1, 1, 1});
    }
  };
  for (const bool stored : {true, false}) {
    Outcome outcome = outcome_of(kMaxBatchNames);
    append_every_other(outcome, stored);
    const std::string payload = payload_of(outcome);
    CHECK(payload.size() <= kMaxPayloadBytes);
    const Result<Outcome> got = parse_outcome(payload);
    REQUIRE(got);
    CHECK(got.value().failures.size() == kMaxBatchNames / 2);
    CHECK(got.value().stored == outcome.stored);
    CHECK(got.value().contents == outcome.contents);
    CHECK(got.value().released == outcome.released);
  }
}

TEST_CASE("an outcome's texts are those its sender would have kept") {
  const auto accepts_text = [](size_t bytes) {
    Outcome outcome = outcome_of(1);
    outcome.failures = {failure_at(0)};
    std::string payload = payload_of(outcome);
    // Behind the failure's one byte of text are only the numbers of released runs and of shards.
    payload.resize(payload.size() - 2 * sizeof(uint32_t) - 1 - sizeof(uint16_t));
    payload = text_behind(std::move(payload), bytes);
    put_le<uint64_t>(payload, 0);
    return parse_outcome(payload).ok();
  };
  CHECK(accepts_text(0));
  CHECK(accepts_text(kMaxFailureText));
  CHECK_FALSE(accepts_text(kMaxFailureText + 1));
  CHECK_FALSE(accepts_text(UINT16_MAX));
}

TEST_CASE("an outcome with a text behind 4 MiB of texts is refused") {
  const uint32_t full = (kMaxOutcomeText + kMaxFailureText - 1) / kMaxFailureText;
  Outcome outcome = outcome_of(full + 1);
  for (uint32_t i = 0; i <= full; ++i) {
    outcome.failures.push_back(
        {i, FileFailure{FailureClass::reset, 0, 1, std::string(kMaxFailureText, 't')}});
  }
  std::string payload = payload_of(outcome);
  const Result<Outcome> got = parse_outcome(payload);
  REQUIRE(got);
  CHECK(got.value().failures[full - 1].file.text.size() == kMaxFailureText);
  CHECK(got.value().failures[full].file.text.empty());

  payload.resize(payload.size() - 2 * sizeof(uint32_t) - sizeof(uint16_t));
  payload = text_behind(std::move(payload), 1);
  put_le<uint64_t>(payload, 0);
  CHECK_FALSE(parse_outcome(payload));
}

TEST_CASE("the texts of an outcome's failures are kept while they are few") {
  Outcome outcome = outcome_of(1000);
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
  CHECK(accepts(outcome_of(kMaxBatchNames)));
  CHECK_FALSE(accepts(outcome_of(kMaxBatchNames + 1)));
  CHECK_FALSE(accepts(outcome_of(UINT32_MAX)));
}

TEST_CASE("an outcome is the last of its lease or is not") {
  const std::string payload = payload_of(outcome_of(1));
  const size_t last = sizeof(uint64_t) + sizeof(uint32_t);
  for (unsigned value = 0; value < 256; ++value) {
    const Result<Outcome> got = parse_outcome(with_byte(payload, last, uint8_t(value)));
    CAPTURE(value);
    CHECK(got.ok() == (value <= 1));
    if (got) CHECK(got.value().last == (value == 1));
  }
}

TEST_CASE("an outcome keeps its credit or does not, and the last one never does") {
  const size_t last = sizeof(uint64_t) + sizeof(uint32_t), keeps = last + 1;
  const std::string payload = payload_of(outcome_of(1));
  for (unsigned value = 0; value < 256; ++value) {
    const Result<Outcome> got = parse_outcome(with_byte(payload, keeps, uint8_t(value)));
    CAPTURE(value);
    CHECK(got.ok() == (value <= 1));
    if (got) CHECK(got.value().keeps_credit == (value == 1));
    const std::string of_last = with_byte(with_byte(payload, last, 1), keeps, uint8_t(value));
    CHECK(parse_outcome(of_last).ok() == (value == 0));
  }
}

TEST_CASE("an outcome's shards ascend by number, and are finished or are not") {
  Outcome outcome = outcome_of(3);
  outcome.stored = {{0, 3}};
  outcome.shards = {{0, 0, 512, true}, {0, 1, UINT64_MAX, false}, {0, UINT32_MAX, 0, true}};
  const std::string payload = payload_of(outcome);
  const Result<Outcome> got = parse_outcome(payload);
  REQUIRE(got);
  CHECK(got.value().shards == outcome.shards);
  for (unsigned value = 0; value < 256; ++value) {
    const Result<Outcome> other =
        parse_outcome(with_byte(payload, payload.size() - 1, uint8_t(value)));
    CHECK(other.ok() == (value <= 1));
    if (other) CHECK(other.value().shards.back().finished == (value == 1));
  }
  for (size_t size = payload.size() - 4 * sizeof(uint32_t); size < payload.size(); ++size)
    CHECK_FALSE(parse_outcome(payload.substr(0, size)));
  CHECK_FALSE(parse_outcome(payload + '\0'));
  outcome.shards = {{0, 4, 512, false}, {0, 4, 1024, false}};
  CHECK_FALSE(accepts(outcome));
  outcome.shards = {{0, 5, 512, false}, {0, 4, 1024, false}};
  CHECK_FALSE(accepts(outcome));
  outcome.shards = {{0, UINT32_MAX, 512, false}, {0, 0, 1024, false}};
  CHECK_FALSE(accepts(outcome));
}

TEST_CASE("which worker a shard is of is not said, but known by who says it") {
  Outcome outcome = outcome_of(1);
  outcome.shards = {{17, 3, 512, false}};
  const Result<Outcome> got = parse_outcome(payload_of(outcome));
  REQUIRE(got);
  CHECK(got.value().shards == std::vector<ShardEnd>{{0, 3, 512, false}});
}

TEST_CASE("a shards message is a number and nothing else") {
  for (const uint32_t first : {0u, 1u, UINT32_MAX}) {
    const std::string payload = payload_of(Shards{first});
    CHECK(payload.size() == sizeof first);
    REQUIRE(parse_shards(payload));
    CHECK(parse_shards(payload).value().first == first);
    CHECK_FALSE(parse_shards(payload + 'x'));
    CHECK_FALSE(parse_shards(payload.substr(1)));
  }
}

TEST_CASE("a pipelining message is three numbers; one request at a time is always borne") {
  const Pipelining found{16, 2, 1000};
  const std::string payload = payload_of(found);
  REQUIRE(parse_pipelining(payload));
  CHECK(parse_pipelining(payload).value() == found);
  CHECK(parse_pipelining(payload_of(Pipelining{})));
  CHECK_FALSE(parse_pipelining(payload_of(Pipelining{0, 2, 1000})));
  CHECK_FALSE(parse_pipelining(payload + 'x'));
  CHECK_FALSE(parse_pipelining(payload.substr(1)));
}

TEST_CASE("an outcome may leave names unmentioned, all of them too") {
  Outcome outcome = outcome_of(10);
  CHECK(accepts(outcome));
  outcome.stored = {{4, 2}};
  CHECK(accepts(outcome));
  outcome.failures = {failure_at(0), failure_at(9)};
  CHECK(accepts(outcome));
  outcome.released = {{1, 3}, {6, 3}};
  CHECK(accepts(outcome));
}

TEST_CASE("an outcome's failures ascend, each index once, all within the batch") {
  Outcome outcome = outcome_of(10);
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
  outcome.failures = {failure_at(UINT32_MAX), failure_at(0)};
  CHECK_FALSE(accepts(outcome));
  outcome.failures = {failure_at(0), failure_at(9)};
  CHECK(accepts(outcome));
}

TEST_CASE("an outcome's failures are of known classes") {
  for (unsigned cause = 0; cause < 256; ++cause) {
    Outcome outcome = outcome_of(1);
    outcome.failures = {failure_at(0)};
    outcome.failures[0].file.cause = static_cast<FailureClass>(cause);
    CAPTURE(cause);
    CHECK(accepts(outcome) == failure_class_of(static_cast<uint8_t>(cause)).has_value());
  }
}

TEST_CASE("an outcome's runs ascend, do not touch, are not empty and lie in the batch") {
  for (const bool stored : {true, false}) {
    CAPTURE(stored);
    const auto accepts_runs = [&](std::vector<Outcome::Range> runs) {
      Outcome outcome = outcome_of(20);
      (stored ? outcome.stored : outcome.released) = std::move(runs);
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
}

TEST_CASE("an outcome's contents ascend, each segment once, none beyond what a batch can have") {
  const auto accepts_contents = [](const std::vector<uint32_t>& segments) {
    Outcome outcome = outcome_of(20);
    outcome.stored = {{0, 20}};
    for (const uint32_t segment : segments)
      outcome.contents.push_back({segment, 1, 2, 3});
    return accepts(outcome);
  };
  CHECK(accepts_contents({0}));
  CHECK(accepts_contents({0, 1, 19}));
  CHECK(accepts_contents({kMaxBatchNames - 1}));
  CHECK_FALSE(accepts_contents({kMaxBatchNames}));
  CHECK_FALSE(accepts_contents({UINT32_MAX}));
  CHECK_FALSE(accepts_contents({3, 3}));
  CHECK_FALSE(accepts_contents({3, 2}));
  CHECK_FALSE(accepts_contents({UINT32_MAX, 0}));
}

TEST_CASE("an outcome in which a name is mentioned twice is refused") {
  Outcome failed_and_released = outcome_of(10);
  failed_and_released.failures = {failure_at(6)};
  failed_and_released.released = {{2, 6}};
  CHECK_FALSE(accepts(failed_and_released));
  failed_and_released.released = {{2, 4}, {7, 3}};
  CHECK(accepts(failed_and_released));

  Outcome failed_and_stored = outcome_of(10);
  failed_and_stored.failures = {failure_at(0)};
  failed_and_stored.stored = {{0, 1}};
  CHECK_FALSE(accepts(failed_and_stored));
  failed_and_stored.stored = {{1, 9}};
  CHECK(accepts(failed_and_stored));

  Outcome stored_and_released = outcome_of(10);
  stored_and_released.stored = {{2, 3}, {9, 1}};
  for (const uint32_t first : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u}) {
    CAPTURE(first);
    stored_and_released.released = {{first, 2}};
    CHECK(accepts(stored_and_released) == (first == 0 || (first >= 5 && first <= 7)));
  }
}

TEST_CASE("a count that promises more than there are bytes is refused") {
  const std::string good = payload_of(outcome_of(3));
  // The counts of stored runs, contents, failures, released runs and shards are the payload's last
  // bytes.
  for (size_t back = 1; back <= 5; ++back) {
    for (const uint32_t promised : {1u, 3u, 0x7FFFFFFFu, UINT32_MAX}) {
      std::string bytes;
      put_le<uint32_t>(bytes, promised);
      std::string payload = good;
      payload.replace(payload.size() - back * sizeof promised, sizeof promised, bytes);
      CHECK_FALSE(parse_outcome(payload));
    }
  }
}

TEST_CASE("a pace lets at least one request pass, at a rate that is a number") {
  const auto accepts_pace = [](uint32_t in_flight, double rate) {
    return parse_pace(payload_of(Pace{in_flight, rate, 0})).ok();
  };
  CHECK(accepts_pace(1, 0));
  CHECK(accepts_pace(UINT32_MAX, 1e9));
  CHECK(accepts_pace(1, 0.001));
  CHECK_FALSE(accepts_pace(0, 0));
  CHECK_FALSE(accepts_pace(1, -0.5));
  CHECK_FALSE(accepts_pace(1, std::numeric_limits<double>::quiet_NaN()));
  CHECK_FALSE(accepts_pace(1, std::numeric_limits<double>::infinity()));
  CHECK_FALSE(accepts_pace(1, -std::numeric_limits<double>::infinity()));
}

TEST_CASE("long texts of the other messages are cut, not refused") {
  const std::string text(100'000, 't');
  const std::string pulse = payload_of(Pulse{{}, 0, text});
  const std::string fatal = payload_of(Fatal{text});
  const std::string done = payload_of(Done{1, text});
  REQUIRE(parse_pulse(pulse));
  REQUIRE(parse_fatal(fatal));
  REQUIRE(parse_done(done));
  CHECK(parse_pulse(pulse).value().trouble == text.substr(0, 4096));
  CHECK(parse_fatal(fatal).value().text == text.substr(0, 4096));
  CHECK(parse_done(done).value().text == text.substr(0, 4096));
}

TEST_CASE("texts longer than any sender sends are refused") {
  const std::string pulse_without_text =
      payload_of(Pulse()).substr(0, payload_of(Pulse()).size() - 2);
  CHECK(parse_pulse(text_behind(pulse_without_text, 4096)));
  CHECK_FALSE(parse_pulse(text_behind(pulse_without_text, 4097)));
  CHECK(parse_fatal(text_behind("", 4096)));
  CHECK_FALSE(parse_fatal(text_behind("", 4097)));
  CHECK(parse_done(text_behind("\x01", 4096)));
  CHECK_FALSE(parse_done(text_behind("\x01", 4097)));
}

TEST_CASE("a refusal says which message it was, as malformed") {
  const Result<Hello> refused = parse_hello("short");
  REQUIRE_FALSE(refused);
  CHECK(refused.failure().code == ErrorCode::malformed);
  CHECK(refused.failure().text.find("hello") != std::string::npos);
  CHECK(parse_worker_reaped("").failure().text.find("worker-reaped") != std::string::npos);
  CHECK(parse_kill_worker("").failure().text.find("kill-worker") != std::string::npos);
}
