// The wire format, held in place by files of bytes in tests/golden.
//
// After a change that is meant (and a new kVersion), write them anew and look at the difference:
//
//     GIGAFETCH_WRITE_GOLDEN=1 meson test -C build wire
//     git diff --stat tests/golden
#include <doctest/doctest.h>

#include <bit>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <optional>
#include <vector>

#include "base/name_list.h"
#include "base/random.h"
#include "wire/messages.h"

using namespace gigafetch;
using namespace gigafetch::wire;
using Status = FrameReader::Status;

namespace {

const std::string kFolder = "tests/golden/";

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

template <typename Message>
std::string frame_of(const Message& message) {
  std::string out;
  append(out, message);
  return out;
}

std::string empty_frame_of(MessageType type) {
  std::string out;
  append_empty(out, type);
  return out;
}

// Every field has a value of its own, so that two of them swapped show.
Hello hello() {
  return {0x1112131415161718, 0x21222324, 0x31323334};
}

const std::string& batch_names() {
  static const std::string names = [] {
    NameList list;
    list.append("a");
    list.append("folder/file 2");
    list.append(std::string_view("\0\xFF", 2));
    list.append("");
    return list.bytes();
  }();
  return names;
}
BatchView batch() {
  return {0x4142434445464748, 4, true, {1, 2, 1}, batch_names()};
}
BatchView batch_fresh() {
  return {0x494A4B4C4D4E4F50, 4, false, {4}, batch_names()};
}

WorkerCounters counters(uint64_t base) {
  return {base + 1, base + 2, base + 3, base + 4, base + 5, base + 6, 503};
}

// Of fifteen names: five stored in two runs and two segments, three failed, five handed back in two
// runs; two are still under way.
Outcome outcome() {
  Outcome message;
  message.lease = 0x5152535455565758;
  message.count = 15;
  message.counters = counters(1000);
  message.stored = {{1, 1}, {7, 4}};
  message.contents = {
      {0, 0x6162636465666768, 0x7172737475767778, 0x8182838485868788},
      {3, 0x696A6B6C6D6E6F70, 0x797A7B7C7D7E7F80, 0x898A8B8C8D8E8F90},
  };
  message.failures = {
      {0, FileFailure{FailureClass::http_status, 404, 1, "the origin answered 404"}},
      {5, FileFailure{FailureClass::bad_name, 0, 0, ""}},
      {14, FileFailure{FailureClass::stalled, 0, 6, "no byte came\nfor \xC3\xA4ges"}},
  };
  message.released = {{2, 3}, {11, 2}};
  message.keeps_credit = true;
  message.shards = {{0, 7, 0x9192939495969798, false}, {0, 0xA1A2A3A4, 0xB1, true}};
  return message;
}

Outcome outcome_all_stored() {
  Outcome message;
  message.lease = 9;
  message.count = 1000;
  message.last = true;
  message.stored = {{0, 1000}};
  message.contents = {{0, 100'000, 11, 12}};
  return message;
}

Pulse pulse() {
  return {counters(2000), 7000, "cannot connect to 127.0.0.1:80"};
}
Pace pace() {
  return {6001, 1234.5, 6002};
}
Shards shards() {
  return {7001};
}
Pipelining pipelining() {
  return {8001, 8002, 0xD1D2D3D4D5D6D7D8};
}
Fatal fatal() {
  return {"cannot write 'x': No space left on device"};
}
Warning warning() {
  return {"the origin sends answers that were not asked for"};
}
Figures figures() {
  Figures message;
  message.listed = 3001;
  message.stored = 3002;
  message.failed = 3003;
  message.rejected = 3004;
  message.duplicates = 3005;
  message.filtered = 3006;
  message.bytes = 3007;
  message.pages = 3008;
  message.requests = 3009;
  message.retries = 3010;
  message.fetched = 3011;
  message.listing_bound = 0.625;
  message.set_hash_low = 0x9192939495969798;
  message.set_hash_high = 0xA1A2A3A4A5A6A7A8;
  message.content_low = 0xB1B2B3B4B5B6B7B8;
  message.content_high = 0xC1C2C3C4C5C6C7C8;
  return message;
}
Done done() {
  return {3, "some files failed"};
}
KillWorker kill_worker() {
  return {4001, 4002};
}
WorkerReaped worker_reaped() {
  return {5001, 5002};
}

// The bytes of a payload as they are encoded again after parsing; nullopt when it is refused.
using Recode = std::function<std::optional<std::string>(std::string_view payload)>;

template <typename Parse>
Recode recode_with(Parse parse) {
  return [parse](std::string_view payload) -> std::optional<std::string> {
    const auto parsed = parse(payload);
    if (!parsed) return std::nullopt;
    return frame_of(parsed.value());
  };
}

struct Golden {
  std::string name;
  std::string frame;  // as this program encodes it
  MessageType type;
  Recode recode;  // empty for messages without a payload
};

const std::vector<Golden>& goldens() {
  static const std::vector<Golden> all = {
      {"wire-hello", frame_of(hello()), MessageType::hello, recode_with(parse_hello)},
      {"wire-batch", frame_of(batch()), MessageType::batch, recode_with(parse_batch)},
      {"wire-batch-fresh", frame_of(batch_fresh()), MessageType::batch, recode_with(parse_batch)},
      {"wire-outcome", frame_of(outcome()), MessageType::outcome, recode_with(parse_outcome)},
      {"wire-outcome-all-stored", frame_of(outcome_all_stored()), MessageType::outcome,
       recode_with(parse_outcome)},
      {"wire-drain", empty_frame_of(MessageType::drain), MessageType::drain, {}},
      {"wire-stop", empty_frame_of(MessageType::stop), MessageType::stop, {}},
      {"wire-pulse", frame_of(pulse()), MessageType::pulse, recode_with(parse_pulse)},
      {"wire-pace", frame_of(pace()), MessageType::pace, recode_with(parse_pace)},
      {"wire-shards", frame_of(shards()), MessageType::shards, recode_with(parse_shards)},
      {"wire-pipelining", frame_of(pipelining()), MessageType::pipelining,
       recode_with(parse_pipelining)},
      {"wire-fatal", frame_of(fatal()), MessageType::fatal, recode_with(parse_fatal)},
      {"wire-warning", frame_of(warning()), MessageType::warning, recode_with(parse_warning)},
      {"wire-figures", frame_of(figures()), MessageType::figures, recode_with(parse_figures)},
      {"wire-done", frame_of(done()), MessageType::done, recode_with(parse_done)},
      {"wire-kill-worker", frame_of(kill_worker()), MessageType::kill_worker,
       recode_with(parse_kill_worker)},
      {"wire-worker-reaped", frame_of(worker_reaped()), MessageType::worker_reaped,
       recode_with(parse_worker_reaped)},
  };
  return all;
}

std::string bytes_of(const Golden& golden) {
  return read_file(kFolder + golden.name + ".bin");
}

std::string payload_of(const std::string& name) {
  const std::string bytes = read_file(kFolder + name + ".bin");
  return bytes.size() < kFrameHeaderBytes ? std::string() : bytes.substr(kFrameHeaderBytes);
}

}  // namespace

TEST_CASE("every message is encoded to its golden bytes") {
  for (const Golden& golden : goldens()) {
    CAPTURE(golden.name);
    const std::string path = kFolder + golden.name + ".bin";
    if (std::getenv("GIGAFETCH_WRITE_GOLDEN") != nullptr) {
      std::ofstream(path, std::ios::binary | std::ios::trunc) << golden.frame;
    }
    CHECK_MESSAGE(read_file(path) == golden.frame, path << " holds other bytes");
  }
}

TEST_CASE("every golden file is one frame of its type, and encoded again it is the same") {
  for (const Golden& golden : goldens()) {
    CAPTURE(golden.name);
    const std::string bytes = bytes_of(golden);
    FrameReader reader;
    Frame frame;
    reader.feed(bytes);
    REQUIRE(reader.next(frame) == Status::frame);
    CHECK(frame.type == golden.type);
    CHECK(reader.at_boundary());
    if (golden.recode) {
      CHECK(golden.recode(frame.payload) == bytes);
    } else {
      CHECK(frame.payload.empty());
    }
  }
}

TEST_CASE("golden hello") {
  const std::string payload = payload_of("wire-hello");
  const Result<Hello> got = parse_hello(payload);
  REQUIRE(got);
  CHECK(got.value().run_id == hello().run_id);
  CHECK(got.value().worker == hello().worker);
  CHECK(got.value().pid == hello().pid);
}

TEST_CASE("golden batch") {
  const std::string payload = payload_of("wire-batch");
  const Result<BatchView> got = parse_batch(payload);
  REQUIRE(got);
  CHECK(got.value().lease == batch().lease);
  CHECK(got.value().count == 4);
  CHECK(got.value().patient);
  CHECK(got.value().segments == std::vector<uint32_t>{1, 2, 1});
  CHECK(got.value().names == batch_names());
  CHECK_MESSAGE(
      got.value().names.data() + got.value().names.size() == payload.data() + payload.size(),
      "the names are a view into the payload");
}

TEST_CASE("golden batch, fresh") {
  const std::string payload = payload_of("wire-batch-fresh");
  const Result<BatchView> got = parse_batch(payload);
  REQUIRE(got);
  CHECK(got.value().lease == batch_fresh().lease);
  CHECK_FALSE(got.value().patient);
  CHECK(got.value().segments == std::vector<uint32_t>{4});
}

TEST_CASE("golden outcome") {
  const std::string payload = payload_of("wire-outcome");
  const Result<Outcome> got = parse_outcome(payload);
  REQUIRE(got);
  const Outcome& message = got.value();
  const Outcome want = outcome();
  CHECK(message.lease == want.lease);
  CHECK(message.count == want.count);
  CHECK_FALSE(message.last);
  CHECK(message.counters == counters(1000));
  CHECK(message.stored == want.stored);
  CHECK(message.contents == want.contents);
  REQUIRE(message.failures.size() == want.failures.size());
  for (size_t i = 0; i < want.failures.size(); ++i) {
    CHECK(message.failures[i].index == want.failures[i].index);
    CHECK(message.failures[i].file.cause == want.failures[i].file.cause);
    CHECK(message.failures[i].file.status == want.failures[i].file.status);
    CHECK(message.failures[i].file.attempts == want.failures[i].file.attempts);
    CHECK(message.failures[i].file.text == want.failures[i].file.text);
  }
  CHECK(message.released == want.released);
  CHECK(message.keeps_credit);
  CHECK(message.shards == want.shards);
}

TEST_CASE("golden pipelining") {
  const Result<Pipelining> got = parse_pipelining(payload_of("wire-pipelining"));
  REQUIRE(got);
  CHECK(got.value() == pipelining());
}

TEST_CASE("golden shards") {
  const Result<Shards> got = parse_shards(payload_of("wire-shards"));
  REQUIRE(got);
  CHECK(got.value().first == shards().first);
}

TEST_CASE("golden outcome, all stored") {
  const std::string payload = payload_of("wire-outcome-all-stored");
  const Result<Outcome> got = parse_outcome(payload);
  REQUIRE(got);
  CHECK(got.value().last);
  CHECK(got.value().counters == WorkerCounters());
  CHECK(got.value().stored == outcome_all_stored().stored);
  CHECK(got.value().contents == outcome_all_stored().contents);
  CHECK(got.value().failures.empty());
  CHECK(got.value().released.empty());
}

TEST_CASE("golden pulse, fatal and done") {
  const std::string pulse_payload = payload_of("wire-pulse");
  const Result<Pulse> got_pulse = parse_pulse(pulse_payload);
  REQUIRE(got_pulse);
  CHECK(got_pulse.value().counters == counters(2000));
  CHECK(got_pulse.value().counters.failing_status == 503);
  CHECK(got_pulse.value().retry_after_ms == 7000);
  CHECK(got_pulse.value().trouble == pulse().trouble);

  const std::string fatal_payload = payload_of("wire-fatal");
  const Result<Fatal> got_fatal = parse_fatal(fatal_payload);
  REQUIRE(got_fatal);
  CHECK(got_fatal.value().text == fatal().text);

  const std::string warning_payload = payload_of("wire-warning");
  const Result<Warning> got_warning = parse_warning(warning_payload);
  REQUIRE(got_warning);
  CHECK(got_warning.value().text == warning().text);

  const std::string done_payload = payload_of("wire-done");
  const Result<Done> got_done = parse_done(done_payload);
  REQUIRE(got_done);
  CHECK(got_done.value().exit == 3);
  CHECK(got_done.value().text == done().text);
}

TEST_CASE("golden pace") {
  const std::string payload = payload_of("wire-pace");
  const Result<Pace> got = parse_pace(payload);
  REQUIRE(got);
  CHECK(got.value() == pace());
}

TEST_CASE("golden figures") {
  const std::string payload = payload_of("wire-figures");
  const Result<Figures> got = parse_figures(payload);
  REQUIRE(got);
  const Figures& message = got.value();
  CHECK(message.listed == 3001);
  CHECK(message.stored == 3002);
  CHECK(message.failed == 3003);
  CHECK(message.rejected == 3004);
  CHECK(message.duplicates == 3005);
  CHECK(message.filtered == 3006);
  CHECK(message.bytes == 3007);
  CHECK(message.pages == 3008);
  CHECK(message.requests == 3009);
  CHECK(message.retries == 3010);
  CHECK(message.fetched == 3011);
  CHECK(message.listing_bound == 0.625);
  CHECK(message.set_hash_low == figures().set_hash_low);
  CHECK(message.set_hash_high == figures().set_hash_high);
  CHECK(message.content_low == figures().content_low);
  CHECK(message.content_high == figures().content_high);
}

TEST_CASE("golden kill-worker and worker-reaped") {
  const std::string kill_payload = payload_of("wire-kill-worker");
  const Result<KillWorker> kill = parse_kill_worker(kill_payload);
  REQUIRE(kill);
  CHECK(kill.value().worker == 4001);
  CHECK(kill.value().pid == 4002);
  const std::string reaped_payload = payload_of("wire-worker-reaped");
  const Result<WorkerReaped> reaped = parse_worker_reaped(reaped_payload);
  REQUIRE(reaped);
  CHECK(reaped.value().worker == 5001);
  CHECK(reaped.value().pid == 5002);
}

TEST_CASE("a golden frame cut short is never a frame") {
  for (const Golden& golden : goldens()) {
    const std::string bytes = bytes_of(golden);
    for (size_t length = 0; length < bytes.size(); ++length) {
      CAPTURE(golden.name);
      CAPTURE(length);
      FrameReader reader;
      Frame frame;
      reader.feed(std::string_view(bytes).substr(0, length));
      CHECK(reader.next(frame) == Status::need_more);
    }
  }
}

TEST_CASE("a golden payload cut short is refused") {
  for (const Golden& golden : goldens()) {
    if (!golden.recode) continue;
    const std::string payload = payload_of(golden.name);
    for (size_t length = 0; length < payload.size(); ++length) {
      CAPTURE(golden.name);
      CAPTURE(length);
      // A copy of its own, so that a read behind its end is caught by the sanitizer.
      const std::vector<char> cut(payload.begin(), payload.begin() + static_cast<long>(length));
      CHECK_FALSE(golden.recode(std::string_view(cut.data(), cut.size())).has_value());
    }
  }
}

TEST_CASE("a golden payload with any one byte behind it is refused") {
  for (const Golden& golden : goldens()) {
    if (!golden.recode) continue;
    for (int byte = 0; byte < 256; ++byte) {
      CAPTURE(golden.name);
      CAPTURE(byte);
      CHECK_FALSE(golden.recode(payload_of(golden.name) + static_cast<char>(byte)).has_value());
    }
  }
}

TEST_CASE("a byte behind a golden frame belongs to the next one") {
  for (const Golden& golden : goldens()) {
    for (int byte = 0; byte < 256; ++byte) {
      FrameReader reader;
      Frame frame;
      reader.feed(bytes_of(golden) + static_cast<char>(byte));
      REQUIRE(reader.next(frame) == Status::frame);
      CHECK(reader.next(frame) == Status::need_more);
      CHECK_FALSE(reader.at_boundary());
    }
  }
}

TEST_CASE("golden frames with random damage never crash, and what still parses is canonical") {
  Random random(7);
  std::vector<std::string> all;
  for (const Golden& golden : goldens())
    all.push_back(bytes_of(golden));
  int refused = 0, parsed = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::string bytes = all[random.below(all.size())];
    for (uint64_t changes = 1 + random.below(4); changes > 0 && !bytes.empty(); --changes) {
      const size_t at = random.below(bytes.size());
      switch (random.below(6)) {
        case 0:
          bytes[at] = static_cast<char>(random.below(256));
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
          break;
        case 2:
          bytes.erase(at, 1 + random.below(8));
          break;
        case 3:
          bytes.insert(at, 1, static_cast<char>(random.below(256)));
          break;
        case 4:
          bytes[at] = static_cast<char>(random.chance(0.5) ? 0 : 0xFF);
          break;
        default:
          bytes.append(bytes, at, 16);
          break;
      }
    }
    FrameReader reader;
    Frame frame;
    reader.feed(bytes);
    while (reader.next(frame) == Status::frame) {
      for (const Golden& golden : goldens()) {
        if (!golden.recode || golden.type != frame.type) continue;
        const std::optional<std::string> again = golden.recode(frame.payload);
        ++(again ? parsed : refused);
        if (again) CHECK(again->substr(kFrameHeaderBytes) == frame.payload);
        break;
      }
    }
  }
  CHECK(refused > 1000);
  CHECK(parsed > 1000);
}
