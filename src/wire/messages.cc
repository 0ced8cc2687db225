#include "wire/messages.h"

#include <algorithm>
#include <bit>
#include <cmath>

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
  for (const uint64_t value : {counters.requests, counters.retries, counters.responses,
                               counters.received, counters.pushbacks, counters.failing}) {
    put_le<uint64_t>(out, value);
  }
  put_le<uint16_t>(out, counters.failing_status);
}

WorkerCounters take_counters(PayloadReader& in) {
  WorkerCounters counters;
  for (uint64_t* field : {&counters.requests, &counters.retries, &counters.responses,
                          &counters.received, &counters.pushbacks, &counters.failing}) {
    *field = in.take<uint64_t>();
  }
  counters.failing_status = in.take<uint16_t>();
  return counters;
}

void put_ranges(std::string& out, const std::vector<Outcome::Range>& ranges) {
  put_le<uint32_t>(out, static_cast<uint32_t>(ranges.size()));
  for (const Outcome::Range& range : ranges) {
    put_le<uint32_t>(out, range.first);
    put_le<uint32_t>(out, range.count);
  }
}

// Ranges of indices below `count`: ascending, and not touching, so that there is one way to write
// them.
bool take_ranges(PayloadReader& in, uint32_t count, std::vector<Outcome::Range>& ranges) {
  uint64_t next_first = 0;
  const auto number = in.take<uint32_t>();
  for (uint32_t i = 0; i < number && in.ok(); ++i) {
    Outcome::Range range;
    range.first = in.take<uint32_t>();
    range.count = in.take<uint32_t>();
    const uint64_t end = uint64_t{range.first} + range.count;
    if (range.count == 0 || range.first < next_first || end > count) return false;
    next_first = end + 1;
    ranges.push_back(range);
  }
  return in.ok();
}

bool take_contents(PayloadReader& in, std::vector<Outcome::Content>& contents) {
  uint64_t next_segment = 0;
  const auto number = in.take<uint32_t>();
  for (uint32_t i = 0; i < number && in.ok(); ++i) {
    Outcome::Content content;
    content.segment = in.take<uint32_t>();
    content.bytes = in.take<uint64_t>();
    content.sum_low = in.take<uint64_t>();
    content.sum_high = in.take<uint64_t>();
    if (content.segment < next_segment || content.segment >= kMaxBatchNames) return false;
    next_segment = uint64_t{content.segment} + 1;
    contents.push_back(content);
  }
  return in.ok();
}

bool take_failures(PayloadReader& in, uint32_t count, std::vector<Outcome::Failure>& failures) {
  uint64_t next_index = 0;
  size_t text_bytes = 0;
  const auto number = in.take<uint32_t>();
  for (uint32_t i = 0; i < number && in.ok(); ++i) {
    Outcome::Failure failure;
    failure.index = in.take<uint32_t>();
    const auto cause = failure_class_of(in.take<uint8_t>());
    failure.file.status = in.take<uint16_t>();
    failure.file.attempts = in.take<uint16_t>();
    failure.file.text = in.take_text(text_bytes < kMaxOutcomeText ? kMaxFailureText : 0);
    text_bytes += failure.file.text.size();
    if (!cause || failure.index < next_index || failure.index >= count) return false;
    failure.file.cause = *cause;
    next_index = uint64_t{failure.index} + 1;
    failures.push_back(std::move(failure));
  }
  return in.ok();
}

bool take_shards(PayloadReader& in, std::vector<ShardEnd>& shards) {
  uint64_t next_number = 0;
  const auto number = in.take<uint32_t>();
  for (uint32_t i = 0; i < number && in.ok(); ++i) {
    ShardEnd shard;
    shard.number = in.take<uint32_t>();
    shard.end = in.take<uint64_t>();
    const auto finished = in.take<uint8_t>();
    if (finished > 1 || shard.number < next_number) return false;
    shard.finished = finished == 1;
    next_number = uint64_t{shard.number} + 1;
    shards.push_back(shard);
  }
  return in.ok();
}

