// The coordinator as a process: the test is its supervisor, its workers and its origin.
#include "coordinator/coordinator.h"

#include <poll.h>

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <vector>

#include "base/exit_status.h"
#include "base/figures.h"
#include "base/name_list.h"
#include "base/temp_folder.h"
#include "base/unix_socket.h"
#include "net/blocking_origin.h"
#include "store/ledger.h"
#include "wire/frame_socket.h"
#include "wire/messages.h"

using namespace gigafetch;
using namespace gigafetch::coordinator;
using namespace gigafetch::testing;
using wire::MessageType;

namespace {

using Names = std::vector<std::string>;

constexpr uint64_t kRunId = 0x0102030405060708;

struct Batch {
  uint64_t lease = 0;
  Names names;
  std::vector<uint32_t> segments;
  bool patient = false;
};

wire::Outcome outcome_of(const Batch& batch) {
  wire::Outcome outcome;
  outcome.lease = batch.lease;
  outcome.count = static_cast<uint32_t>(batch.names.size());
  outcome.last = true;
  return outcome;
}

class WorkerSocket : public FrameSocket {
 public:
  using FrameSocket::FrameSocket;

  // What it is told, but for its pace.
  std::optional<Message> next() {
    for (;;) {
      std::optional<Message> message = FrameSocket::next();
      if (!message || message->type != MessageType::pace) return message;
    }
  }
  std::optional<Batch> next_batch() {
    const std::optional<Message> message = next();
    if (!message || message->type != MessageType::batch) return std::nullopt;
    const Result<wire::BatchView> view = wire::parse_batch(message->payload);
    if (!view) return std::nullopt;
    Batch batch{view.value().lease, {}, view.value().segments, view.value().patient};
    for (NameCursor cursor(view.value().names); !cursor.done(); cursor.next()) {
      batch.names.emplace_back(cursor.name());
    }
    return batch;
  }
  // Whether it has been told nothing more, but for its pace.
  bool is_idle() {
    while (!is_silent()) {
      const std::optional<Message> message = FrameSocket::next();
      if (!message || message->type != MessageType::pace) return false;
    }
    return true;
  }
  void report_stored(const Batch& batch, uint64_t bytes_each = 10) const {
    wire::Outcome outcome = outcome_of(batch);
    outcome.stored = {{0, outcome.count}};
    for (uint32_t i = 0; i < batch.segments.size(); ++i)
      outcome.contents.push_back({i, bytes_each * batch.segments[i], 1, 0});
    send(outcome);
  }
  // Stores whatever comes, up to so many names. Their names.
  Names store(size_t count) {
    Names names;
    while (names.size() < count) {
      const std::optional<Batch> batch = next_batch();
      REQUIRE(batch.has_value());
      names.insert(names.end(), batch->names.begin(), batch->names.end());
      report_stored(*batch);
    }
    return names;
  }
};

class CoordinatorProcess {
 public:
  using Change = std::function<void(Settings&)>;

  // Of a new job.
  explicit CoordinatorProcess(const Change& change = {})
      : own_state_(std::make_unique<TempFolder>()), state(*own_state_) {
    REQUIRE(store::Ledger::create(state.fd(), {}).ok());
    start(change);
  }
  // Of a job that another has begun.
  explicit CoordinatorProcess(const TempFolder& old_state, const Change& change = {})
      : state(old_state) {
    start(change);
  }
  ~CoordinatorProcess() { kill(); }

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

  // As the origin: takes one request for a page, and answers it. Its target.
  std::string serve_page(const std::string& json) {
    std::string target = origin_.take_request();
    origin_.answer(json);
    return target;
  }
  // The same, with another status: then the connection is given up.
  std::string refuse_page(const std::string& status) {
    std::string target = origin_.take_request();
    origin_.answer("", status);
    origin_.drop();
    return target;
  }
  // A request that is not to be answered, for the listing begins anew on another connection.
  std::string drop_request() {
    std::string target = origin_.take_request();
    origin_.drop();
    return target;
  }

  // A worker that has said hello. All of them are this process, which the kernel vouches for.
  WorkerSocket worker(uint32_t index = 0) const {
    WorkerSocket socket(connect());
    socket.send(wire::Hello{kRunId, index, static_cast<uint32_t>(::getpid())});
    return socket;
  }
  UniqueFd connect() const {
    Result<UniqueFd> connected = connect_in_folder(state.fd(), "socket");
    return connected ? std::move(connected).value() : UniqueFd();
  }
  void say_reaped(uint32_t index = 0) const {
    supervisor->send(wire::WorkerReaped{index, static_cast<uint32_t>(::getpid())});
  }

  // Reads what the supervisor is told up to the next message that is not about figures.
  std::optional<FrameSocket::Message> next_but_figures() {
    for (;;) {
      std::optional<FrameSocket::Message> message = supervisor->next();
      if (!message || message->type != MessageType::figures) return message;
      if (const Result<Figures> parsed = wire::parse_figures(message->payload)) {
        figures = parsed.value();
      }
    }
  }
  std::optional<wire::Done> until_done() {
    const std::optional<FrameSocket::Message> message = next_but_figures();
    if (!message || message->type != MessageType::done) return std::nullopt;
    return wire::parse_done(message->payload).value();
  }
  // Figures come by a timer: before the third of those that are still to come, all that was sent
  // before has been taken in, a new connection by one poll and its greeting by the next.
  bool pass_figures() {
    while (!supervisor->is_silent()) {
      if (!supervisor->next()) return false;
    }
    for (int seen = 0; seen < 3;) {
      const std::optional<FrameSocket::Message> message = supervisor->next();
      if (!message) return false;
      seen += message->type == MessageType::figures ? 1 : 0;
    }
    return true;
  }
  // Reads figures until they show so many files stored: then these are in the ledger.
  bool until_stored(uint64_t stored) {
    while (figures.stored != stored) {
      const std::optional<FrameSocket::Message> message = supervisor->next();
      if (!message || message->type != MessageType::figures) return false;
      figures = wire::parse_figures(message->payload).value();
    }
    return true;
  }
  int exit_status() {
    int status = 0;
    if (::waitpid(pid_, &status, 0) != pid_) return -1;
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  void start(const Change& change) {
    Settings settings;
    settings.listing.origin.scheme = "http";
    settings.listing.origin.host = "127.0.0.1";
    settings.listing.origin.port = origin_.port();
    settings.listing.api = "marker";
    settings.listing.retries = 0;
    settings.workers = 1;
    if (change) change(settings);
    Result<UniqueFd> listener = listen_in_folder(state.fd(), "socket");
    auto [ours, theirs] = socket_pair();
    if (!listener || !ours) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      ours.reset();
      origin_.close();
      Place place;
      place.run_id = kRunId;
      place.state_fd = place.output_fd = state.fd();
      place.listen_fd = listener.value().release();
      place.control_fd = theirs.release();
      ::_exit(run_coordinator(settings, place));
    }
    supervisor = std::make_unique<FrameSocket>(std::move(ours));
  }

