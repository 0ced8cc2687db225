// The coordinator as a process: the test is its supervisor, its workers and its origin.
#include "coordinator/coordinator.h"

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
};

class WorkerSocket : public FrameSocket {
 public:
  using FrameSocket::FrameSocket;

  std::optional<Batch> next_batch() {
    const std::optional<Message> message = next();
    if (!message || message->type != MessageType::batch) return std::nullopt;
    const Result<wire::BatchView> view = wire::parse_batch(message->payload);
    if (!view) return std::nullopt;
    Batch batch{view.value().lease, {}};
    for (NameCursor cursor(view.value().names); !cursor.done(); cursor.next()) {
      batch.names.emplace_back(cursor.name());
    }
    return batch;
  }
  void report_stored(const Batch& batch, uint64_t bytes_each = 10) const {
    wire::Outcome outcome;
    outcome.lease = batch.lease;
    outcome.count = outcome.stored = static_cast<uint32_t>(batch.names.size());
    outcome.bytes = bytes_each * batch.names.size();
    send(outcome);
  }
};

class CoordinatorProcess {
 public:
  explicit CoordinatorProcess(const std::function<void(Settings&)>& change = {}) {
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
      place.state_fd = state.fd();
      place.listen_fd = listener.value().release();
      place.control_fd = theirs.release();
      ::_exit(run_coordinator(settings, place));
    }
    supervisor = std::make_unique<FrameSocket>(std::move(ours));
  }
  ~CoordinatorProcess() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  // As the origin: takes one request for a page, and answers it. Its target.
  std::string serve_page(const std::string& json) {
    std::string target = origin_.take_request();
    origin_.answer(json);
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
  // Figures come by a timer: after two more, all that was sent before has been taken in.
  bool pass_two_figures() {
    for (int seen = 0; seen < 2;) {
      const std::optional<FrameSocket::Message> message = supervisor->next();
      if (!message) return false;
      seen += message->type == MessageType::figures ? 1 : 0;
    }
    return true;
  }
  int exit_status() {
    int status = 0;
    if (::waitpid(pid_, &status, 0) != pid_) return -1;
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  TempFolder state;
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
  wire::Outcome outcome;
  outcome.lease = batch->lease;
  outcome.count = 3;
  outcome.stored = 1;
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
  REQUIRE(job.pass_two_figures());
  CHECK_MESSAGE(second.is_silent(), "the first worker may still be writing these files");
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
  REQUIRE(job.pass_two_figures());
  // What it had written before it died still counts.
  wire::Outcome outcome;
  outcome.lease = batch->lease;
  outcome.count = 3;
  outcome.stored = 2;
  outcome.released = {{2, 1}};
  first.send(outcome);
  first.hang_up();
  REQUIRE(job.pass_two_figures());
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
  worker.report_stored(Batch{batch->lease + 1, {"a"}});
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
  REQUIRE(job.pass_two_figures());
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
  wire::Outcome outcome;
  outcome.lease = batch->lease;
  outcome.count = 2;
  outcome.stored = 1;
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
  REQUIRE(job.pass_two_figures());
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