// Whether each name is mentioned once at most.
bool is_disjoint(const Outcome& outcome) {
  auto stored = outcome.stored.begin();
  auto released = outcome.released.begin();
  auto failure = outcome.failures.begin();
  uint64_t next = 0;
  while (stored != outcome.stored.end() || released != outcome.released.end() ||
         failure != outcome.failures.end()) {
    const uint64_t at_stored = stored != outcome.stored.end() ? stored->first : UINT64_MAX;
    const uint64_t at_released = released != outcome.released.end() ? released->first : UINT64_MAX;
    const uint64_t at_failure = failure != outcome.failures.end() ? failure->index : UINT64_MAX;
    const uint64_t first = std::min({at_stored, at_released, at_failure});
    if (first < next) return false;
    if (first == at_stored) {
      next = first + stored++->count;
    } else if (first == at_released) {
      next = first + released++->count;
    } else {
      next = first + 1;
      ++failure;
    }
  }
  return true;
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
  put_le<uint8_t>(out, message.patient ? 1 : 0);
  put_le<uint32_t>(out, static_cast<uint32_t>(message.segments.size()));
  for (const uint32_t names : message.segments)
    put_le<uint32_t>(out, names);
  out.append(message.names);
}

Result<BatchView> parse_batch(std::string_view payload) {
  PayloadReader in(payload);
  BatchView message;
  message.lease = in.take<uint64_t>();
  message.count = in.take<uint32_t>();
  const auto patient = in.take<uint8_t>();
  const auto segments = in.take<uint32_t>();
  if (message.count == 0 || message.count > kMaxBatchNames || patient > 1 ||
      segments > message.count) {
    return malformed("batch");
  }
  message.patient = patient == 1;
  uint64_t in_segments = 0;
  for (uint32_t i = 0; i < segments && in.ok(); ++i) {
    const auto names = in.take<uint32_t>();
    if (names == 0) return malformed("batch");
    in_segments += names;
    message.segments.push_back(names);
  }
  message.names = in.take_bytes(in.left());
  if (!in.ok_at_end() || in_segments != message.count || message.names.size() > kMaxBatchBytes ||
      !well_formed(message.names, message.count)) {
    return malformed("batch");
  }
  return message;
}

void append(std::string& out, const Outcome& message) {
  FrameWriter frame(out, MessageType::outcome);
  put_le<uint64_t>(out, message.lease);
  put_le<uint32_t>(out, message.count);
  put_le<uint8_t>(out, message.last ? 1 : 0);
  put_le<uint8_t>(out, message.keeps_credit ? 1 : 0);
  put_counters(out, message.counters);
  put_ranges(out, message.stored);
  put_le<uint32_t>(out, static_cast<uint32_t>(message.contents.size()));
  for (const Outcome::Content& content : message.contents) {
    put_le<uint32_t>(out, content.segment);
    for (const uint64_t value : {content.bytes, content.sum_low, content.sum_high})
      put_le<uint64_t>(out, value);
  }
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
  put_ranges(out, message.released);
  put_le<uint32_t>(out, static_cast<uint32_t>(message.shards.size()));
  for (const ShardEnd& shard : message.shards) {
    put_le<uint32_t>(out, shard.number);
    put_le<uint64_t>(out, shard.end);
    put_le<uint8_t>(out, shard.finished ? 1 : 0);
  }
}

Result<Outcome> parse_outcome(std::string_view payload) {
  PayloadReader in(payload);
  Outcome message;
  message.lease = in.take<uint64_t>();
  message.count = in.take<uint32_t>();
  const auto last = in.take<uint8_t>();
  const auto keeps_credit = in.take<uint8_t>();
  message.counters = take_counters(in);
  if (message.count > kMaxBatchNames || last > 1 || keeps_credit + last > 1) {
    return malformed("outcome");
  }
  message.last = last == 1;
  message.keeps_credit = keeps_credit == 1;
  if (!take_ranges(in, message.count, message.stored) || !take_contents(in, message.contents) ||
      !take_failures(in, message.count, message.failures) ||
      !take_ranges(in, message.count, message.released) || !take_shards(in, message.shards) ||
      !in.ok_at_end() || !is_disjoint(message)) {
    return malformed("outcome");
  }
  return message;
}

void append(std::string& out, const Pulse& message) {
  FrameWriter frame(out, MessageType::pulse);
  put_counters(out, message.counters);
  put_le<uint32_t>(out, message.retry_after_ms);
  put_text(out, message.trouble, kMaxText);
}