  std::unique_ptr<TempFolder> own_state_;

 public:
  const TempFolder& state;
  std::unique_ptr<FrameSocket> supervisor;
  Figures figures;  // the last that were told

 private:
  BlockingOrigin origin_;
  pid_t pid_ = -1;
};

uint8_t status(ExitStatus exit) {
  return static_cast<uint8_t>(exit);
}

}  // namespace

TEST_CASE("a job in which everything is stored ends complete, and its figures add up") {
  CoordinatorProcess job;
  WorkerSocket worker = job.worker();
  CHECK(job.serve_page("{\"FileNames\":[\"a\",\"b\",\"a\"],\"NextMarker\":\"m\"}") == "/list");
  const std::optional<Batch> first = worker.next_batch();
  REQUIRE(first.has_value());
  CHECK(first->names == Names{"a", "b"});
  CHECK(job.serve_page("{\"FileNames\":[\"c\"]}") == "/list?next-marker=m");
  const std::optional<Batch> second = worker.next_batch();
  REQUIRE(second.has_value());
  CHECK(second->names == Names{"c"});
  worker.report_stored(*second, 7);
  worker.report_stored(*first, 5);

  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::complete));
  CHECK(done->text.empty());
  CHECK(job.figures.listed == 4);
  CHECK(job.figures.stored == 3);
  CHECK(job.figures.duplicates == 1);
  CHECK(job.figures.bytes == 17);
  CHECK(job.figures.pages == 2);
  CHECK(job.figures.requests == 2);
  CHECK(job.figures.balanced());
  const std::optional<FrameSocket::Message> last = worker.next();
  REQUIRE(last.has_value());
  CHECK(last->type == MessageType::stop);
  CHECK(job.exit_status() == 0);
  CHECK(read_file(job.state / "failed.jsonl").empty());
}

TEST_CASE("failed and rejected names are recorded, and the job ends with failures") {
  CoordinatorProcess job;
  WorkerSocket worker = job.worker();
  job.serve_page("{\"FileNames\":[\"ok\",\"gone\",\"bad\",\"" + std::string(5000, 'x') + "\"]}");
  const std::optional<Batch> batch = worker.next_batch();
  REQUIRE(batch.has_value());
  REQUIRE(batch->names == Names{"ok", "gone", "bad"});
  wire::Outcome outcome = outcome_of(*batch);
  outcome.stored = {{0, 1}};
  outcome.failures = {{1, {FailureClass::http_status, 404, 1, "the origin answered 404"}},
                      {2, {FailureClass::bad_name, 0, 0, "bad"}}};
  outcome.counters = {12, 3, 9};
  worker.send(outcome);
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::failures));
  CHECK(job.figures.listed == 4);
  CHECK(job.figures.stored == 1);
  CHECK(job.figures.failed == 1);
  CHECK(job.figures.rejected == 2);
  CHECK(job.figures.requests == 13);
  CHECK(job.figures.retries == 3);
  CHECK(job.figures.balanced());
  const std::string letters = read_file(job.state / "failed.jsonl");
  CHECK(letters.find("{\"name\":\"gone\",\"class\":\"http-status\",\"status\":404,\"attempts\":1,"
                     "\"error\":\"the origin answered 404\"}\n") != std::string::npos);
  CHECK(letters.find("\"class\":\"bad-name\"") != std::string::npos);
  CHECK(letters.find("\"class\":\"name-too-long\"") != std::string::npos);
}

TEST_CASE("a listing without names is complete") {
  CoordinatorProcess job;
  job.serve_page("{\"FileNames\":[]}");
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::complete));
  CHECK(job.figures.listed == 0);
  CHECK(job.figures.pages == 1);
}

TEST_CASE("a limit of no names is complete without a request") {
  CoordinatorProcess job([](Settings& settings) { settings.limit = 0; });
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::complete));
  CHECK(job.figures.requests == 0);
}

TEST_CASE("no page is asked for behind the limit") {
  CoordinatorProcess job([](Settings& settings) { settings.limit = 2; });
  WorkerSocket worker = job.worker();
  job.serve_page("{\"FileNames\":[\"a\",\"b\",\"c\"],\"NextMarker\":\"m\"}");
  const std::optional<Batch> batch = worker.next_batch();
  REQUIRE(batch.has_value());
  CHECK(batch->names == Names{"a", "b"});
  worker.report_stored(*batch);
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::complete));
  CHECK(job.figures.listed == 2);
}

TEST_CASE("names of a worker that is gone are handed out again only once it is reaped") {
  CoordinatorProcess job;
  WorkerSocket first = job.worker();
  job.serve_page("{\"FileNames\":[\"a\",\"b\"]}");
  REQUIRE(first.next_batch().has_value());
  first.hang_up();
  WorkerSocket second = job.worker();
  REQUIRE(job.pass_figures());
  CHECK_MESSAGE(second.is_idle(), "the first worker may still be writing these files");
  job.say_reaped();
  const std::optional<Batch> again = second.next_batch();
  REQUIRE(again.has_value());
  CHECK(again->names == Names{"a", "b"});
  second.report_stored(*again);
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::complete));
  CHECK(job.figures.stored == 2);
}

