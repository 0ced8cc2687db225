// The messages between the processes of a job, and their bytes.
//
// Each message has append(out, message), which appends one whole frame, and a parse_NAME(payload),
// which refuses (malformed) a payload that is short, long or breaks a rule of the message. Views in
// a parsed message point into the payload. The layout of every payload is in src/README.md, and
// golden bytes in tests/golden hold it in place.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/failure.h"
#include "base/figures.h"
#include "base/result.h"
#include "base/shard_end.h"
#include "wire/frame.h"

namespace gigafetch::wire {

// Names in one batch, at most; outcomes index them with 32 bits.
inline constexpr uint32_t kMaxBatchNames = 100'000;
// Bytes of packed names in one batch, at most.
inline constexpr size_t kMaxBatchBytes = 1024 * 1024;
// A failure's text is cut to this when it is sent.
inline constexpr size_t kMaxFailureText = 240;
// With this much text in an outcome, the texts that follow are dropped (never the failures), so
// that the frame stays below its limit.
inline constexpr size_t kMaxOutcomeText = 4 * 1024 * 1024;

// Worker to coordinator, first: who is calling. A wrong run id means a process of another run.
struct Hello {
  uint64_t run_id = 0;
  uint32_t worker = 0;
  uint32_t pid = 0;
};

// Coordinator to worker: names to fetch. `names` is packed (base/name_list.h). The lease names this
// handing-over; every outcome quotes it. A batch is made of segments, each a run of names of one
// page, so that what became of them can be told page by page.
struct BatchView {
  uint64_t lease = 0;
  uint32_t count = 0;
  // These names have been released by a worker that waited for them: they get every try that the
  // settings allow, and are not released again for being slow.
  bool patient = false;
  std::vector<uint32_t> segments;  // names in each; their sum is `count`
  std::string_view names;
};

// What a worker process has done since it started. Cumulative, so that a lost message loses
// nothing.
struct WorkerCounters {
  uint64_t requests = 0;   // requests sent
  uint64_t retries = 0;    // of those, the ones after a failed attempt
  uint64_t responses = 0;  // whole responses of any status
  uint64_t received = 0;   // bytes of their bodies, and of those under way
  uint64_t pushbacks = 0;  // of the responses, those that asked for less: 429 and 503
  // Not cumulative: the latest responses in a row that had one status, which is not 200.
  uint64_t failing = 0;
  uint16_t failing_status = 0;
  bool operator==(const WorkerCounters&) const = default;
};

// Worker to coordinator: names of a batch that are settled. There may be several outcomes of a
// lease, each about other names; the last one (`last`) leaves none unmentioned. A name is settled
// when it is in stored, failures or released; ranges and failures are ascending, and do not
// overlap.
struct Outcome {
  uint64_t lease = 0;
  uint32_t count = 0;  // of the batch
  bool last = false;
  // The rest of the batch is not slow: it still counts against the worker's credit.
  bool keeps_credit = false;
  WorkerCounters counters;
  struct Range {
    uint32_t first = 0;
    uint32_t count = 0;
    bool operator==(const Range&) const = default;
  };
  std::vector<Range> stored;  // names whose file the sink has committed
  // What is in the stored files, segment by segment; ascending, those without any left out.
  struct Content {
    uint32_t segment = 0;
    uint64_t bytes = 0;
    // Sum of a 128-bit hash over name and body of each, so that it does not depend on their order.
    uint64_t sum_low = 0;
    uint64_t sum_high = 0;
    bool operator==(const Content&) const = default;
  };
  std::vector<Content> contents;
  struct Failure {
    uint32_t index = 0;  // in the batch
    FileFailure file;
  };
  std::vector<Failure> failures;
  std::vector<Range> released;  // names handed back: nothing of them is under way any more
  // With packed output, how far the worker's shards go with the stored files of this outcome in
  // them; ascending by number. The worker is not sent: it is the one that tells.
  std::vector<ShardEnd> shards;
};

// Worker to coordinator, about once a second, and at once when the origin pushes back: alive, and
// how the origin treats it.
struct Pulse {
  WorkerCounters counters;
  uint32_t retry_after_ms = 0;  // what the origin asked for since the last pulse; 0: nothing
  std::string trouble;          // why no connection can be made; empty when all is well
};

// Coordinator to worker: this worker's share of what the origin bears.
struct Pace {
  uint32_t in_flight = 0;  // requests in flight, at most
  double rate = 0;         // requests a second, at most; 0: no limit
  uint32_t pause_ms = 0;   // send nothing for so long from now on
  bool operator==(const Pace&) const = default;
};

// Coordinator to worker, after its hello, when output is packed: the numbers of its shards before
// this one have been used.
struct Shards {
  uint32_t first = 0;
};

// Worker to coordinator, when it has found out more: how much the origin lets itself be asked ahead
// on a connection. And back, after the hello of a worker that comes later.
struct Pipelining {
  uint32_t borne = 1;   // requests in flight at once that have all been answered; at least 1
  uint32_t breaks = 0;  // of connections with more in flight, each as more was tried
  uint64_t per_connection = 0;  // requests behind which the origin closes; 0: not known
  // After so many breaks more than was borne is left alone for long.
  static constexpr uint32_t kBreaksToStop = 2;
  bool operator==(const Pipelining&) const = default;
};

// Worker to coordinator: the run cannot go on (a full disk, say). Nothing of it is retried.
struct Fatal {
  std::string text;
};

// Worker to coordinator: something about the origin that the operator should know, once a run.
struct Warning {
  std::string text;
};

// Coordinator to supervisor, at the end: how the run ended. `exit` is an ExitStatus.
struct Done {
  uint8_t exit = 0;
  std::string text;  // why, for the operator; empty when complete
};

// Coordinator to supervisor: this worker broke the protocol, end it.
struct KillWorker {
  uint32_t worker = 0;
  uint32_t pid = 0;
};

// Supervisor to coordinator: this process is gone and can write no more.
struct WorkerReaped {
  uint32_t worker = 0;
  uint32_t pid = 0;
};

void append(std::string& out, const Hello& message);
void append(std::string& out, const BatchView& message);
void append(std::string& out, const Outcome& message);
void append(std::string& out, const Pulse& message);
void append(std::string& out, const Fatal& message);
void append(std::string& out, const Warning& message);
void append(std::string& out, const Pace& message);
void append(std::string& out, const Shards& message);
void append(std::string& out, const Pipelining& message);
void append(std::string& out, const Figures& message);
void append(std::string& out, const Done& message);
void append(std::string& out, const KillWorker& message);
void append(std::string& out, const WorkerReaped& message);
// drain and stop have no payload.
void append_empty(std::string& out, MessageType type);

Result<Hello> parse_hello(std::string_view payload);
Result<BatchView> parse_batch(std::string_view payload);
Result<Outcome> parse_outcome(std::string_view payload);
Result<Pulse> parse_pulse(std::string_view payload);
Result<Fatal> parse_fatal(std::string_view payload);
Result<Warning> parse_warning(std::string_view payload);
Result<Pace> parse_pace(std::string_view payload);
Result<Shards> parse_shards(std::string_view payload);
Result<Pipelining> parse_pipelining(std::string_view payload);
Result<Figures> parse_figures(std::string_view payload);
Result<Done> parse_done(std::string_view payload);
Result<KillWorker> parse_kill_worker(std::string_view payload);
Result<WorkerReaped> parse_worker_reaped(std::string_view payload);

}  // namespace gigafetch::wire
