// The worker as a process: the test is its coordinator, and its origin.
#include "worker/worker.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "base/temp_folder.h"
#include "base/unique_fd.h"
#include "base/unix_socket.h"
#include "net/blocking_origin.h"
#include "wire/frame_socket.h"
#include "wire/messages.h"
#include "worker/batch_of.h"

using namespace gigafetch;
using namespace gigafetch::worker;
using namespace gigafetch::testing;
using wire::MessageType;

namespace {

constexpr uint64_t kRunId = 0x1122334455667788;

// A worker in a child process, and the coordinator's end of its socket.
class WorkerProcess : public FrameSocket {
 public:
  explicit WorkerProcess(Mode mode) {
    Settings settings;
    settings.origin.scheme = "http";
    settings.origin.host = "127.0.0.1";
    settings.origin.port = origin.port();
    settings.api = "marker";
    settings.mode = mode;
    settings.connections = 1;
    settings.retries = 0;
    Result<UniqueFd> listener = listen_in_folder(state.fd(), "socket");
    if (!listener) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      listener.value().reset();
      origin.close();
      ::_exit(run_worker(settings, Place{3, kRunId, state.fd(), output.fd()}));
    }
    if (readable(listener.value().get())) {
      static_cast<FrameSocket&>(*this) =
          FrameSocket(UniqueFd(::accept4(listener.value().get(), nullptr, nullptr, SOCK_CLOEXEC)));
    }
  }
  ~WorkerProcess() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }

  void send_batch(uint64_t lease, const std::vector<std::string>& names) const {
    NameList list;
    for (const std::string& name : names) {
      list.append(name);
    }
    send(wire::BatchView{lease, list.count(), list.bytes()});
  }

  // The next message but pulses.
  std::optional<Message> next_but_pulse() {
    std::optional<Message> message = next();
    while (message && message->type == MessageType::pulse)
      message = next();
    return message;
  }
  std::optional<wire::Outcome> next_outcome() {
    const std::optional<Message> message = next_but_pulse();
    if (!message || message->type != MessageType::outcome) return std::nullopt;
    Result<wire::Outcome> outcome = wire::parse_outcome(message->payload);
    if (!outcome) return std::nullopt;
    return std::move(outcome).value();
  }
  bool greeted() {
    const std::optional<Message> message = next();
    return message && message->type == MessageType::hello;
  }

  // How the process ended; -1 when it was not by itself.
  int exit_status() {
    int status = 0;
    if (::waitpid(pid_, &status, 0) != pid_) return -1;
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  BlockingOrigin origin;
  TempFolder state, output;

 private:
  pid_t pid_ = -1;
};

}  // namespace

TEST_CASE("a worker says first who it is") {
  WorkerProcess worker(Mode::check);
  const std::optional<WorkerProcess::Message> first = worker.next();
  REQUIRE(first.has_value());
  REQUIRE(first->type == MessageType::hello);
  const Result<wire::Hello> hello = wire::parse_hello(first->payload);
  REQUIRE(hello);
  CHECK(hello.value().run_id == kRunId);
  CHECK(hello.value().worker == 3);
  CHECK(hello.value().pid == static_cast<uint32_t>(worker.pid()));
}

TEST_CASE("a worker without work shows now and then that it lives") {
  WorkerProcess worker(Mode::check);
  REQUIRE(worker.greeted());
  const std::optional<WorkerProcess::Message> message = worker.next();
  REQUIRE(message.has_value());
  CHECK(message->type == MessageType::pulse);
  const Result<wire::Pulse> pulse = wire::parse_pulse(message->payload);
  REQUIRE(pulse);
  CHECK(pulse.value().counters.requests == 0);
  CHECK(pulse.value().trouble.empty());
}

TEST_CASE("a worker fetches a batch into the output folder and reports it once") {
  WorkerProcess worker(Mode::store);
  REQUIRE(worker.greeted());
  worker.send_batch(42, {"folder/a", std::string("bad\0name", 8), "b"});
  CHECK(worker.origin.take_request() == "/get/folder/a");
  CHECK(read_file(worker.output / "folder/a") == "(none)");
  worker.origin.answer("the bytes of a");
  CHECK(worker.origin.take_request() == "/get/b");
  worker.origin.answer("");
  const std::optional<wire::Outcome> outcome = worker.next_outcome();
  REQUIRE(outcome.has_value());
  CHECK(outcome->lease == 42);
  CHECK(outcome->count == 3);
  CHECK(outcome->stored == 2);
  CHECK(outcome->bytes == 14);
  REQUIRE(outcome->failures.size() == 1);
  CHECK(outcome->failures[0].index == 1);
  CHECK(outcome->failures[0].file.cause == FailureClass::bad_name);
  CHECK(outcome->released.empty());
  CHECK(outcome->counters.requests == 2);
  CHECK(outcome->counters.responses == 2);
  CHECK(read_file(worker.output / "folder/a") == "the bytes of a");
  CHECK(read_file(worker.output / "b") == "");
}