TEST_CASE("names of a worker that is reaped are handed out again only once its socket has ended") {
  CoordinatorProcess job;
  WorkerSocket first = job.worker();
  job.serve_page("{\"FileNames\":[\"a\",\"b\",\"c\"]}");
  const std::optional<Batch> batch = first.next_batch();
  REQUIRE(batch.has_value());
  job.say_reaped();
  REQUIRE(job.pass_figures());
  // What it had written before it died still counts.
  wire::Outcome outcome = outcome_of(*batch);
  outcome.stored = {{0, 2}};
  outcome.released = {{2, 1}};
  first.send(outcome);
  first.hang_up();
  REQUIRE(job.pass_figures());
  WorkerSocket second = job.worker();
  const std::optional<Batch> again = second.next_batch();
  REQUIRE(again.has_value());
  CHECK(again->names == Names{"c"});
  second.report_stored(*again);
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(job.figures.stored == 3);
}

TEST_CASE("a worker that reports on a batch that it does not hold is to be killed") {
  CoordinatorProcess job;
  WorkerSocket worker = job.worker(4);
  job.serve_page("{\"FileNames\":[\"a\"]}");
  const std::optional<Batch> batch = worker.next_batch();
  REQUIRE(batch.has_value());
  worker.report_stored(Batch{batch->lease + 1, {"a"}, {1}});
  const std::optional<FrameSocket::Message> message = job.next_but_figures();
  REQUIRE(message.has_value());
  REQUIRE(message->type == MessageType::kill_worker);
  const Result<wire::KillWorker> kill = wire::parse_kill_worker(message->payload);
  CHECK(kill.value().worker == 4);
  CHECK(kill.value().pid == static_cast<uint32_t>(::getpid()));
  CHECK_FALSE(worker.next().has_value());

  job.say_reaped(4);
  WorkerSocket other = job.worker();
  const std::optional<Batch> again = other.next_batch();
  REQUIRE(again.has_value());
  CHECK(again->names == Names{"a"});
  other.report_stored(*again);
  REQUIRE(job.until_done().has_value());
  CHECK(job.figures.stored == 1);
}

TEST_CASE("a stranger is turned away") {
  CoordinatorProcess job;
  WorkerSocket other_run(job.connect());
  other_run.send(wire::Hello{kRunId + 1, 0, static_cast<uint32_t>(::getpid())});
  CHECK_FALSE(other_run.next().has_value());
  WorkerSocket other_process(job.connect());
  other_process.send(wire::Hello{kRunId, 0, static_cast<uint32_t>(::getppid())});
  CHECK_FALSE(other_process.next().has_value());
  WorkerSocket silent(job.connect());

  WorkerSocket worker = job.worker();
  job.serve_page("{\"FileNames\":[\"a\"]}");
  const std::optional<Batch> batch = worker.next_batch();
  REQUIRE(batch.has_value());
  worker.report_stored(*batch);
  const std::optional<FrameSocket::Message> message = job.next_but_figures();
  REQUIRE(message.has_value());
  CHECK_MESSAGE(message->type == MessageType::done,
                "nobody is to be killed on the word of a stranger");
}

TEST_CASE("a stranger with a worker's number does not cost that worker its names") {
  CoordinatorProcess job;
  WorkerSocket worker = job.worker();
  job.serve_page("{\"FileNames\":[\"a\"]}");
  REQUIRE(worker.next_batch().has_value());
  // Of this very process, but of another run: its end must not be taken for that of the worker.
  WorkerSocket stranger(job.connect());
  stranger.send(wire::Hello{kRunId + 1, 0, static_cast<uint32_t>(::getpid())});
  CHECK_FALSE(stranger.next().has_value());
  job.say_reaped();
  worker.hang_up();
  REQUIRE(job.pass_figures());
  WorkerSocket second = job.worker();
  const std::optional<Batch> again = second.next_batch();
  REQUIRE(again.has_value());
  CHECK(again->names == Names{"a"});
}

TEST_CASE("a drain tells the workers, settles what is in flight, and ends interrupted") {
  CoordinatorProcess job;
  WorkerSocket worker = job.worker();
  job.serve_page("{\"FileNames\":[\"a\",\"b\"],\"NextMarker\":\"m\"}");
  const std::optional<Batch> batch = worker.next_batch();
  REQUIRE(batch.has_value());
  job.supervisor->send_empty(MessageType::drain);
  const std::optional<FrameSocket::Message> told = worker.next();
  REQUIRE(told.has_value());
  CHECK(told->type == MessageType::drain);
  // A worker that comes now has nothing to do but to leave.
  WorkerSocket late = job.worker(1);
  const std::optional<FrameSocket::Message> told_late = late.next();
  REQUIRE(told_late.has_value());
  CHECK(told_late->type == MessageType::drain);
  wire::Outcome outcome = outcome_of(*batch);
  outcome.stored = {{0, 1}};
  outcome.released = {{1, 1}};
  worker.send(outcome);
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::interrupted));
  CHECK_FALSE(done->text.empty());
  CHECK(job.figures.stored == 1);
  CHECK(job.exit_status() == 0);
}

TEST_CASE("a drain with nothing in flight ends at once") {
  CoordinatorProcess job;
  job.supervisor->send_empty(MessageType::drain);
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::interrupted));
}

TEST_CASE("a worker that can store nothing any more ends the job with its reason") {
  CoordinatorProcess job;
  WorkerSocket worker = job.worker(2);
  worker.send(wire::Fatal{"cannot write 'x': No space left on device"});
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::fatal));
  CHECK(done->text.find("worker 2") != std::string::npos);
  CHECK(done->text.find("No space left on device") != std::string::npos);
}

TEST_CASE("a listing that fails ends the job with its reason") {
  CoordinatorProcess job;
  job.serve_page("<html>");
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::fatal));
  CHECK(done->text.find("page 1") != std::string::npos);
}

