// The worker as a process: the test is its coordinator, and its origin.
#include "worker/worker.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <optional>

#include "base/temp_folder.h"
#include "base/unique_fd.h"
#include "base/unix_socket.h"
#include "net/blocking_origin.h"
#include "store/content_hash.h"
#include "store/ledger.h"
#include "store/shard_reader.h"
#include "store/tar_sink.h"
#include "wire/frame_socket.h"
#include "wire/messages.h"
#include "worker/batch_of.h"

using namespace gigafetch;
using namespace gigafetch::worker;
using namespace gigafetch::testing;
using wire::MessageType;

namespace {

using Ranges = std::vector<wire::Outcome::Range>;

constexpr uint64_t kRunId = 0x1122334455667788;

// A worker in a child process, and the coordinator's end of its socket.
class WorkerProcess : public FrameSocket {
 public:
  // Makes of the settings, and of the folders, what the test needs.
  using Prepare = std::function<void(Settings& settings, WorkerProcess& folders)>;

  explicit WorkerProcess(Mode mode, uint32_t pipeline = 1, uint32_t retries = 0,
                         const Prepare& prepare = {}) {
    Settings settings;
    settings.origin.scheme = "http";
    settings.origin.host = "127.0.0.1";
    settings.origin.port = origin.port();
    settings.api = "marker";
    settings.mode = mode;
    settings.connections = 1;
    settings.pipeline = pipeline;
    settings.retries = retries;
    settings.connect_timeout = Millis(1000);  // so that silences are noticed soon
    if (prepare) prepare(settings, *this);
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

  // The names are one segment when `segments` does not say how many names each has.
  void send_batch(uint64_t lease, const std::vector<std::string>& names, bool patient = false,
                  std::vector<uint32_t> segments = {}) const {
    NameList list;
    for (const std::string& name : names) {
      list.append(name);
    }
    if (segments.empty()) segments = {list.count()};
    send(wire::BatchView{lease, list.count(), patient, std::move(segments), list.bytes()});
  }

  // The next message but what is found of pipelining, which is kept.
  std::optional<Message> next() {
    for (;;) {
      std::optional<Message> message = FrameSocket::next();
      if (!message || message->type != MessageType::pipelining) return message;
      const Result<wire::Pipelining> found = wire::parse_pipelining(message->payload);
      if (!found) return std::nullopt;
      pipelining = found.value();
    }
  }
  // The next message but pulses; nullopt when so many of them come that nothing else will.
  std::optional<Message> next_but_pulse() {
    constexpr int kPatience = 30;
    for (int pulses = 0; pulses < kPatience; ++pulses) {
      std::optional<Message> message = next();
      if (!message || message->type != MessageType::pulse) return message;
    }
    return std::nullopt;
  }
  // The next pulse; nullopt when something else comes first.
  std::optional<wire::Pulse> next_pulse() {
    const std::optional<Message> message = next();
    if (!message || message->type != MessageType::pulse) return std::nullopt;
    Result<wire::Pulse> pulse = wire::parse_pulse(message->payload);
    if (!pulse) return std::nullopt;
    return std::move(pulse).value();
  }
  // The first pulse that knows of so many requests: earlier ones may not have been read yet.
  wire::Pulse told_of(uint64_t requests) {
    std::optional<wire::Pulse> pulse = next_pulse();
    while (pulse && pulse->counters.requests < requests)
      pulse = next_pulse();
    return pulse.value_or(wire::Pulse());
  }
  // The next one that says something of names: those that only give the credit back do not.
  std::optional<wire::Outcome> next_outcome() {
    for (;;) {
      const std::optional<Message> message = next_but_pulse();
      if (!message || message->type != MessageType::outcome) return std::nullopt;
      Result<wire::Outcome> outcome = wire::parse_outcome(message->payload);
      if (!outcome) return std::nullopt;
      if (outcome->last || !outcome->stored.empty() || !outcome->failures.empty() ||
          !outcome->released.empty()) {
        return std::move(outcome).value();
      }
    }
  }
  // All that follows of one batch, until its last outcome.
  std::optional<wire::Outcome> whole_outcome() {
    std::optional<wire::Outcome> whole = next_outcome();
    while (whole && !whole->last) {
      const std::optional<wire::Outcome> more = next_outcome();
      if (!more || more->lease != whole->lease) return std::nullopt;
      whole->last = more->last;
      const auto join = [](auto& to, const auto& from) {
        to.insert(to.end(), from.begin(), from.end());
      };
      join(whole->stored, more->stored);
      join(whole->contents, more->contents);
      join(whole->failures, more->failures);
      join(whole->released, more->released);
      join(whole->shards, more->shards);
    }
    return whole;
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

  wire::Pipelining pipelining;  // as it has told last
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
  const std::optional<wire::Outcome> outcome = worker.whole_outcome();
  REQUIRE(outcome.has_value());
  CHECK(outcome->lease == 42);
  CHECK(outcome->count == 3);
  CHECK(outcome->last);
  CHECK(outcome->stored == Ranges{{0, 1}, {2, 1}});
  const store::Hash128 sum =
      store::content_hash("folder/a", "the bytes of a") + store::content_hash("b", "");
  CHECK(outcome->contents == std::vector<wire::Outcome::Content>{{0, 14, sum.low, sum.high}});
  REQUIRE(outcome->failures.size() == 1);
  CHECK(outcome->failures[0].index == 1);
  CHECK(outcome->failures[0].file.cause == FailureClass::bad_name);
  CHECK(outcome->released.empty());
  CHECK(outcome->counters.requests == 2);
  CHECK(outcome->counters.responses == 2);
  CHECK(read_file(worker.output / "folder/a") == "the bytes of a");
  CHECK(read_file(worker.output / "b") == "");
}

TEST_CASE("a worker that checks reads each file, fetches nothing, and sums up what it found") {
  WorkerProcess worker(Mode::check);
  REQUIRE(worker.greeted());
  std::filesystem::create_directory(worker.output / "folder");
  const std::string large(200'000, 'l');
  write_file(worker.output / "a", "x");
  write_file(worker.output / "folder/b", "yy");
  write_file(worker.output / "large", large);
  worker.send_batch(7, {"a", "missing", "folder/b", "folder", "large"}, false, {1, 1, 3});
  const std::optional<wire::Outcome> outcome = worker.next_outcome();
  REQUIRE(outcome.has_value());
  CHECK(outcome->last);
  CHECK(outcome->stored == Ranges{{0, 1}, {2, 1}, {4, 1}});
  REQUIRE(outcome->failures.size() == 2);
  CHECK(outcome->failures[0].index == 1);
  CHECK(outcome->failures[0].file.cause == FailureClass::missing);
  CHECK(outcome->failures[1].index == 3);
  CHECK(outcome->failures[1].file.cause != FailureClass::missing);
  const store::Hash128 first = store::content_hash("a", "x");
  const store::Hash128 third =
      store::content_hash("folder/b", "yy") + store::content_hash("large", large);
  CHECK(outcome->contents ==
        std::vector<wire::Outcome::Content>{{0, 1, first.low, first.high},
                                            {2, 200'002, third.low, third.high}});
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
  CHECK(outcome->stored == Ranges{{0, 1}});
  REQUIRE(outcome->failures.size() == 2);
  CHECK(outcome->failures[0].file.cause == FailureClass::different);
  CHECK(outcome->failures[1].file.cause == FailureClass::missing);
  const store::Hash128 same = store::content_hash("same", "bytes");
  CHECK(outcome->contents == std::vector<wire::Outcome::Content>{{0, 5, same.low, same.high}});
  CHECK(read_file(worker.output / "missing") == "(none)");
}

TEST_CASE("a worker whose coordinator is slow to read goes on with what is in flight") {
  WorkerProcess worker(Mode::store, 4);
  REQUIRE(worker.greeted());
  worker.send_batch(1, {"slow"});
  CHECK(worker.origin.take_request() == "/get/slow");
  // Refused at once, for their NUL: an outcome of more than the socket holds, which is not read
  // yet.
  constexpr uint32_t kRefused = 90'000;
  worker.send_batch(2, std::vector<std::string>(kRefused, std::string(1, '\0')));
  const std::optional<wire::Outcome> refused = worker.next_outcome();
  REQUIRE(refused.has_value());
  CHECK(refused->lease == 2);
  CHECK(refused->failures.size() == kRefused);
  // By now it has written all of it; the pulse was written after that.
  CHECK(worker.next_pulse().has_value());
  worker.origin.answer("bytes");
  const std::optional<wire::Outcome> outcome = worker.next_outcome();
  REQUIRE(outcome.has_value());
  CHECK(outcome->lease == 1);
  CHECK(outcome->stored == Ranges{{0, 1}});
  CHECK(outcome->released.empty());
  CHECK(read_file(worker.output / "slow") == "bytes");
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
  for (const auto& [lease, outcome] : outcomes)
    CHECK(outcome.last);
  CHECK(outcomes[1].stored == Ranges{{0, 1}});
  CHECK(outcomes[1].released == Ranges{{1, 2}});
  CHECK(outcomes[2].stored.empty());
  CHECK(outcomes[2].released == Ranges{{0, 1}});
  CHECK(outcomes[3].stored.empty());
  CHECK(outcomes[3].released == Ranges{{0, 2}});
  CHECK(read_file(worker.output / "a") == "bytes");

  worker.send_batch(4, {"g"});
  const std::optional<wire::Outcome> late = worker.next_outcome();
  REQUIRE(late.has_value());
  CHECK(late->lease == 4);
  CHECK(late->released.size() == 1);
}

TEST_CASE("a draining worker tells at once what it has stored of a batch that it goes on with") {
  WorkerProcess worker(Mode::store);
  REQUIRE(worker.greeted());
  worker.send_batch(1, {"a", "b", "c"});
  CHECK(worker.origin.take_request() == "/get/a");
  worker.origin.answer("bytes");
  CHECK(worker.origin.take_request() == "/get/b");
  worker.send_empty(MessageType::drain);
  const std::optional<wire::Outcome> part = worker.next_outcome();
  REQUIRE(part.has_value());
  CHECK_FALSE(part->last);
  CHECK(part->stored == Ranges{{0, 1}});
  CHECK(part->released.empty());
  worker.origin.answer("more");
  const std::optional<wire::Outcome> rest = worker.next_outcome();
  REQUIRE(rest.has_value());
  CHECK(rest->last);
  CHECK(rest->stored == Ranges{{1, 1}});
  CHECK(rest->released == Ranges{{2, 1}});
}

TEST_CASE(
    "of a batch whose last names are slow a part is told, and a further one when it is large") {
  WorkerProcess worker(Mode::store, 64);
  REQUIRE(worker.greeted());
  worker.send_batch(1, numbered(40), true);
  for (int i = 0; i < 40; ++i)
    CHECK(worker.origin.take_request() == "/get/f" + std::to_string(i));
  const auto answer = [&](int count) {
    std::string bytes;
    for (int i = 0; i < count; ++i)
      bytes += "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    worker.origin.send(bytes);
  };
  answer(10);
  // What was answered before others on the same connection cannot be proven yet.
  answer(30);
  const std::optional<wire::Outcome> last = worker.whole_outcome();
  REQUIRE(last.has_value());
  CHECK(last->last);
  CHECK(last->stored == Ranges{{0, 40}});
  REQUIRE(last->contents.size() == 1);
  CHECK(last->contents[0].bytes == 40);
}

TEST_CASE("of a batch with names that were not sent yet no part is told") {
  WorkerProcess worker(Mode::store);
  REQUIRE(worker.greeted());
  worker.send_batch(1, {"a", "b", "c"}, true);
  CHECK(worker.origin.take_request() == "/get/a");
  worker.origin.answer("a");
  CHECK(worker.origin.take_request() == "/get/b");
  for (int i = 0; i < 2; ++i)
    CHECK(worker.next_pulse().has_value());
  worker.origin.answer("b");
  CHECK(worker.origin.take_request() == "/get/c");
  const std::optional<wire::Outcome> part = worker.next_outcome();
  REQUIRE(part.has_value());
  CHECK_FALSE(part->last);
  CHECK(part->stored.at(0).first == 0);
  worker.origin.answer("c");
  const std::optional<wire::Outcome> last = worker.next_outcome();
  REQUIRE(last.has_value());
  CHECK(last->last);
  CHECK(last->stored == Ranges{{part->stored.at(0).count, 3 - part->stored.at(0).count}});
}

TEST_CASE("a name that the origin keeps waiting is handed back at once, and the rest goes on") {
  WorkerProcess worker(Mode::store, 1, 2);
  REQUIRE(worker.greeted());
  worker.send_batch(1, {"hangs", "b"});
  for (int i = 0; i < 2; ++i) {
    CHECK(worker.origin.take_request() == "/get/hangs");
    CHECK(worker.origin.client_leaves());
  }
  CHECK(worker.origin.take_request() == "/get/b");
  worker.origin.answer("b");  // at once, for it is not waited for any longer either
  const std::optional<wire::Outcome> part = worker.next_outcome();
  REQUIRE(part.has_value());
  CHECK_FALSE(part->last);
  CHECK(part->stored.empty());
  CHECK(part->failures.empty());
  CHECK(part->released == Ranges{{0, 1}});
  const std::optional<wire::Outcome> last = worker.next_outcome();
  REQUIRE(last.has_value());
  CHECK(last->last);
  CHECK(last->stored == Ranges{{1, 1}});
  CHECK(last->released.empty());
}

TEST_CASE("a worker keeps to the pace it is given") {
  WorkerProcess worker(Mode::store, 8);
  REQUIRE(worker.greeted());
  worker.send(wire::Pace{2, 0, 0});
  worker.send_batch(1, numbered(5));
  CHECK(worker.origin.take_request() == "/get/f0");
  CHECK(worker.origin.take_request() == "/get/f1");
  CHECK(worker.told_of(2).counters.requests == 2);
  worker.send(wire::Pace{4, 0, 0});
  CHECK(worker.origin.take_request() == "/get/f2");
  CHECK(worker.origin.take_request() == "/get/f3");
}

TEST_CASE("what is found of pipelining is told before the outcome of what was stored meanwhile") {
  WorkerProcess worker(Mode::store, 2);
  REQUIRE(worker.greeted());
  worker.send_batch(1, numbered(128));
  for (int i = 0; i < 128; i += 2) {
    worker.origin.take_request();
    worker.origin.take_request();
    const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    worker.origin.send(answer + answer);
  }
  REQUIRE(worker.next_outcome().has_value());
  CHECK(worker.pipelining == wire::Pipelining{2, 0, 0});
}

TEST_CASE("what others have found of pipelining holds from the first request on, and is not told") {
  WorkerProcess worker(Mode::store, 8);
  REQUIRE(worker.greeted());
  worker.send(wire::Pipelining{2, 2, 3});
  worker.send_batch(1, numbered(5));
  const auto answer = [&](int count) {
    for (int i = 0; i < count; ++i)
      worker.origin.answer("x");
  };
  CHECK(worker.origin.take_request() == "/get/f0");
  CHECK(worker.origin.take_request() == "/get/f1");
  CHECK_MESSAGE(worker.told_of(2).counters.requests == 2, "as many as the origin bears");
  answer(1);
  CHECK(worker.origin.take_request() == "/get/f2");
  CHECK_MESSAGE(worker.told_of(3).counters.requests == 3, "no more on this connection");
  CHECK(worker.pipelining == wire::Pipelining());
}

TEST_CASE("what the origin asks for with Retry-After is told with a pulse, once") {
  WorkerProcess worker(Mode::store);
  REQUIRE(worker.greeted());
  worker.send_batch(1, {"a", "b"});
  CHECK(worker.origin.take_request() == "/get/a");
  worker.origin.send("HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
  CHECK(worker.origin.take_request() == "/get/b");
  std::optional<wire::Pulse> pulse = worker.next_pulse();
  while (pulse && pulse->retry_after_ms == 0)
    pulse = worker.next_pulse();
  REQUIRE(pulse.has_value());
  CHECK(pulse->retry_after_ms == 7000);
  CHECK(pulse->counters.pushbacks == 1);
  CHECK(pulse->counters.failing == 1);
  CHECK(pulse->counters.failing_status == 429);
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
  std::string hello, short_batch, loaded_drain, empty_pace;
  wire::append(empty_pace, wire::Pace{0, 0, 0});
  wire::append(hello, wire::Hello{kRunId, 1, 2});
  {
    wire::FrameWriter frame(short_batch, MessageType::batch);
    short_batch += "short";
  }
  {
    wire::FrameWriter frame(loaded_drain, MessageType::drain);
    loaded_drain += "payload";
  }
  for (const std::string& bytes : {std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), hello,
                                   short_batch, loaded_drain, empty_pace}) {
    CAPTURE(bytes);
    WorkerProcess worker(Mode::check);
    REQUIRE(worker.greeted());
    std::string stop;  // it must leave before it comes to this
    wire::append_empty(stop, MessageType::stop);
    worker.send_bytes(bytes + stop);
    CHECK(worker.exit_status() == 1);
  }
}

// --- packed output ---

namespace {

using Ends = std::vector<ShardEnd>;

void pack(Settings& settings, WorkerProcess&) {
  settings.pack = true;
}

// Path and body of the members, one behind the other.
std::string members_of(const WorkerProcess& worker, uint32_t number, uint64_t end) {
  Result<store::ShardReader> reader =
      store::ShardReader::open(worker.output.fd(), {{3, number}, false}, 0, end);
  if (!reader) return reader.failure().text;
  std::string members;
  for (;;) {
    Result<std::optional<store::TarMember>> member = reader->next();
    if (!member) return member.failure().text;
    if (!*member) return members;
    members += (*member)->path + "=";
    for (std::string_view piece = reader->body().value(); !piece.empty();
         piece = reader->body().value()) {
      members += piece.size() > 100 ? fmt::format("{}", piece.size()) : std::string(piece);
    }
    members += ' ';
  }
}

}  // namespace

TEST_CASE("a worker that packs tells with a batch how far its shard goes, from its number on") {
  WorkerProcess worker(Mode::store, 1, 0, pack);
  REQUIRE(worker.greeted());
  worker.send(wire::Shards{5});
  worker.send_batch(1, {"d/a", "b"});
  for (const char* body : {"body of a", ""}) {
    worker.origin.take_request();
    worker.origin.answer(body);
  }
  std::optional<wire::Outcome> outcome = worker.next_outcome();
  REQUIRE(outcome.has_value());
  CHECK(outcome->last);
  CHECK_FALSE(outcome->keeps_credit);
  CHECK(outcome->stored == Ranges{{0, 2}});
  CHECK(outcome->shards == Ends{{0, 5, 3 * 512, false}});
  CHECK(members_of(worker, 5, 3 * 512) == "d/a=body of a b= ");

  worker.send_batch(2, {"c", "gone"});
  worker.origin.take_request();
  worker.origin.answer("cc");
  worker.origin.take_request();
  worker.origin.answer("", "404 Not Found");
  outcome = worker.next_outcome();
  REQUIRE(outcome.has_value());
  CHECK(outcome->stored == Ranges{{0, 1}});
  CHECK(outcome->shards == Ends{{0, 5, 5 * 512, false}});
  // A batch of which nothing is stored tells of no shard.
  worker.send_batch(3, {"gone"});
  worker.origin.take_request();
  worker.origin.answer("", "404 Not Found");
  outcome = worker.next_outcome();
  REQUIRE(outcome.has_value());
  CHECK(outcome->shards.empty());
  worker.send_empty(MessageType::stop);
  CHECK(worker.exit_status() == 0);
  CHECK(read_file(worker.output / "worker-03-000005.idx").size() > 40);
  CHECK(std::filesystem::file_size(worker.output / "worker-03-000005.tar") == 5 * 512);
}

TEST_CASE("files that hold shards of their own are told of before their batch is done") {
  WorkerProcess worker(Mode::store, 2, 0, pack);
  REQUIRE(worker.greeted());
  worker.send_batch(1, {"a", "b", "c", "d", "e", "f"});
  const std::string large(600'000, 'l');  // too large to be gathered
  const uint64_t end = 3 * 512 + 600'064;
  // Behind the first large one nothing is sent ahead: it is to be proven.
  worker.origin.take_request();
  worker.origin.take_request();
  worker.origin.answer(large);
  worker.origin.answer(large);
  std::optional<wire::Outcome> outcome = worker.next_outcome();
  REQUIRE(outcome.has_value());
  CHECK_FALSE(outcome->last);
  CHECK(outcome->keeps_credit);
  CHECK(outcome->stored == Ranges{{0, 1}});
  CHECK(outcome->shards == Ends{{0, 0, end, false}});
  for (int i = 0; i < 4; ++i) {
    worker.origin.take_request();
    worker.origin.answer(large);
  }
  outcome = worker.whole_outcome();
  REQUIRE(outcome.has_value());
  std::string members;
  for (const ShardEnd& shard : outcome->shards)
    members += members_of(worker, shard.number, shard.end);
  for (const char* name : {"b=", "c=", "d=", "e=", "f="})
    CHECK(members.find(name) != std::string::npos);
}

TEST_CASE("a body that ends too early is in no shard") {
  WorkerProcess worker(Mode::store, 1, 0, pack);
  REQUIRE(worker.greeted());
  worker.send_batch(1, {"half", "whole"});
  worker.origin.take_request();
  worker.origin.send("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" +
                     std::string(150'000, 'h'));
  worker.origin.drop();
  std::string target = worker.origin.take_request();
  while (target == "/get/half") {
    worker.origin.drop();
    target = worker.origin.take_request();
  }
  CHECK(target == "/get/whole");
  worker.origin.answer(std::string(150'000, 'w'));
  const std::optional<wire::Outcome> outcome = worker.whole_outcome();
  REQUIRE(outcome.has_value());
  CHECK(outcome->stored == Ranges{{1, 1}});
  CHECK(outcome->failures.size() == 1);
  REQUIRE(outcome->shards.size() == 1);
  CHECK(outcome->shards[0].number == 0);
  CHECK(members_of(worker, 0, outcome->shards[0].end).find("half") == std::string::npos);
}

TEST_CASE("a worker checks, and compares, what is in shards as far as the ledger says") {
  const auto prepare = [](Settings& settings, WorkerProcess& folders) {
    settings.pack = true;
    store::TarSink sink(folders.output.fd(), {});
    store::Lot lot;
    REQUIRE(sink.put(lot, "a", "1").ok());
    REQUIRE(sink.put(lot, "../b", "22").ok());
    store::Receipt receipt = 0;
    REQUIRE(sink.commit(lot, receipt).ok());
    sink.prove(receipt);
    store::Tellable told;
    store::StoreStatus status;
    REQUIRE(sink.take_tellable(told, status));
    Result<store::Ledger> ledger =
        store::Ledger::create(folders.state.fd(), {"url", "marker", "tar", "tree", {}, {}});
    REQUIRE(ledger.ok());
    ledger->add_shard(told.end);
    REQUIRE(ledger->flush().ok());
    REQUIRE(sink.put(lot, "untold", "3").ok());
    REQUIRE(sink.commit(lot, receipt).ok());
    sink.finish_run();
  };
  for (const Mode mode : {Mode::check, Mode::compare}) {
    WorkerProcess worker(mode, 1, 0, prepare);
    REQUIRE(worker.greeted());
    worker.send_batch(7, {"a", "../b", "untold"});
    if (mode == Mode::compare) {
      for (const char* body : {"1", "22", "3"}) {
        worker.origin.take_request();
        worker.origin.answer(body);
      }
    }
    const std::optional<wire::Outcome> outcome = worker.next_outcome();
    REQUIRE(outcome.has_value());
    CHECK(outcome->stored == Ranges{{0, 2}});
    CHECK(outcome->shards.empty());
    REQUIRE(outcome->failures.size() == 1);
    CHECK(outcome->failures[0].file.cause == FailureClass::missing);
    const store::Hash128 sum = store::content_hash("a", "1") + store::content_hash("../b", "22");
    CHECK(outcome->contents == std::vector<wire::Outcome::Content>{{0, 3, sum.low, sum.high}});
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