TEST_CASE("a worker that checks looks for each file, fetches nothing, and sums up what it found") {
  WorkerProcess worker(Mode::check);
  REQUIRE(worker.greeted());
  std::filesystem::create_directory(worker.output / "folder");
  write_file(worker.output / "a", "x");
  write_file(worker.output / "folder/b", "y");
  worker.send_batch(7, {"a", "missing", "folder/b", "folder"});
  const std::optional<wire::Outcome> outcome = worker.next_outcome();
  REQUIRE(outcome.has_value());
  CHECK(outcome->stored == 2);
  REQUIRE(outcome->failures.size() == 2);
  CHECK(outcome->failures[0].index == 1);
  CHECK(outcome->failures[0].file.cause == FailureClass::missing);
  CHECK(outcome->failures[1].index == 3);
  CHECK(outcome->failures[1].file.cause != FailureClass::missing);
  store::SetHash found;
  found.add(store::hash_of_name("a"));
  found.add(store::hash_of_name("folder/b"));
  CHECK(outcome->set_hash_low == found.sum.low);
  CHECK(outcome->set_hash_high == found.sum.high);
  CHECK(outcome->counters.requests == 0);
}

TEST_CASE("a worker that compares stores nothing, and tells files that differ") {
  WorkerProcess worker(Mode::compare);
  REQUIRE(worker.greeted());
  write_file(worker.output / "same", "bytes");
  write_file(worker.output / "other", "bytes");
  worker.send_batch(7, {"same", "other", "missing"});
  for (const char* body : {"bytes", "BYTES", "bytes"}) {
    worker.origin.take_request();
    worker.origin.answer(body);
  }
  const std::optional<wire::Outcome> outcome = worker.next_outcome();
  REQUIRE(outcome.has_value());
  CHECK(outcome->stored == 1);
  REQUIRE(outcome->failures.size() == 2);
  CHECK(outcome->failures[0].file.cause == FailureClass::different);
  CHECK(outcome->failures[1].file.cause == FailureClass::missing);
  CHECK(outcome->set_hash_low == store::hash_of_name("same").low);
  CHECK(read_file(worker.output / "missing") == "(none)");
}

TEST_CASE("a draining worker settles what is in flight and hands the rest back") {
  WorkerProcess worker(Mode::store);
  REQUIRE(worker.greeted());
  worker.send_batch(1, {"a", "b", "c"});
  worker.send_batch(2, {"d"});
  CHECK(worker.origin.take_request() == "/get/a");
  worker.send_empty(MessageType::drain);
  worker.send_batch(3, {"e", "f"});
  std::map<uint64_t, wire::Outcome> outcomes;
  for (int i = 0; i < 3; ++i) {
    const std::optional<wire::Outcome> outcome = worker.next_outcome();
    REQUIRE(outcome.has_value());
    outcomes[outcome->lease] = *outcome;
    // A batch that comes after the drain is handed back at once: by then it drains.
    if (i == 0) {
      REQUIRE(outcome->lease == 3);
      worker.origin.answer("bytes");
    }
  }
  REQUIRE(outcomes.size() == 3);
  CHECK(outcomes[1].stored == 1);
  REQUIRE(outcomes[1].released.size() == 1);
  CHECK(outcomes[1].released[0].first == 1);
  CHECK(outcomes[1].released[0].count == 2);
  CHECK(outcomes[2].stored == 0);
  CHECK(outcomes[2].released.size() == 1);
  CHECK(outcomes[3].stored == 0);
  REQUIRE(outcomes[3].released.size() == 1);
  CHECK(outcomes[3].released[0].count == 2);
  CHECK(read_file(worker.output / "a") == "bytes");

  worker.send_batch(4, {"g"});
  const std::optional<wire::Outcome> late = worker.next_outcome();
  REQUIRE(late.has_value());
  CHECK(late->lease == 4);
  CHECK(late->released.size() == 1);
}

TEST_CASE("a worker that is told to stop leaves in good order, without a half-stored file") {
  WorkerProcess worker(Mode::store);
  REQUIRE(worker.greeted());
  worker.send_batch(1, {"a"});
  worker.origin.take_request();
  worker.send_empty(MessageType::stop);
  CHECK(worker.exit_status() == 0);
  CHECK(read_file(worker.output / "a") == "(none)");
}

TEST_CASE("a worker leaves when the coordinator is gone") {
  WorkerProcess worker(Mode::store);
  REQUIRE(worker.greeted());
  worker.send_batch(1, {"a"});
  worker.origin.take_request();
  worker.hang_up();
  CHECK(worker.exit_status() == 1);
}

TEST_CASE("a worker leaves when the coordinator breaks the protocol") {
  std::string hello, short_batch, loaded_drain;
  wire::append(hello, wire::Hello{kRunId, 1, 2});
  {
    wire::FrameWriter frame(short_batch, MessageType::batch);
    short_batch += "short";
  }
  {
    wire::FrameWriter frame(loaded_drain, MessageType::drain);
    loaded_drain += "payload";
  }
  for (const std::string& bytes :
       {std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), hello, short_batch, loaded_drain}) {
    CAPTURE(bytes);
    WorkerProcess worker(Mode::check);
    REQUIRE(worker.greeted());
    std::string stop;  // it must leave before it comes to this
    wire::append_empty(stop, MessageType::stop);
    worker.send_bytes(bytes + stop);
    CHECK(worker.exit_status() == 1);
  }
}

TEST_CASE("a worker that finds no coordinator leaves") {
  TempFolder state, output;
  Settings settings;
  settings.api = "marker";
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(run_worker(settings, Place{0, kRunId, state.fd(), output.fd()}));
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 1);
}