TEST_CASE("a coordinator whose supervisor is gone leaves") {
  CoordinatorProcess job;
  job.supervisor->hang_up();
  CHECK(job.exit_status() == 1);
}

TEST_CASE("names go to the worker that holds least") {
  CoordinatorProcess job([](Settings& settings) {
    settings.workers = 2;
    settings.batch_names = 16;
  });
  WorkerSocket first = job.worker(0), second = job.worker(1);
  REQUIRE(job.pass_figures());
  std::string names;
  for (int i = 0; i < 64; ++i) {
    names += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\"";
  }
  job.serve_page("{\"FileNames\":[" + names + "]}");
  std::vector<Batch> batches;
  for (WorkerSocket* worker : {&first, &second, &first, &second}) {
    const std::optional<Batch> batch = worker->next_batch();
    REQUIRE(batch.has_value());
    CHECK(batch->names.size() == 16);
    worker->report_stored(*batch);
  }
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(job.figures.stored == 64);
}

// --- going on where an earlier run ended ---

namespace {

std::string page_json(const Names& names, const std::string& marker = "") {
  std::string json = "{\"FileNames\":[";
  for (const std::string& name : names)
    json += (json.ends_with('[') ? "\"" : ",\"") + name + "\"";
  json += "]";
  if (!marker.empty()) json += ",\"NextMarker\":\"" + marker + "\"";
  return json + "}";
}

store::LedgerState recorded(const TempFolder& state) {
  Result<std::optional<store::LedgerImage>> image =
      store::Ledger::read(state.fd(), false, state.fd());
  REQUIRE(image.ok());
  REQUIRE(image->has_value());
  return (*image)->state;
}

// What would count after a power loss.
store::LedgerState durable(const TempFolder& state) {
  Result<store::LedgerImage> image = store::recover_ledger(
      read_file(state / "ledger"), store::Surroundings::of_boot("another boot"), false);
  REQUIRE(image.ok());
  return image->state;
}

// A job with a ledger, in whose first run the pages {a,b} -> m, {c,d} -> n were listed and a, b and
// c stored; then everything died.
struct BegunJob {
  BegunJob() {
    REQUIRE(store::Ledger::create(state.fd(), {}).ok());
    CoordinatorProcess job(state);
    WorkerSocket worker = job.worker();
    CHECK(job.serve_page(page_json({"a", "b"}, "m")) == "/list");
    CHECK(worker.store(2) == Names{"a", "b"});
    CHECK(job.serve_page(page_json({"c", "d"}, "n")) == "/list?next-marker=m");
    const std::optional<Batch> batch = worker.next_batch();
    REQUIRE(batch.has_value());
    REQUIRE(batch->names == Names{"c", "d"});
    wire::Outcome part = outcome_of(*batch);
    part.last = false;
    part.stored = {{0, 1}};
    part.contents = {{0, 10, 1, 0}};
    worker.send(part);
    REQUIRE(job.until_stored(3));
    job.kill();
    CHECK(recorded(state).totals().stored == 3);
  }
  TempFolder state;
};

void check_complete(CoordinatorProcess& job, uint64_t listed) {
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK_MESSAGE(done->exit == status(ExitStatus::complete), done->text);
  CHECK(job.figures.listed == listed);
  CHECK(job.figures.stored == listed);
  CHECK(job.figures.balanced());
  CHECK(job.exit_status() == 0);
  CHECK(recorded(job.state).all_settled());
}

}  // namespace

TEST_CASE(
    "a run that was killed goes on: its open page again, then the listing from its frontier") {
  const BegunJob begun;
  {
    CoordinatorProcess job(begun.state);
    WorkerSocket worker = job.worker();
    CHECK(job.serve_page(page_json({"c", "d"}, "n")) == "/list?next-marker=m");
    REQUIRE(job.pass_figures());
    CHECK_MESSAGE(worker.is_idle(), "the origin might not take the other marker");
    CHECK(job.serve_page(page_json({"e"})) == "/list?next-marker=n");
    CHECK(worker.store(2) == Names{"d", "e"});
    check_complete(job, 5);
    CHECK(job.figures.fetched == 2);
    CHECK(job.figures.requests == 2);
    CHECK(job.figures.bytes == 50);
    CHECK(job.figures.pages == 3);
  }
  // Nothing is left: neither page nor name is asked for, and the figures are the job's.
  CoordinatorProcess again(begun.state);
  check_complete(again, 5);
  CHECK(again.figures.requests == 0);
  CHECK(again.figures.fetched == 0);
  CHECK(again.figures.bytes == 50);
}

// --- packed output ---

namespace {

void pack(Settings& settings) {
  settings.pack = true;
}

// The number that the worker is told for its next shard; before anything else.
std::optional<uint32_t> first_shard(WorkerSocket& worker) {
  const std::optional<FrameSocket::Message> message = worker.next();
  if (!message || message->type != MessageType::shards) return std::nullopt;
  return wire::parse_shards(message->payload).value().first;
}

wire::Outcome stored_in(const Batch& batch, const std::vector<ShardEnd>& shards) {
  wire::Outcome outcome = outcome_of(batch);
  outcome.stored = {{0, outcome.count}};
  outcome.shards = shards;
  return outcome;
}

// As a worker leaves it, with bytes behind what counts.
void write_shard(const TempFolder& folder, const std::string& file, size_t size) {
  write_file(folder / file, std::string(size, 's'));
}

bool ends_archive(const TempFolder& folder, const std::string& file, size_t end) {
  return read_file(folder / file) == std::string(end, 's') + std::string(1024, '\0');
}

}  // namespace