Result<Pulse> parse_pulse(std::string_view payload) {
  PayloadReader in(payload);
  Pulse message;
  message.counters = take_counters(in);
  message.retry_after_ms = in.take<uint32_t>();
  message.trouble = in.take_text(kMaxText);
  if (!in.ok_at_end()) return malformed("pulse");
  return message;
}

void append(std::string& out, const Pace& message) {
  FrameWriter frame(out, MessageType::pace);
  put_le<uint32_t>(out, message.in_flight);
  put_le<uint64_t>(out, std::bit_cast<uint64_t>(message.rate));
  put_le<uint32_t>(out, message.pause_ms);
}

Result<Pace> parse_pace(std::string_view payload) {
  PayloadReader in(payload);
  Pace message;
  message.in_flight = in.take<uint32_t>();
  message.rate = std::bit_cast<double>(in.take<uint64_t>());
  message.pause_ms = in.take<uint32_t>();
  if (!in.ok_at_end() || message.in_flight == 0 || !(message.rate >= 0) ||
      std::isinf(message.rate)) {
    return malformed("pace");
  }
  return message;
}

void append(std::string& out, const Shards& message) {
  FrameWriter frame(out, MessageType::shards);
  put_le<uint32_t>(out, message.first);
}

Result<Shards> parse_shards(std::string_view payload) {
  PayloadReader in(payload);
  Shards message;
  message.first = in.take<uint32_t>();
  if (!in.ok_at_end()) return malformed("shards");
  return message;
}

void append(std::string& out, const Pipelining& message) {
  FrameWriter frame(out, MessageType::pipelining);
  put_le<uint32_t>(out, message.borne);
  put_le<uint32_t>(out, message.breaks);
  put_le<uint64_t>(out, message.per_connection);
}

Result<Pipelining> parse_pipelining(std::string_view payload) {
  PayloadReader in(payload);
  Pipelining message;
  message.borne = in.take<uint32_t>();
  message.breaks = in.take<uint32_t>();
  message.per_connection = in.take<uint64_t>();
  if (!in.ok_at_end() || message.borne == 0) return malformed("pipelining");
  return message;
}

void append(std::string& out, const Fatal& message) {
  FrameWriter frame(out, MessageType::fatal);
  put_text(out, message.text, kMaxText);
}

Result<Fatal> parse_fatal(std::string_view payload) {
  PayloadReader in(payload);
  Fatal message;
  message.text = in.take_text(kMaxText);
  if (!in.ok_at_end()) return malformed("fatal");
  return message;
}

void append(std::string& out, const Warning& message) {
  FrameWriter frame(out, MessageType::warning);
  put_text(out, message.text, kMaxText);
}

Result<Warning> parse_warning(std::string_view payload) {
  PayloadReader in(payload);
  Warning message;
  message.text = in.take_text(kMaxText);
  if (!in.ok_at_end()) return malformed("warning");
  return message;
}

void append(std::string& out, const Figures& message) {
  FrameWriter frame(out, MessageType::figures);
  for (const uint64_t value :
       {message.listed, message.stored, message.failed, message.rejected, message.duplicates,
        message.filtered, message.bytes, message.pages, message.requests, message.retries,
        message.fetched, std::bit_cast<uint64_t>(message.listing_bound), message.set_hash_low,
        message.set_hash_high, message.content_low, message.content_high}) {
    put_le<uint64_t>(out, value);
  }
}

Result<Figures> parse_figures(std::string_view payload) {
  PayloadReader in(payload);
  Figures message;
  for (uint64_t* field : {&message.listed, &message.stored, &message.failed, &message.rejected,
                          &message.duplicates, &message.filtered, &message.bytes, &message.pages,
                          &message.requests, &message.retries, &message.fetched}) {
    *field = in.take<uint64_t>();
  }
  message.listing_bound = std::bit_cast<double>(in.take<uint64_t>());
  message.set_hash_low = in.take<uint64_t>();
  message.set_hash_high = in.take<uint64_t>();
  message.content_low = in.take<uint64_t>();
  message.content_high = in.take<uint64_t>();
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
  message.text = in.take_text(kMaxText);
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
