#include "wire/messages.h"

#include <bit>

#include "base/byte_order.h"
#include "base/name_list.h"
#include "wire/payload.h"

namespace gigafetch::wire {
namespace {

constexpr size_t kMaxText = 4096;

Error malformed(std::string_view what) {
  return error(ErrorCode::malformed, "a {} message does not parse", what);
}

void put_counters(std::string& out, const WorkerCounters& counters) {
  put_le<uint64_t>(out, counters.requests);
  put_le<uint64_t>(out, counters.retries);
  put_le<uint64_t>(out, counters.responses);
  put_le<uint64_t>(out, counters.received);
}

WorkerCounters take_counters(PayloadReader& in) {
  WorkerCounters counters;
  counters.requests = in.take<uint64_t>();
  counters.retries = in.take<uint64_t>();
  counters.responses = in.take<uint64_t>();
  counters.received = in.take<uint64_t>();
  return counters;
}

}  // namespace

void append(std::string& out, const Hello& message) {
  FrameWriter frame(out, MessageType::hello);
  put_le<uint64_t>(out, message.run_id);
  put_le<uint32_t>(out, message.worker);
  put_le<uint32_t>(out, message.pid);
}

Result<Hello> parse_hello(std::string_view payload) {
  PayloadReader in(payload);
  Hello message;
  message.run_id = in.take<uint64_t>();
  message.worker = in.take<uint32_t>();
  message.pid = in.take<uint32_t>();
  if (!in.ok_at_end()) return malformed("hello");
  return message;
}

void append(std::string& out, const BatchView& message) {
  FrameWriter frame(out, MessageType::batch);
  put_le<uint64_t>(out, message.lease);
  put_le<uint32_t>(out, message.count);
  out.append(message.names);
}

Result<BatchView> parse_batch(std::string_view payload) {
  PayloadReader in(payload);
  BatchView message;
  message.lease = in.take<uint64_t>();
  message.count = in.take<uint32_t>();
  message.names = in.take_bytes(in.left());
  if (!in.ok_at_end() || message.count == 0 || message.count > kMaxBatchNames ||
      message.names.size() > kMaxBatchBytes || !well_formed(message.names, message.count)) {
    return malformed("batch");
  }
  return message;
}

void append(std::string& out, const Outcome& message) {
  FrameWriter frame(out, MessageType::outcome);
  put_le<uint64_t>(out, message.lease);
  put_le<uint32_t>(out, message.count);
  put_le<uint32_t>(out, message.stored);
  put_le<uint64_t>(out, message.bytes);
  put_le<uint64_t>(out, message.set_hash_low);
  put_le<uint64_t>(out, message.set_hash_high);
  put_counters(out, message.counters);
  put_le<uint32_t>(out, static_cast<uint32_t>(message.failures.size()));
  size_t text_bytes = 0;
  for (const Outcome::Failure& failure : message.failures) {
    put_le<uint32_t>(out, failure.index);
    put_le<uint8_t>(out, static_cast<uint8_t>(failure.file.cause));
    put_le<uint16_t>(out, failure.file.status);
    put_le<uint16_t>(out, failure.file.attempts);
    put_text(out, failure.file.text, text_bytes < kMaxOutcomeText ? kMaxFailureText : 0);
    text_bytes += failure.file.text.size();
  }
  put_le<uint32_t>(out, static_cast<uint32_t>(message.released.size()));
  for (const Outcome::Range& range : message.released) {
    put_le<uint32_t>(out, range.first);
    put_le<uint32_t>(out, range.count);
  }
}

Result<Outcome> parse_outcome(std::string_view payload) {
  PayloadReader in(payload);
  Outcome message;
  message.lease = in.take<uint64_t>();
  message.count = in.take<uint32_t>();
  message.stored = in.take<uint32_t>();
  message.bytes = in.take<uint64_t>();
  message.set_hash_low = in.take<uint64_t>();
  message.set_hash_high = in.take<uint64_t>();
  message.counters = take_counters(in);
  if (message.count > kMaxBatchNames) return malformed("outcome");

  uint64_t accounted = message.stored;
  uint64_t next_index = 0;
  const auto failures = in.take<uint32_t>();
  for (uint32_t i = 0; i < failures && in.ok(); ++i) {
    Outcome::Failure failure;
    failure.index = in.take<uint32_t>();
    const auto cause = failure_class_of(in.take<uint8_t>());
    failure.file.status = in.take<uint16_t>();
    failure.file.attempts = in.take<uint16_t>();
    failure.file.text = in.take_text();
    if (!cause || failure.index < next_index || failure.index >= message.count) {
      return malformed("outcome");
    }
    failure.file.cause = *cause;
    next_index = uint64_t{failure.index} + 1;
    ++accounted;
    message.failures.push_back(std::move(failure));
  }
  uint64_t next_first = 0;
  auto failure = message.failures.cbegin();
  const auto ranges = in.take<uint32_t>();
  for (uint32_t i = 0; i < ranges && in.ok(); ++i) {
    Outcome::Range range;
    range.first = in.take<uint32_t>();
    range.count = in.take<uint32_t>();
    const uint64_t end = uint64_t{range.first} + range.count;
    if (range.count == 0 || range.first < next_first || end > message.count) {
      return malformed("outcome");
    }
    while (failure != message.failures.cend() && failure->index < range.first)
      ++failure;
    if (failure != message.failures.cend() && failure->index < end) return malformed("outcome");
    next_first = end + 1;
    accounted += range.count;
    message.released.push_back(range);
  }
  if (!in.ok_at_end() || accounted != message.count) return malformed("outcome");
  return message;
}

void append(std::string& out, const Pulse& message) {
  FrameWriter frame(out, MessageType::pulse);
  put_counters(out, message.counters);
  put_text(out, message.trouble, kMaxText);
}

Result<Pulse> parse_pulse(std::string_view payload) {
  PayloadReader in(payload);
  Pulse message;
  message.counters = take_counters(in);
  message.trouble = in.take_text();
  if (!in.ok_at_end()) return malformed("pulse");
  return message;
}

void append(std::string& out, const Fatal& message) {
  FrameWriter frame(out, MessageType::fatal);
  put_text(out, message.text, kMaxText);
}

Result<Fatal> parse_fatal(std::string_view payload) {
  PayloadReader in(payload);
  Fatal message;
  message.text = in.take_text();
  if (!in.ok_at_end()) return malformed("fatal");
  return message;
}

void append(std::string& out, const Figures& message) {
  FrameWriter frame(out, MessageType::figures);
  for (const uint64_t value :
       {message.listed, message.stored, message.failed, message.rejected, message.duplicates,
        message.filtered, message.bytes, message.pages, message.requests, message.retries,
        std::bit_cast<uint64_t>(message.listing_bound), message.set_hash_low,
        message.set_hash_high}) {
    put_le<uint64_t>(out, value);
  }
}

Result<Figures> parse_figures(std::string_view payload) {
  PayloadReader in(payload);
  Figures message;
  for (uint64_t* field :
       {&message.listed, &message.stored, &message.failed, &message.rejected, &message.duplicates,
        &message.filtered, &message.bytes, &message.pages, &message.requests, &message.retries}) {
    *field = in.take<uint64_t>();
  }
  message.listing_bound = std::bit_cast<double>(in.take<uint64_t>());
  message.set_hash_low = in.take<uint64_t>();
  message.set_hash_high = in.take<uint64_t>();
  if (!in.ok_at_end()) return malformed("figures");
  return message;
}

void append(std::string& out, const Done& message) {
  FrameWriter frame(out, MessageType::done);
  put_le<uint8_t>(out, message.exit);
  put_text(out, message.text, kMaxText);
}

Result<Done> parse_done(std::string_view payload) {
  PayloadReader in(payload);
  Done message;
  message.exit = in.take<uint8_t>();
  message.text = in.take_text();
  if (!in.ok_at_end()) return malformed("done");
  return message;
}

namespace {

template <typename Message>
void append_worker(std::string& out, MessageType type, const Message& message) {
  FrameWriter frame(out, type);
  put_le<uint32_t>(out, message.worker);
  put_le<uint32_t>(out, message.pid);
}

template <typename Message>
Result<Message> parse_worker(std::string_view payload, std::string_view what) {
  PayloadReader in(payload);
  Message message;
  message.worker = in.take<uint32_t>();
  message.pid = in.take<uint32_t>();
  if (!in.ok_at_end()) return malformed(what);
  return message;
}

}  // namespace

void append(std::string& out, const KillWorker& message) {
  append_worker(out, MessageType::kill_worker, message);
}

Result<KillWorker> parse_kill_worker(std::string_view payload) {
  return parse_worker<KillWorker>(payload, "kill-worker");
}

void append(std::string& out, const WorkerReaped& message) {
  append_worker(out, MessageType::worker_reaped, message);
}

Result<WorkerReaped> parse_worker_reaped(std::string_view payload) {
  return parse_worker<WorkerReaped>(payload, "worker-reaped");
}

void append_empty(std::string& out, MessageType type) {
  FrameWriter frame(out, type);
}

}  // namespace gigafetch::wire