TEST_CASE("a worker that packs is told its next number first; its shards are ended with the run") {
  CoordinatorProcess job(pack);
  WorkerSocket worker = job.worker(2);
  CHECK(first_shard(worker) == 0);
  job.serve_page(page_json({"a", "b"}, "m"));
  std::optional<Batch> batch = worker.next_batch();
  REQUIRE(batch.has_value());
  write_shard(job.state, "worker-02-000000.tar", 700);
  write_shard(job.state, "worker-02-000001.tar", 5000);
  worker.send(stored_in(*batch, {{0, 0, 700, true}, {0, 1, 3000, false}}));
  REQUIRE(job.until_stored(2));
  const store::ShardEnds during = recorded(job.state).shards();
  CHECK(during.is_finished({2, 0}));
  CHECK(during.open() == std::map<store::ShardId, uint64_t>{{{2, 1}, 3000}});
  // One that takes its place begins behind both.
  worker.hang_up();
  WorkerSocket other = job.worker(2);
  CHECK(first_shard(other) == 2);
  job.serve_page(page_json({"c"}));
  batch = other.next_batch();
  REQUIRE(batch.has_value());
  write_shard(job.state, "worker-02-000002.tar", 900);
  other.send(stored_in(*batch, {{0, 2, 600, false}}));
  check_complete(job, 3);
  CHECK(ends_archive(job.state, "worker-02-000001.tar", 3000));
  CHECK(ends_archive(job.state, "worker-02-000002.tar", 600));
  CHECK(read_file(job.state / "worker-02-000000.tar").size() == 700);
  const store::ShardEnds ends = recorded(job.state).shards();
  CHECK(ends.open().empty());
  for (const uint32_t number : {0, 1, 2})
    CHECK(ends.is_finished({2, number}));
  CHECK(durable(job.state).shards() == ends);
}

TEST_CASE("a coordinator that begins ends the shards that another has left, and removes the rest") {
  TempFolder state;
  REQUIRE(store::Ledger::create(state.fd(), {}).ok());
  {
    CoordinatorProcess job(state, pack);
    WorkerSocket worker = job.worker();
    job.serve_page(page_json({"a", "b"}, "m"));
    CHECK(first_shard(worker) == 0);
    const std::optional<Batch> batch = worker.next_batch();
    REQUIRE(batch.has_value());
    write_shard(state, "worker-00-000000.tar", 4000);
    write_shard(state, "worker-00-000001.tar", 4000);
    write_shard(state, "worker-00-000001.idx", 100);
    worker.send(stored_in(*batch, {{0, 0, 1024, false}}));
    REQUIRE(job.until_stored(2));
    job.kill();
  }
  {
    CoordinatorProcess job(state, pack);
    WorkerSocket worker = job.worker();
    CHECK(first_shard(worker) == 1);
    CHECK(ends_archive(state, "worker-00-000000.tar", 1024));
    CHECK_FALSE(stands(state / "worker-00-000001.tar"));
    CHECK_FALSE(stands(state / "worker-00-000001.idx"));
    CHECK(recorded(state).shards().is_finished({0, 0}));
    job.kill();
  }
  // Killed between the files and the ledger: done again, it comes to the same. (Here: not at all.)
  CoordinatorProcess job(state, pack);
  WorkerSocket worker = job.worker();
  CHECK(first_shard(worker) == 1);
  CHECK(ends_archive(state, "worker-00-000000.tar", 1024));
}

TEST_CASE("a shard that is gone, in which files were stored, is the end before the beginning") {
  TempFolder state;
  {
    Result<store::Ledger> ledger = store::Ledger::create(state.fd(), {});
    REQUIRE(ledger.ok());
    ledger->add_shard({0, 0, 1024, false});
    REQUIRE(ledger->flush().ok());
  }
  CoordinatorProcess job(state, pack);
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::fatal));
  CHECK(done->text.find("worker-00-000000.tar") != std::string::npos);
}

TEST_CASE("a drained run ends its shards") {
  CoordinatorProcess job(pack);
  WorkerSocket worker = job.worker();
  CHECK(first_shard(worker) == 0);
  job.serve_page(page_json({"a", "b"}, "m"));
  const std::optional<Batch> batch = worker.next_batch();
  REQUIRE(batch.has_value());
  job.supervisor->send_empty(MessageType::drain);
  write_shard(job.state, "worker-00-000000.tar", 2000);
  wire::Outcome outcome = outcome_of(*batch);
  outcome.stored = {{0, 1}};
  outcome.released = {{1, 1}};
  outcome.shards = {{0, 0, 1024, false}};
  worker.send(outcome);
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::interrupted));
  CHECK(ends_archive(job.state, "worker-00-000000.tar", 1024));
  CHECK(recorded(job.state).shards().is_finished({0, 0}));
}

TEST_CASE("shards of an outcome that does not count do not count either") {
  CoordinatorProcess job(pack);
  WorkerSocket worker = job.worker();
  CHECK(first_shard(worker) == 0);
  job.serve_page(page_json({"a"}));
  const std::optional<Batch> batch = worker.next_batch();
  REQUIRE(batch.has_value());
  wire::Outcome stale = stored_in(*batch, {{0, 0, 9999, false}});
  ++stale.lease;
  worker.send(stale);
  const std::optional<FrameSocket::Message> message = job.next_but_figures();
  REQUIRE(message.has_value());
  REQUIRE(message->type == MessageType::kill_worker);
  job.say_reaped();
  WorkerSocket other = job.worker();
  CHECK(first_shard(other) == 0);
  const std::optional<Batch> again = other.next_batch();
  REQUIRE(again.has_value());
  write_shard(job.state, "worker-00-000000.tar", 512);
  other.send(stored_in(*again, {{0, 0, 512, false}}));
  check_complete(job, 1);
  CHECK(ends_archive(job.state, "worker-00-000000.tar", 512));
}

TEST_CASE("output that is not packed is told no numbers, and shards in it are left alone") {
  CoordinatorProcess job;
  write_shard(job.state, "worker-00-000000.tar", 512);
  WorkerSocket worker = job.worker();
  job.serve_page(page_json({"a"}));
  CHECK(worker.store(1) == Names{"a"});
  check_complete(job, 1);
  CHECK(read_file(job.state / "worker-00-000000.tar").size() == 512);
}

TEST_CASE("a run that is done is durable") {
  const BegunJob begun;
  CoordinatorProcess job(begun.state);
  WorkerSocket worker = job.worker();
  job.serve_page(page_json({"c", "d"}, "n"));
  job.serve_page(page_json({"e"}));
  worker.store(2);
  check_complete(job, 5);
  CHECK(durable(begun.state) == recorded(begun.state));
  CHECK(durable(begun.state).totals().stored == 5);
}

TEST_CASE("an open page that comes back different is taken in place of the old one") {
  const BegunJob begun;
  CoordinatorProcess job(begun.state);
  WorkerSocket worker = job.worker();
  CHECK(job.serve_page(page_json({"c", "x", "y"}, "n")) == "/list?next-marker=m");
  CHECK(job.serve_page(page_json({"e"})) == "/list?next-marker=n");
  CHECK(worker.store(4) == Names{"c", "x", "y", "e"});
  check_complete(job, 6);
  CHECK(job.figures.pages == 3);
  CHECK(job.figures.bytes == 60);
}

TEST_CASE("an open page that leads elsewhere begins the listing anew; what is stored is known") {
  const BegunJob begun;
  CoordinatorProcess job(begun.state);
  WorkerSocket worker = job.worker();
  CHECK(job.serve_page(page_json({"c", "x"}, "z")) == "/list?next-marker=m");
  CHECK(job.drop_request() == "/list?next-marker=n");
  CHECK(job.serve_page(page_json({"a", "b"}, "m")) == "/list");
  CHECK(job.serve_page(page_json({"c", "x"}, "z")) == "/list?next-marker=m");
  CHECK(job.serve_page(page_json({"e"})) == "/list?next-marker=z");
  CHECK(worker.store(3) == Names{"c", "x", "e"});
  check_complete(job, 5);
  CHECK(job.figures.fetched == 3);
  CHECK(job.figures.pages == 3);
  CHECK(job.figures.bytes == 50);
}

TEST_CASE("an open page with failures that comes back different begins the listing anew") {
  TempFolder state;
  REQUIRE(store::Ledger::create(state.fd(), {}).ok());
  {
    CoordinatorProcess job(state);
    WorkerSocket worker = job.worker();
    job.serve_page(page_json({"a", "b", "c"}, "m"));
    const std::optional<Batch> batch = worker.next_batch();
    REQUIRE(batch.has_value());
    wire::Outcome part = outcome_of(*batch);
    part.last = false;
    part.stored = {{0, 1}};
    part.failures = {{1, {FailureClass::http_status, 404, 1, "gone"}}};
    worker.send(part);
    REQUIRE(job.until_stored(1));
  }
  CoordinatorProcess job(state);
  WorkerSocket worker = job.worker();
  CHECK(job.serve_page(page_json({"a", "x"}, "m")) == "/list");
  CHECK(job.drop_request() == "/list?next-marker=m");
  CHECK(job.serve_page(page_json({"a", "x"})) == "/list");
  CHECK(worker.store(2) == Names{"a", "x"});
  check_complete(job, 2);
  CHECK(read_file(state / "failed.jsonl").empty());
}

TEST_CASE("a marker that the origin refuses begins the listing anew; what is stored is known") {
  const BegunJob begun;
  CoordinatorProcess job(begun.state);
  WorkerSocket worker = job.worker();
  SUBCASE("of an open page") {
    CHECK(job.refuse_page("410 Gone") == "/list?next-marker=m");
  }
  SUBCASE("of the frontier") {
    CHECK(job.serve_page(page_json({"c", "d"}, "n")) == "/list?next-marker=m");
    CHECK(job.refuse_page("404 Not Found") == "/list?next-marker=n");
  }
  CHECK(job.serve_page(page_json({"a", "b"}, "m2")) == "/list");
  CHECK(job.serve_page(page_json({"c", "d"}, "n2")) == "/list?next-marker=m2");
  CHECK(job.serve_page(page_json({"e"})) == "/list?next-marker=n2");
  CHECK(worker.store(3) == Names{"c", "d", "e"});
  check_complete(job, 5);
}

TEST_CASE("a listing that begins anew, and dies, still knows what is stored") {
  const BegunJob begun;
  {
    CoordinatorProcess job(begun.state);
    WorkerSocket worker = job.worker();
    CHECK(job.refuse_page("410 Gone") == "/list?next-marker=m");
    CHECK(job.serve_page(page_json({"a", "b"}, "m2")) == "/list");
    REQUIRE(job.until_stored(2));
    job.kill();
    CHECK(recorded(begun.state).relisting());
  }
  {
    // It dies again, at once after another beginning.
    CoordinatorProcess job(begun.state);
    CHECK(job.serve_page(page_json({"a", "b"}, "m2")) == "/list");
    CHECK(job.refuse_page("410 Gone") == "/list?next-marker=m2");
    CHECK(job.serve_page(page_json({"a", "b"}, "m3")) == "/list");
    while (recorded(begun.state).frontier().marker != "m3")
      ::poll(nullptr, 0, 5);
  }
  CoordinatorProcess job(begun.state);
  WorkerSocket worker = job.worker();
  CHECK(job.serve_page(page_json({"a", "b"}, "m3")) == "/list");
  CHECK(job.serve_page(page_json({"c", "d"}, "n3")) == "/list?next-marker=m3");
  CHECK(job.serve_page(page_json({"a", "b"})) == "/list?next-marker=n3");
  CHECK(worker.store(2) == Names{"c", "d"});
  check_complete(job, 6);
}

TEST_CASE("a larger limit goes on in the page that a smaller one cut") {
  TempFolder state;
  REQUIRE(store::Ledger::create(state.fd(), {}).ok());
  const auto run = [&](uint64_t limit,
                       const std::vector<std::pair<std::string, std::string>>& pages,
                       const Names& names, uint64_t listed) {
    CAPTURE(limit);
    CoordinatorProcess job(state, [&](Settings& settings) { settings.limit = limit; });
    WorkerSocket worker = job.worker();
    for (const auto& [target, json] : pages)
      CHECK(job.serve_page(json) == target);
    CHECK(worker.store(names.size()) == names);
    const std::optional<wire::Done> done = job.until_done();
    REQUIRE(done.has_value());
    CHECK(done->exit == status(ExitStatus::complete));
    CHECK(job.figures.listed == listed);
    CHECK(job.figures.balanced());
  };
  const std::string first = page_json({"a", "b", "a", "c"}, "m"), second = page_json({"d", "e"});
  run(1, {{"/list", first}}, {"a"}, 1);
  run(1, {}, {}, 1);
  run(2, {{"/list", first}}, {"b"}, 2);
  run(5, {{"/list", first}, {"/list?next-marker=m", second}}, {"c", "d"}, 5);
  run(UINT64_MAX, {{"/list?next-marker=m", second}}, {"e"}, 6);
  run(UINT64_MAX, {}, {}, 6);
  CHECK(recorded(state).totals().duplicates == 1);
}

TEST_CASE("a page that a limit cut and that is not done is visited as far as it was listed") {
  TempFolder state;
  REQUIRE(store::Ledger::create(state.fd(), {}).ok());
  const std::string page = page_json({"a", "b", "c", "d"});
  {
    CoordinatorProcess job(state, [](Settings& settings) { settings.limit = 2; });
    WorkerSocket worker = job.worker();
    job.serve_page(page);
    REQUIRE(worker.next_batch().has_value());
  }
  CoordinatorProcess job(state, [](Settings& settings) { settings.limit = 3; });
  WorkerSocket worker = job.worker();
  CHECK(job.serve_page(page) == "/list");
  CHECK(job.serve_page(page) == "/list");
  CHECK(worker.store(3) == Names{"a", "b", "c"});
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(job.figures.listed == 3);
}

// --- failures, again ---

namespace {

const FileFailure kBusy = {FailureClass::http_status, 503, 6, "busy"};
const FileFailure kGone = {FailureClass::http_status, 404, 1, "gone"};

// Reports the first name stored and the others failed, each in its way.
void report_failed(const WorkerSocket& worker, const Batch& batch,
                   const std::vector<FileFailure>& failures) {
  wire::Outcome outcome = outcome_of(batch);
  outcome.stored = {{0, 1}};
  for (uint32_t i = 0; i < failures.size(); ++i)
    outcome.failures.push_back({i + 1, failures[i]});
  worker.send(outcome);
}

}  // namespace

TEST_CASE("names that an earlier run failed for a passing reason are tried once more at the end") {
  TempFolder state;
  REQUIRE(store::Ledger::create(state.fd(), {}).ok());
  {
    CoordinatorProcess job(state, [](Settings& settings) { settings.limit = 4; });
    WorkerSocket worker = job.worker();
    job.serve_page(page_json({"a", "busy", "gone", "busy2", "later"}));
    const std::optional<Batch> batch = worker.next_batch();
    REQUIRE(batch.has_value());
    report_failed(worker, *batch, {kBusy, kGone, kBusy});
    REQUIRE(job.until_done().has_value());
  }
  CoordinatorProcess job(state);
  WorkerSocket worker = job.worker();
  job.serve_page(page_json({"a", "busy", "gone", "busy2", "later"}));
  CHECK(worker.store(1) == Names{"later"});
  std::optional<Batch> batch = worker.next_batch();
  REQUIRE(batch.has_value());
  CHECK(batch->names == Names{"busy", "busy2"});
  report_failed(worker, *batch, {kBusy});
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::failures));
  CHECK(job.figures.listed == 5);
  CHECK(job.figures.stored == 3);
  CHECK(job.figures.failed == 2);
  CHECK(job.figures.balanced());
  const std::string letters = read_file(state / "failed.jsonl");
  CHECK(letters.find("{\"name\":\"gone\"") != std::string::npos);
  CHECK(letters.find("{\"name\":\"busy2\"") != std::string::npos);
  CHECK(letters.find("{\"name\":\"busy\"") == std::string::npos);
}

TEST_CASE("the next run tries what failed for a passing reason, without a listing") {
  TempFolder state;
  REQUIRE(store::Ledger::create(state.fd(), {}).ok());
  {
    CoordinatorProcess job(state);
    WorkerSocket worker = job.worker();
    job.serve_page(page_json({"a", "busy", "gone"}));
    const std::optional<Batch> batch = worker.next_batch();
    REQUIRE(batch.has_value());
    report_failed(worker, *batch, {kBusy, kGone});
    const std::optional<wire::Done> done = job.until_done();
    REQUIRE(done.has_value());
    CHECK_MESSAGE(done->exit == status(ExitStatus::failures), "no retries were wanted");
  }
  {
    CoordinatorProcess job(state);
    WorkerSocket worker = job.worker();
    CHECK(worker.store(1) == Names{"busy"});
    const std::optional<wire::Done> done = job.until_done();
    REQUIRE(done.has_value());
    CHECK(done->exit == status(ExitStatus::failures));
    CHECK(job.figures.failed == 1);
    CHECK(job.figures.requests == 0);
  }
  {
    CoordinatorProcess job(state);
    const std::optional<wire::Done> done = job.until_done();
    REQUIRE(done.has_value());
    CHECK_MESSAGE(done->exit == status(ExitStatus::failures), "a 404 stays one, unless told");
  }
  CoordinatorProcess job(state, [](Settings& settings) { settings.retry_failed = true; });
  WorkerSocket worker = job.worker();
  CHECK(worker.store(1) == Names{"gone"});
  check_complete(job, 3);
  CHECK(read_file(state / "failed.jsonl").empty());
}

TEST_CASE("a run that died among its retries goes on with those that are left") {
  TempFolder state;
  REQUIRE(store::Ledger::create(state.fd(), {}).ok());
  {
    CoordinatorProcess job(state);
    WorkerSocket worker = job.worker();
    job.serve_page(page_json({"a", "b", "c", "d"}));
    const std::optional<Batch> batch = worker.next_batch();
    REQUIRE(batch.has_value());
    report_failed(worker, *batch, {kBusy, kBusy, kBusy});
    REQUIRE(job.until_done().has_value());
  }
  {
    CoordinatorProcess job(state);
    WorkerSocket worker = job.worker();
    const std::optional<Batch> batch = worker.next_batch();
    REQUIRE(batch.has_value());
    REQUIRE(batch->names == Names{"b", "c", "d"});
    wire::Outcome part = outcome_of(*batch);
    part.last = false;
    part.stored = {{1, 1}};
    worker.send(part);
    REQUIRE(job.until_stored(2));
  }
  CoordinatorProcess job(state);
  WorkerSocket worker = job.worker();
  CHECK(worker.store(2) == Names{"b", "d"});
  check_complete(job, 4);
}

TEST_CASE("an origin that answers everything with one failing status ends the run") {
  CoordinatorProcess job;
  WorkerSocket worker = job.worker();
  job.serve_page(page_json({"a"}));
  REQUIRE(worker.next_batch().has_value());
  wire::Pulse pulse;
  pulse.counters.requests = pulse.counters.responses = pulse.counters.failing = 1000;
  pulse.counters.failing_status = 500;
  worker.send(pulse);
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::fatal));
  CHECK(done->text.find("status 500") != std::string::npos);
}

// --- hand-overs ---

TEST_CASE("names that a worker gave up waiting for go to another one, who is patient") {
  CoordinatorProcess job([](Settings& settings) {
    settings.workers = 2;
    settings.batch_names = 16;
  });
  WorkerSocket first = job.worker(0), second = job.worker(1);
  REQUIRE(job.pass_figures());
  job.serve_page(page_json({"a", "b", "c"}));
  const std::optional<Batch> batch = first.next_batch();
  REQUIRE(batch.has_value());
  CHECK_FALSE(batch->patient);
  wire::Outcome outcome = outcome_of(*batch);
  outcome.stored = {{0, 1}, {2, 1}};
  outcome.released = {{1, 1}};
  first.send(outcome);
  const std::optional<Batch> slow = second.next_batch();
  REQUIRE(slow.has_value());
  CHECK(slow->names == Names{"b"});
  CHECK(slow->patient);
  second.report_stored(*slow);
  check_complete(job, 3);
}

TEST_CASE("a drained run goes on with what was released") {
  TempFolder state;
  REQUIRE(store::Ledger::create(state.fd(), {}).ok());
  {
    CoordinatorProcess job(state);
    WorkerSocket worker = job.worker();
    job.serve_page(page_json({"a", "b", "c"}));
    const std::optional<Batch> batch = worker.next_batch();
    REQUIRE(batch.has_value());
    job.supervisor->send_empty(MessageType::drain);
    REQUIRE(worker.next()->type == MessageType::drain);
    wire::Outcome outcome = outcome_of(*batch);
    outcome.stored = {{1, 1}};
    outcome.released = {{0, 1}, {2, 1}};
    worker.send(outcome);
    const std::optional<wire::Done> done = job.until_done();
    REQUIRE(done.has_value());
    CHECK(done->exit == status(ExitStatus::interrupted));
    CHECK(job.figures.stored == 1);
    CHECK(job.figures.balanced());
  }
  CoordinatorProcess job(state);
  WorkerSocket worker = job.worker();
  CHECK(job.serve_page(page_json({"a", "b", "c"})) == "/list");
  CHECK(worker.store(2) == Names{"a", "c"});
  check_complete(job, 3);
}

TEST_CASE("a worker is told its share of what may be in flight before it gets names") {
  CoordinatorProcess job([](Settings& settings) { settings.max_in_flight = 7; });
  FrameSocket worker(job.connect());
  worker.send(wire::Hello{kRunId, 0, static_cast<uint32_t>(::getpid())});
  job.serve_page(page_json({"a"}));
  const std::optional<FrameSocket::Message> first = worker.next();
  REQUIRE(first.has_value());
  REQUIRE(first->type == MessageType::pace);
  CHECK(wire::parse_pace(first->payload).value().in_flight == 7);
}

// --- ledgers that cannot be used ---

TEST_CASE("without a ledger, or with a damaged one, a fetch does not start, and says why") {
  TempFolder state;
  {
    CoordinatorProcess job(state);
    const std::optional<wire::Done> done = job.until_done();
    REQUIRE(done.has_value());
    CHECK(done->exit == status(ExitStatus::fatal));
    CHECK(done->text.find("ledger") != std::string::npos);
    CHECK(job.exit_status() == 0);
  }
  write_file(state / "ledger", "GFLEDGER and then something else");
  CoordinatorProcess job(state);
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::fatal));
}

TEST_CASE("a verify needs no ledger and leaves none; its findings are in their file") {
  TempFolder state;
  CoordinatorProcess job(state, [](Settings& settings) { settings.findings = "found.jsonl"; });
  WorkerSocket worker = job.worker();
  job.serve_page(page_json({"here", "away", "also"}));
  const std::optional<Batch> batch = worker.next_batch();
  REQUIRE(batch.has_value());
  wire::Outcome outcome = outcome_of(*batch);
  outcome.stored = {{0, 1}, {2, 1}};
  outcome.contents = {{0, 20, 3, 4}};
  outcome.failures = {{1, {FailureClass::missing, 0, 0, "not there"}}};
  worker.send(outcome);
  const std::optional<wire::Done> done = job.until_done();
  REQUIRE(done.has_value());
  CHECK(done->exit == status(ExitStatus::failures));
  CHECK(job.figures.stored == 2);
  CHECK(job.figures.failed == 1);
  CHECK(job.figures.bytes == 20);
  CHECK(job.figures.content_low == 3);
  const store::Hash128 sum = store::hash_of_name("here") + store::hash_of_name("also");
  CHECK(job.figures.set_hash_low == sum.low);
  CHECK(job.figures.set_hash_high == sum.high);
  CHECK(read_file(state / "found.jsonl").find("\"away\"") != std::string::npos);
  CHECK_FALSE(stands(state / "ledger"));
}
