#include "worker/fetcher.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "net/drive.h"
#include "net/scripted_server.h"
#include "worker/batch_of.h"

using namespace gigafetch;
using namespace gigafetch::worker;
using namespace gigafetch::testing;

namespace {

using Peer = ScriptedServer::Peer;

// Settles the names of its batches, as the worker does.
struct Client final : Fetcher::Client {
  Part* on_answered(const Task& task, bool with_file) override {
    ++answered;
    return task.batch->set_answered(task.index, with_file);
  }
  void on_taken_back(std::span<const Answer> answers) override {
    for (const Answer& answer : answers) {
      taken_back.emplace_back(answer.task.name());
      answer.task.batch->take_back(answer.task.index, answer.part);
    }
  }
  void on_misframed(Misframing kind) override { misframed.push_back(kind); }
  void on_stored(std::span<const FileRun> files) override {
    for (const FileRun& each : files) {
      each.batch->prove(each);
      stored += each.count;
      ++calls;
    }
  }
  void on_failed(const Task& task, FileFailure failure) override {
    failures[std::string(task.name())] = failure;
    task.batch->settle_failed(task.index, std::move(failure));
    ++calls;
  }
  void on_released(const Task& task) override {
    released.emplace_back(task.name());
    task.batch->release(task.index);
    ++calls;
  }
  void on_pushback() override { ++pushbacks; }
  void on_store_broken(std::string_view text) override {
    broken = text;
    ++times_broken;
    calls_before_broken = calls;
  }
  void on_fetcher_drained() override { ++drained; }

  size_t settled() const { return stored + failures.size(); }

  size_t answered = 0;
  size_t stored = 0;
  std::map<std::string, FileFailure> failures;
  std::vector<std::string> released;
  std::vector<std::string> taken_back;
  std::vector<Misframing> misframed;
  int pushbacks = 0;
  std::string broken;
  int times_broken = 0;
  size_t calls = 0, calls_before_broken = 0;
  int drained = 0;
};

Settings quick_settings() {
  Settings settings;
  settings.origin.scheme = "http";
  settings.origin.host = "127.0.0.1";
  settings.api = "marker";
  settings.connections = 4;
  settings.retries = 3;
  return settings;
}

struct Scene {
  explicit Scene(ScriptedServer::OnRequest on_request, Settings with = quick_settings())
      : server(loop, std::move(on_request)),
        settings(std::move(with)),
        dialect(listing::make_dialect("marker", "").value()) {
    settings.origin.port = server.port();
    fetcher = std::make_unique<Fetcher>(loop, settings, *dialect, sink, client, 0);
    sink.log = &log;
  }
  ~Scene() {
    if (fetcher) fetcher->abandon();
  }

  void fetch(const std::vector<std::string>& names) { fetch(batch_of(names)); }
  void fetch(std::unique_ptr<Batch> given) {
    batch = std::move(given);
    fetcher->add(*batch);
  }
  bool until(const std::function<bool()>& done) { return run_until(loop, done); }
  bool until_settled() {
    return until([&] { return batch->all_settled(); });
  }

  net::Loop loop;
  ScriptedServer server;
  Settings settings;
  std::unique_ptr<listing::Dialect> dialect;
  FakeSink sink;
  std::vector<std::string> log;
  Client client;
  std::unique_ptr<Batch> batch;
  std::unique_ptr<Fetcher> fetcher;
};

// Names that hang are looked at often; the stall timeout stays out of their way. With so few
// retries a name can be given up early just as often as ever.
Settings tail_settings() {
  Settings settings = quick_settings();
  settings.connect_timeout = Millis(1000);
  settings.retries = 2;
  return settings;
}

size_t times_asked(const Scene& scene, const std::string& name) {
  return static_cast<size_t>(
      std::count(scene.server.targets.begin(), scene.server.targets.end(), "/get/" + name));
}

void answer(Peer& peer, const std::string& target) {
  peer.send(ok("body of " + target));
}

size_t most_requests(const ScriptedServer& server) {
  size_t most = 0;
  for (const auto& peer : server.peers)
    most = std::max(most, peer->requests());
  return most;
}

}  // namespace

TEST_CASE("every name is asked for once and stored with its own body") {
  for (const uint32_t pipeline : {1u, 2u, 7u, 64u}) {
    CAPTURE(pipeline);
    Settings settings = quick_settings();
    settings.pipeline = pipeline;
    Scene scene(answer, settings);
    scene.server.start();
    scene.fetch(numbered(500));
    REQUIRE(scene.until_settled());
    CHECK(scene.client.stored == 500);
    CHECK(scene.client.failures.empty());
    CHECK(scene.server.targets.size() == 500);
    CHECK(std::set<std::string>(scene.server.targets.begin(), scene.server.targets.end()).size() ==
          500);
    for (const std::string& name : numbered(500)) {
      CHECK(scene.sink.files[name] == "body of /get/" + name);
    }
    CHECK(scene.fetcher->counters().requests == 500);
    CHECK(scene.fetcher->counters().responses == 500);
    CHECK(scene.fetcher->counters().retries == 0);
    CHECK(scene.fetcher->trouble().empty());
  }
}

TEST_CASE(
    "a request asks for the bytes as they are, for the encoded name, with the job's headers") {
  Settings settings = quick_settings();
  settings.headers = {{"Authorization", "Bearer secret"}};
  Scene scene(answer, settings);
  scene.server.start();
  scene.fetch({"a b/c?d#e%f"});
  REQUIRE(scene.until_settled());
  const std::string& head = scene.server.heads.at(0);
  CHECK(head.starts_with("GET /get/a%20b/c%3Fd%23e%25f HTTP/1.1\r\n"));
  CHECK(head.find("\r\nHost: 127.0.0.1:" + std::to_string(scene.server.port()) + "\r\n") !=
        std::string::npos);
  CHECK(head.find("\r\nAccept-Encoding: identity\r\n") != std::string::npos);
  CHECK(head.find("\r\nAuthorization: Bearer secret\r\n") != std::string::npos);
}

TEST_CASE("no more connections are opened than are needed, or allowed") {
  struct Case {
    size_t names;
    uint32_t connections, pipeline;
    size_t expected;
  };
  for (const Case& c : {Case{1, 8, 1, 1}, Case{3, 8, 1, 3}, Case{100, 8, 1, 8}, Case{8, 8, 4, 2},
                        Case{9, 8, 4, 3}, Case{1000, 2, 16, 2}}) {
    Settings settings = quick_settings();
    settings.connections = c.connections;
    settings.pipeline = c.pipeline;
    Scene scene(answer, settings);
    scene.server.start();
    scene.fetch(numbered(c.names));
    REQUIRE(scene.until_settled());
    CHECK(scene.server.peers.size() == c.expected);
  }
}

TEST_CASE("a connection carries as many unanswered requests as the depth, and never more") {
  Settings settings = quick_settings();
  settings.connections = 2;
  settings.pipeline = 5;
  std::vector<std::pair<Peer*, std::string>> held;
  Scene scene([&](Peer& peer, const std::string& target) { held.emplace_back(&peer, target); },
              settings);
  scene.server.start();
  scene.fetch(numbered(40));
  size_t most = 0;
  while (!scene.batch->all_settled()) {
    REQUIRE(scene.until([&] { return !held.empty() || scene.batch->all_settled(); }));
    run_what_is_there(scene.loop);
    std::map<Peer*, size_t> unanswered;
    for (const auto& [peer, target] : held)
      most = std::max(most, ++unanswered[peer]);
    for (const auto& [peer, target] : held)
      answer(*peer, target);
    held.clear();
    run_what_is_there(scene.loop);
  }
  CHECK(most == 5);
  CHECK(scene.client.stored == 40);
}

TEST_CASE(
    "an answer that may pass is tried again, with attempts counted, and given up in the end") {
  Scene scene([](Peer& peer, const std::string& target) {
    peer.send(target == "/get/bad" ? response("503 Busy", "", "") : ok("x"));
  });
  scene.settings.retries = 2;
  scene.server.start();
  scene.fetch({"bad", "good"});
  REQUIRE(scene.until_settled());
  const FileFailure& failure = scene.client.failures.at("bad");
  CHECK(failure.cause == FailureClass::http_status);
  CHECK(failure.status == 503);
  CHECK(failure.attempts == 3);
  CHECK(std::count(scene.server.targets.begin(), scene.server.targets.end(), "/get/bad") == 3);
  CHECK(scene.client.stored == 1);
  CHECK(scene.fetcher->counters().requests == 4);
  CHECK(scene.fetcher->counters().retries == 2);
  CHECK(scene.fetcher->counters().responses == 4);
}

TEST_CASE("a file that comes at the last try is stored") {
  int tries = 0;
  Scene scene([&](Peer& peer, const std::string&) {
    peer.send(++tries < 3 ? response("500 Oops", "", "") : ok("at last"));
  });
  scene.settings.retries = 2;
  scene.server.start();
  scene.fetch({"a"});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 1);
  CHECK(scene.sink.files["a"] == "at last");
}

TEST_CASE("no retries means one try") {
  Scene scene([](Peer& peer, const std::string&) { peer.send(response("500 Oops", "", "")); });
  scene.settings.retries = 0;
  scene.server.start();
  scene.fetch({"a"});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.failures.at("a").attempts == 1);
  CHECK(scene.server.targets.size() == 1);
}

TEST_CASE("a permanent answer is not tried again") {
  Scene scene([](Peer& peer, const std::string&) { peer.send(response("404 No", "", "")); });
  scene.server.start();
  scene.fetch({"a"});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.failures.at("a").attempts == 1);
  CHECK(scene.server.targets.size() == 1);
  CHECK(scene.fetcher->counters().retries == 0);
}

TEST_CASE("an origin that answers Retry-After is left alone for as long") {
  TimePoint refused, again;
  Scene* self = nullptr;
  int tries = 0;
  Scene scene([&](Peer& peer, const std::string&) {
    if (++tries == 1) {
      refused = self->loop.now();
      peer.send(response("429 Slow", "Retry-After: 1\r\n", ""));
    } else {
      again = self->loop.now();
      peer.send(ok("x"));
    }
  });
  self = &scene;
  scene.server.start();
  scene.fetch({"a"});
  REQUIRE(scene.until_settled());
  CHECK(again - refused >= Millis(1000));
}

TEST_CASE(
    "unanswered pipelined requests are not charged when the origin closes after each answer") {
  Settings settings = quick_settings();
  settings.connections = 2;
  settings.pipeline = 8;
  settings.retries = 0;
  Scene scene(
      [](Peer& peer, const std::string& target) {
        if (peer.requests() > 1) return;
        peer.send(response("200 OK", "Connection: close\r\n", "body of " + target));
        peer.end();
      },
      settings);
  scene.server.start();
  scene.fetch(numbered(100));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 100);
  CHECK(scene.client.failures.empty());
  CHECK(scene.fetcher->counters().retries == 0);
  for (const std::string& name : numbered(100)) {
    CHECK(scene.sink.files[name] == "body of /get/" + name);
  }
}

TEST_CASE("with Connection: close on every answer, requests soon go out one a connection") {
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.pipeline = 8;
  settings.retries = 0;
  Scene scene(
      [](Peer& peer, const std::string& target) {
        if (peer.requests() > 1) return;
        peer.send(response("200 OK", "Connection: close\r\n", target));
      },
      settings);
  scene.server.start();
  scene.fetch(numbered(50));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 50);
  for (size_t i = 2; i < scene.server.peers.size(); ++i) {
    CHECK(scene.server.peers[i]->requests() == 1);
  }
}

TEST_CASE("a learned limit of requests on a connection is kept to") {
  constexpr size_t kLimit = 5;
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.pipeline = 4;
  settings.retries = 0;
  Scene scene(
      [](Peer& peer, const std::string& target) {
        if (peer.requests() > kLimit) return;
        peer.send(peer.requests() < kLimit ? ok(target)
                                           : response("200 OK", "Connection: close\r\n", target));
      },
      settings);
  scene.server.start();
  scene.fetch(numbered(100));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 100);
  CHECK(scene.server.peers.size() == 20);
  CHECK(scene.server.peers[0]->requests() > kLimit);
  for (size_t i = 2; i < scene.server.peers.size(); ++i) {
    CHECK(scene.server.peers[i]->requests() == kLimit);
  }
}

TEST_CASE("a limit that the origin has given up is forgotten") {
  constexpr size_t kLimit = 5;
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.pipeline = 4;
  Scene scene(
      [](Peer& peer, const std::string& target) {
        const bool closes = peer.number <= 3;
        if (closes && peer.requests() > kLimit) return;
        peer.send(closes && peer.requests() == kLimit
                      ? response("200 OK", "Connection: close\r\n", target)
                      : ok(target));
      },
      settings);
  scene.server.start();
  scene.fetch(numbered(100));
  REQUIRE(scene.until_settled());
  CHECK(scene.server.peers.size() == 4);
  CHECK(most_requests(scene.server) == 85);
}

TEST_CASE("a request lost to a reused connection is replayed once without a charge") {
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.retries = 0;
  Scene scene(
      [](Peer& peer, const std::string& target) {
        // Each connection takes one request, and ends under the next.
        if (peer.requests() > 1) return peer.end();
        answer(peer, target);
      },
      settings);
  scene.server.start();
  scene.fetch(numbered(10));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 10);
  CHECK(scene.client.failures.empty());
  CHECK(scene.fetcher->counters().retries == 0);
}

TEST_CASE("a request that kills every connection, fresh or reused, is given up") {
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.retries = 1;
  Scene scene(
      [](Peer& peer, const std::string& target) {
        if (target == "/get/killer") return peer.reset();
        answer(peer, target);
      },
      settings);
  scene.server.start();
  scene.fetch({"f0", "killer", "f1", "f2"});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 3);
  REQUIRE(scene.client.failures.contains("killer"));
  CHECK(scene.client.failures.at("killer").cause == FailureClass::reset);
  CHECK(scene.client.failures.at("killer").attempts == 2);
}

TEST_CASE("names behind a request that breaks its pipeline are stored, whatever it does") {
  const std::vector<std::string> deeds = {
      "garbage", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"};
  for (const std::string& deed : deeds) {
    CAPTURE(deed);
    Settings settings = quick_settings();
    settings.connections = 2;
    settings.pipeline = 16;
    settings.retries = 2;
    Scene scene(
        [&](Peer& peer, const std::string& target) {
          if (target != "/get/f7") return answer(peer, target);
          peer.send(deed);
          peer.end();
        },
        settings);
    scene.server.start();
    scene.fetch(numbered(60));
    REQUIRE(scene.until_settled());
    CHECK(scene.client.stored == 59);
    CHECK(scene.client.failures.size() == 1);
    CHECK(scene.client.failures.at("f7").attempts == 3);
    for (const std::string& name : numbered(60)) {
      if (name != "f7") CHECK(scene.sink.files[name] == "body of /get/" + name);
    }
  }
}

TEST_CASE("a silent origin costs an attempt, and only the name that was being answered") {
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.pipeline = 4;
  settings.retries = 0;
  settings.stall_timeout = Millis(100);
  Scene scene(
      [](Peer& peer, const std::string& target) {
        if (peer.number > 1 && target != "/get/f0") answer(peer, target);
      },
      settings);
  scene.server.start();
  scene.fetch(patient_batch_of(numbered(4)));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 3);
  CHECK(scene.client.failures.at("f0").cause == FailureClass::stalled);
  CHECK(scene.client.failures.at("f0").attempts == 1);
}

TEST_CASE("a connection that is not answered is given up in time, and is no failure of a file") {
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.retries = 0;
  settings.connect_timeout = Millis(50);
  Scene scene(answer, settings);
  // A listener whose queue is full drops what comes: one client fills a queue of one.
  uint16_t port = 0;
  const UniqueFd full = bound_socket(port);
  REQUIRE(::listen(full.get(), 0) == 0);
  UniqueFd filler = connect_client(port);
  REQUIRE(filler);
  scene.settings.origin.port = port;
  scene.fetch({"a"});
  REQUIRE(scene.until([&] { return !scene.fetcher->trouble().empty(); }));
  CHECK(scene.fetcher->trouble().find("timed out") != std::string::npos);
  CHECK(scene.client.calls == 0);
  CHECK(scene.fetcher->counters().requests == 0);
}

TEST_CASE("an idle connection is not given up for its silence") {
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.stall_timeout = Millis(40);
  Scene scene(answer, settings);
  scene.server.start();
  scene.fetch({"a"});
  REQUIRE(scene.until_settled());
  bool waited = false;
  net::Timer wait(scene.loop, [&] { waited = true; });
  wait.start(Millis(200));  // several sweeps
  REQUIRE(scene.until([&] { return waited; }));
  CHECK_FALSE(scene.server.peers[0]->socket->gone());
  CHECK(scene.server.peers.size() == 1);
}

TEST_CASE(
    "an origin that is away charges no file, and is said to be; when it is back, all arrives") {
  Settings settings = quick_settings();
  settings.retries = 0;
  Scene scene(answer, settings);
  scene.fetch(numbered(20));
  REQUIRE(scene.until([&] { return !scene.fetcher->trouble().empty(); }));
  CHECK(scene.fetcher->trouble().find("127.0.0.1:" + std::to_string(scene.server.port())) !=
        std::string::npos);
  CHECK(scene.client.calls == 0);
  CHECK(scene.fetcher->counters().requests == 0);

  scene.server.start();
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 20);
  CHECK(scene.client.failures.empty());
  CHECK(scene.fetcher->trouble().empty());
  CHECK(scene.fetcher->counters().requests == 20);
  CHECK(scene.fetcher->counters().retries == 0);
}

TEST_CASE("an origin that goes away in the middle is waited for") {
  Settings settings = quick_settings();
  settings.connections = 2;
  settings.retries = 1;
  auto* server = static_cast<ScriptedServer*>(nullptr);
  bool away = false;
  Scene scene(
      [&](Peer& peer, const std::string& target) {
        if (server->targets.size() == 10) {
          // From here on connections are refused, as by a service that restarts.
          away = true;
          server->stop_accepting();
          for (const auto& other : server->peers)
            other->reset();
          return;
        }
        answer(peer, target);
      },
      settings);
  server = &scene.server;
  scene.server.start();
  scene.fetch(numbered(40));
  REQUIRE(scene.until([&] { return away && !scene.fetcher->trouble().empty(); }));
  const size_t stored = scene.client.stored;
  CHECK(stored < 40);
  CHECK(scene.client.failures.empty());

  ScriptedServer back(scene.loop, answer, scene.server.port());
  back.start();
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 40);
  CHECK(scene.client.failures.empty());
}

TEST_CASE("a host that cannot be looked up is trouble, not a failure of files") {
  Settings settings = quick_settings();
  settings.origin.host = "a..b";
  settings.retries = 0;
  Scene scene(answer, settings);
  scene.fetch({"a"});
  REQUIRE(scene.until([&] { return !scene.fetcher->trouble().empty(); }));
  CHECK(scene.fetcher->trouble().find("a..b") != std::string::npos);
  CHECK(scene.client.calls == 0);
}

TEST_CASE("names that the sink refuses fail without a request") {
  Scene scene(answer);
  scene.sink.refused = {"bad", "worse"};
  scene.server.start();
  scene.fetch({"bad", "good", "worse"});
  REQUIRE(scene.until_settled());
  CHECK(scene.server.targets == std::vector<std::string>{"/get/good"});
  CHECK(scene.client.stored == 1);
  CHECK(scene.client.failures.at("bad").cause == FailureClass::bad_name);
  CHECK(scene.client.failures.at("bad").attempts == 0);
  CHECK(scene.client.failures.at("bad").status == 0);
  CHECK(scene.client.failures.at("bad").text == "refused by the test");
  CHECK(scene.fetcher->counters().requests == 1);
}

TEST_CASE("a batch of refused names alone is settled") {
  Scene scene(answer);
  scene.sink.refused = {"f0", "f1", "f2"};
  scene.server.start();
  scene.fetch(numbered(3));
  REQUIRE(scene.until_settled());
  CHECK(scene.server.targets.empty());
  CHECK(scene.client.failures.size() == 3);
}

TEST_CASE("a file for which the sink is busy is fetched again, uncharged, until it is stored") {
  Settings settings = quick_settings();
  settings.retries = 0;
  Scene scene(answer, settings);
  int busy = 3;
  scene.sink.status = [&](const std::string&, const std::string& name) {
    return name == "f1" && busy-- > 0 ? busy_status() : store::StoreStatus();
  };
  scene.server.start();
  scene.fetch(numbered(3));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 3);
  CHECK(scene.client.failures.empty());
  CHECK(scene.fetcher->counters().retries == 0);
}

TEST_CASE("a sink that can store nothing any more is told once, and no call follows") {
  const std::string big(300'000, 'b');
  for (const std::string step : {"put", "open", "append", "close"}) {
    CAPTURE(step);
    Settings settings = quick_settings();
    settings.connections = 3;
    settings.pipeline = 4;
    std::vector<std::pair<Peer*, std::string>> held;
    Scene scene([&](Peer& peer, const std::string& target) { held.emplace_back(&peer, target); },
                settings);
    bool broken = false;
    scene.sink.status = [&](const std::string& operation, const std::string&) {
      if (operation != step || broken) return store::StoreStatus();
      broken = true;
      return run_status();
    };
    scene.server.start();
    scene.fetch(numbered(12));
    REQUIRE(scene.until([&] { return held.size() == 12; }));
    for (const auto& [peer, target] : held)
      peer->send(ok(step == "put" ? "small" : big));
    REQUIRE(scene.until([&] { return scene.client.times_broken > 0; }));
    run_what_is_there(scene.loop);
    CHECK(scene.client.times_broken == 1);
    CHECK(scene.client.broken.find("No space left") != std::string::npos);
    CHECK_MESSAGE(scene.client.calls == scene.client.calls_before_broken,
                  "names were settled after the store broke");
    CHECK(scene.client.failures.empty());
  }
}

TEST_CASE("draining sends nothing new, settles what is in flight, and then says so") {
  std::vector<std::pair<Peer*, std::string>> held;
  Settings settings = quick_settings();
  settings.connections = 2;
  settings.pipeline = 2;
  Scene scene([&](Peer& peer, const std::string& target) { held.emplace_back(&peer, target); },
              settings);
  scene.server.start();
  scene.fetch(numbered(20));
  REQUIRE(scene.until([&] { return held.size() == 4; }));
  scene.fetcher->drain();
  CHECK(scene.client.drained == 0);
  const auto late = batch_of({"late"}, 2);
  scene.fetcher->add(*late);
  for (size_t i = 0; i < 4; ++i) {
    CHECK(scene.client.drained == 0);
    answer(*held[i].first, held[i].second);
    REQUIRE(scene.until([&] { return scene.client.answered == i + 1; }));
  }
  REQUIRE(scene.until([&] { return scene.client.drained > 0; }));
  run_what_is_there(scene.loop);
  CHECK(scene.client.drained == 1);
  CHECK(held.size() == 4);
  const wire::Outcome outcome = scene.batch->take_last_outcome();
  CHECK(names_in(outcome.stored) == 4);
  REQUIRE(outcome.released.size() == 1);
  CHECK(outcome.released[0].first == 4);
  CHECK(outcome.released[0].count == 16);
  CHECK_FALSE(late->all_settled());
}

TEST_CASE("draining with nothing in flight is done at once, also while connecting") {
  Scene scene(answer);
  SUBCASE("nothing to do") {}
  SUBCASE("connecting") {
    scene.server.start();
    scene.fetch({"a"});
  }
  SUBCASE("the origin is away") {
    scene.fetch({"a"});
    REQUIRE(scene.until([&] { return !scene.fetcher->trouble().empty(); }));
  }
  scene.fetcher->drain();
  CHECK(scene.client.drained == 1);
  scene.fetcher->drain();
  run_what_is_there(scene.loop);
  CHECK(scene.client.drained == 1);
  CHECK(scene.client.calls == 0);
  CHECK(scene.server.targets.empty());
}

TEST_CASE("draining ends with the connection that fails: its names stay unsettled") {
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.pipeline = 3;
  Scene scene([](Peer&, const std::string&) {}, settings);
  scene.server.start();
  scene.fetch(numbered(5));
  REQUIRE(scene.until([&] { return scene.server.targets.size() == 3; }));
  scene.fetcher->drain();
  CHECK(scene.client.drained == 0);
  scene.server.peers[0]->reset();
  REQUIRE(scene.until([&] { return scene.client.drained > 0; }));
  run_what_is_there(scene.loop);
  CHECK(scene.client.calls == 0);
  const wire::Outcome outcome = scene.batch->take_last_outcome();
  REQUIRE(outcome.released.size() == 1);
  CHECK(outcome.released[0].count == 5);
  CHECK(scene.server.peers.size() == 1);
}

TEST_CASE("a name that waits for its next try when the drain begins stays unsettled") {
  Scene scene([](Peer& peer, const std::string&) { peer.send(response("503 Busy", "", "")); });
  scene.server.start();
  scene.fetch({"a"});
  REQUIRE(scene.until([&] { return scene.fetcher->counters().responses == 1; }));
  scene.fetcher->drain();
  REQUIRE(scene.until([&] { return scene.client.drained > 0; }));
  CHECK(scene.client.calls == 0);
  CHECK_FALSE(scene.batch->all_settled());
}

TEST_CASE("abandoning ends every connection and removes what was half stored") {
  Settings settings = quick_settings();
  settings.connections = 2;
  Scene scene(
      [](Peer& peer, const std::string&) {
        peer.send(ok(std::string(500'000, 'x')).substr(0, 250'000));
      },
      settings);
  scene.server.start();
  scene.fetch(numbered(10));
  REQUIRE(scene.until([&] { return scene.sink.open_writers == 2; }));
  scene.fetcher->abandon();
  CHECK(scene.sink.open_writers == 0);
  CHECK(std::count(scene.log.begin(), scene.log.end(), "abort f0") == 1);
  CHECK(std::count(scene.log.begin(), scene.log.end(), "abort f1") == 1);
  REQUIRE(scene.until([&] {
    return scene.server.peers[0]->socket->gone() && scene.server.peers[1]->socket->gone();
  }));
  CHECK(scene.client.calls == 0);
  CHECK(scene.client.drained == 0);
  CHECK(scene.sink.files.empty());
  CHECK(scene.server.targets.size() == 2);
}

TEST_CASE("with auto, the depth begins at one and grows while all is well") {
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.pipeline = 8;
  settings.pipeline_auto = true;
  std::vector<std::pair<Peer*, std::string>> held;
  Scene scene([&](Peer& peer, const std::string& target) { held.emplace_back(&peer, target); },
              settings);
  scene.server.start();
  scene.fetch(numbered(1000));
  std::vector<size_t> in_flight;
  while (!scene.batch->all_settled()) {
    REQUIRE(scene.until([&] { return !held.empty() || scene.batch->all_settled(); }));
    run_what_is_there(scene.loop);
    in_flight.push_back(held.size());
    for (const auto& [peer, target] : held)
      answer(*peer, target);
    held.clear();
    run_what_is_there(scene.loop);
  }
  CHECK(in_flight.front() == 1);
  CHECK(*std::max_element(in_flight.begin(), in_flight.end()) == 8);
  CHECK(scene.client.stored == 1000);
}

TEST_CASE("the rate is kept to over all connections") {
  Settings settings = quick_settings();
  settings.connections = 8;
  settings.pipeline = 4;
  Scene scene(answer, settings);
  const TimePoint start = scene.loop.now();
  scene.fetcher->set_pace({32, 100, 0});
  scene.server.start();
  scene.fetch(numbered(40));
  REQUIRE(scene.until_settled());
  // 40 requests are at most a burst of 10 and 100 a second.
  CHECK(scene.loop.now() - start >= Millis(300));
  CHECK(scene.client.stored == 40);
}

TEST_CASE("files large and small, with and without length, over many connections, are all whole") {
  const auto body = [](const std::string& target) {
    const size_t number = std::stoul(target.substr(6));
    std::string bytes(number % 7 == 0 ? 100'000 + number : number * 13, '\0');
    for (size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<char>(number + i * 7);
    return bytes;
  };
  Settings settings = quick_settings();
  settings.connections = 8;
  settings.pipeline = 8;
  Scene scene(
      [&](Peer& peer, const std::string& target) {
        const std::string bytes = body(target);
        if (bytes.size() % 3 != 0) return peer.send(ok(bytes));
        std::string out = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (size_t at = 0; at < bytes.size(); at += 4099)
          out += chunk(bytes.substr(at, 4099));
        peer.send(out + chunk(""));
      },
      settings);
  scene.server.start();
  scene.fetch(numbered(300));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 300);
  bool whole = true;
  for (const std::string& name : numbered(300)) {
    whole = whole && scene.sink.files[name] == body("/get/" + name);
  }
  CHECK(whole);
}

TEST_CASE("never more requests are in flight than the pace allows, over all connections") {
  Settings settings = quick_settings();
  settings.pipeline = 4;
  std::vector<std::pair<Peer*, std::string>> held;
  Scene scene([&](Peer& peer, const std::string& target) { held.emplace_back(&peer, target); },
              settings);
  scene.fetcher->set_pace({3, 0, 0});
  scene.server.start();
  scene.fetch(numbered(40));
  size_t most = 0;
  while (!scene.batch->all_settled()) {
    REQUIRE(scene.until([&] { return !held.empty() || scene.batch->all_settled(); }));
    run_what_is_there(scene.loop);
    most = std::max(most, held.size());
    if (held.empty()) continue;
    answer(*held.front().first, held.front().second);
    held.erase(held.begin());
    run_what_is_there(scene.loop);
  }
  CHECK(most == 3);
  CHECK(scene.client.stored == 40);
}

TEST_CASE("a wider pace is used at once, a narrower one as answers come") {
  Settings settings = quick_settings();
  settings.connections = 8;
  std::vector<std::pair<Peer*, std::string>> held;
  Scene scene([&](Peer& peer, const std::string& target) { held.emplace_back(&peer, target); },
              settings);
  const auto answer_one = [&](size_t number) {
    answer(*held[number].first, held[number].second);
    REQUIRE(scene.until([&] { return scene.client.answered == number + 1; }));
    run_what_is_there(scene.loop);
  };
  scene.fetcher->set_pace({1, 0, 0});
  scene.server.start();
  scene.fetch(numbered(40));
  REQUIRE(scene.until([&] { return held.size() == 1; }));
  run_what_is_there(scene.loop);
  CHECK(held.size() == 1);

  scene.fetcher->set_pace({6, 0, 0});
  REQUIRE(scene.until([&] { return held.size() == 6; }));
  run_what_is_there(scene.loop);
  CHECK(held.size() == 6);

  scene.fetcher->set_pace({2, 0, 0});
  for (size_t i = 0; i < 4; ++i)
    answer_one(i);
  CHECK_MESSAGE(held.size() == 6, "two are in flight still");
  answer_one(4);
  REQUIRE(scene.until([&] { return held.size() == 7; }));
}

TEST_CASE("a rate that is lifted holds nothing back any more") {
  Scene scene(answer);
  scene.fetcher->set_pace({4, 0.001, 0});
  scene.server.start();
  scene.fetch(numbered(40));
  run_what_is_there(scene.loop);
  CHECK_MESSAGE(scene.server.targets.empty(), "nothing has gathered where there was no limit");
  scene.fetcher->set_pace({4, 0, 0});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 40);
}

TEST_CASE("during a pause nothing is sent, and behind it all goes on by itself") {
  std::vector<std::pair<Peer*, std::string>> held;
  TimePoint resumed;
  Scene* self = nullptr;
  Scene scene([&](Peer& peer, const std::string& target) {
    if (held.size() < 4) return held.emplace_back(&peer, target), void();
    if (resumed == TimePoint()) resumed = self->loop.now();
    answer(peer, target);
  });
  self = &scene;
  scene.server.start();
  scene.fetch(numbered(20));
  REQUIRE(scene.until([&] { return held.size() == 4; }));
  const TimePoint paused = scene.loop.now();
  scene.fetcher->set_pace({4, 0, 300});
  SUBCASE("alone") {}
  SUBCASE("a shorter one that comes later does not end it") {
    scene.fetcher->set_pace({4, 0, 1});
  }
  SUBCASE("a pace without one does not end it") {
    scene.fetcher->set_pace({8, 0, 0});
  }
  for (const auto& [peer, target] : held)
    answer(*peer, target);
  REQUIRE(scene.until([&] { return scene.client.stored >= 4; }));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 20);
  CHECK(resumed - paused >= Millis(300));
}

TEST_CASE("a pause holds back names that are to be tried again, too") {
  TimePoint again;
  Scene* self = nullptr;
  int tries = 0;
  Scene scene([&](Peer& peer, const std::string& target) {
    if (++tries == 1) return peer.send(response("500 Oops", "", ""));
    again = self->loop.now();
    answer(peer, target);
  });
  self = &scene;
  scene.server.start();
  scene.fetch({"a"});
  REQUIRE(scene.until([&] { return scene.fetcher->counters().retries == 1; }));
  const TimePoint paused = scene.loop.now();
  scene.fetcher->set_pace({4, 0, 400});
  REQUIRE(scene.until_settled());
  CHECK(again - paused >= Millis(400));
}

TEST_CASE("answers that ask for less are charged to their files, also when many do") {
  Settings settings = quick_settings();
  settings.retries = 2;
  std::map<std::string, int> asked;
  Scene scene(
      [&](Peer& peer, const std::string& target) {
        // Each name is refused twice, every other one for ever.
        const bool bad = (target.back() - '0') % 2 == 1;
        if (++asked[target] > 2 && !bad) return answer(peer, target);
        peer.send(response("429 Slow", "", ""));
      },
      settings);
  scene.server.start();
  scene.fetch(numbered(20));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 10);
  CHECK(scene.client.failures.size() == 10);
  for (const auto& [name, failure] : scene.client.failures) {
    CHECK(failure.status == 429);
    CHECK(failure.attempts == 3);
  }
  for (const std::string& name : numbered(20))
    CHECK(times_asked(scene, name) == 3);
  const wire::WorkerCounters& counters = scene.fetcher->counters();
  CHECK(scene.client.pushbacks == 50);
  CHECK(counters.pushbacks == 50);
  CHECK(counters.responses == 60);
  CHECK(counters.retries == 40);
}

TEST_CASE("of answers that fail, the latest in a row with one status are counted") {
  const std::vector<int> statuses = {503, 503, 429, 429, 429, 200, 404, 404, 200, 500, 503, 503};
  const std::vector<uint64_t> in_a_row = {1, 2, 1, 2, 3, 0, 1, 2, 0, 1, 1, 2};
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.retries = 0;
  Peer* asking = nullptr;
  Scene scene([&](Peer& peer, const std::string&) { asking = &peer; }, settings);
  scene.server.start();
  scene.fetch(numbered(statuses.size()));
  const wire::WorkerCounters& counters = scene.fetcher->counters();
  for (size_t i = 0; i < statuses.size(); ++i) {
    CAPTURE(i);
    REQUIRE(scene.until([&] { return scene.server.targets.size() == i + 1; }));
    asking->send(response(std::to_string(statuses[i]) + " Status", "", ""));
    REQUIRE(scene.until([&] { return counters.responses == i + 1; }));
    CHECK(counters.failing == in_a_row[i]);
    if (in_a_row[i] > 0) CHECK(counters.failing_status == statuses[i]);
  }
}

TEST_CASE("few answers that ask for less are charged to their files") {
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.retries = 2;
  Scene scene(
      [](Peer& peer, const std::string& target) {
        if (target == "/get/f3") return peer.send(response("503 Busy", "", ""));
        answer(peer, target);
      },
      settings);
  scene.server.start();
  scene.fetch(numbered(60));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 59);
  CHECK(scene.client.failures.at("f3").attempts == 3);
  CHECK(scene.client.failures.at("f3").status == 503);
  CHECK(times_asked(scene, "f3") == 3);
}

TEST_CASE("an origin that asks for less for ever is not asked for ever") {
  Settings settings = quick_settings();
  settings.retries = 0;
  Scene scene([](Peer& peer, const std::string&) { peer.send(response("429 Slow", "", "")); },
              settings);
  scene.server.start();
  scene.fetch(numbered(14));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.failures.size() == 14);
  for (const auto& [name, failure] : scene.client.failures) {
    CHECK(failure.status == 429);
    CHECK(failure.attempts == 1);
    CHECK(times_asked(scene, name) == 1);
  }
  CHECK(scene.fetcher->counters().failing == 14);
  CHECK(scene.fetcher->counters().failing_status == 429);
}

TEST_CASE("a final answer behind some that asked for less counts all of them as attempts") {
  Settings settings = quick_settings();
  settings.retries = 2;
  std::map<std::string, int> asked;
  Scene scene(
      [&](Peer& peer, const std::string& target) {
        peer.send(++asked[target] <= 2 ? response("429 Slow", "", "") : response("404 No", "", ""));
      },
      settings);
  scene.server.start();
  scene.fetch(numbered(20));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.failures.size() == 20);
  for (const auto& [name, failure] : scene.client.failures) {
    CHECK(failure.status == 404);
    CHECK(failure.attempts == 3);
    CHECK(times_asked(scene, name) == 3);
  }
}

TEST_CASE("other answers that may pass are charged, however many they are, and ask for nothing") {
  Settings settings = quick_settings();
  settings.retries = 1;
  Scene scene([](Peer& peer,
                 const std::string&) { peer.send(response("500 Oops", "Retry-After: 0\r\n", "")); },
              settings);
  scene.server.start();
  scene.fetch(numbered(30));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.failures.size() == 30);
  for (const auto& [name, failure] : scene.client.failures)
    CHECK(failure.attempts == 2);
  CHECK(scene.client.pushbacks == 0);
  CHECK(scene.fetcher->counters().pushbacks == 0);
  CHECK(scene.fetcher->counters().failing == 60);
  CHECK(scene.fetcher->counters().failing_status == 500);
}

TEST_CASE("the longest Retry-After of those that ask for less is told, once") {
  Scene scene([](Peer& peer, const std::string& target) {
    if (target == "/get/other") {
      return peer.send(response("500 Oops", "Retry-After: 200\r\n", ""));
    }
    const std::string seconds = target == "/get/long" ? "70" : "50";
    peer.send(response("429 Slow", "Retry-After: " + seconds + "\r\n", ""));
  });
  CHECK(scene.fetcher->take_retry_after() == Millis(0));
  scene.server.start();
  scene.fetch({"short", "long", "other", "short too"});
  REQUIRE(scene.until([&] { return scene.fetcher->counters().responses == 4; }));
  CHECK(scene.client.pushbacks == 3);
  CHECK(scene.fetcher->take_retry_after() == Millis(70'000));
  CHECK(scene.fetcher->take_retry_after() == Millis(0));
}

TEST_CASE("a name that hangs at the end is asked for on another connection") {
  Scene* self = nullptr;
  std::vector<size_t> hung_on;
  Scene scene(
      [&](Peer& peer, const std::string& target) {
        if (target == "/get/hang") hung_on.push_back(peer.number);
        if (target != "/get/hang" || times_asked(*self, "hang") > 1) answer(peer, target);
      },
      tail_settings());
  self = &scene;
  scene.server.start();
  scene.fetch({"f0", "hang", "f1", "f2", "f3", "f4"});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 6);
  CHECK(scene.client.failures.empty());
  CHECK(scene.client.released.empty());
  REQUIRE(hung_on.size() == 2);
  CHECK(hung_on[0] != hung_on[1]);
  REQUIRE(scene.until([&] { return scene.server.peers[hung_on[0] - 1]->socket->gone(); }));
  CHECK(scene.fetcher->counters().retries == 1);
  CHECK(scene.fetcher->counters().requests == 7);
}

TEST_CASE("a name that hangs again is released; one that was waited for before is waited for") {
  Peer* patient_on = nullptr;
  Scene scene(
      [&](Peer& peer, const std::string& target) {
        if (target == "/get/patient") patient_on = &peer;
        if (target != "/get/hang" && target != "/get/patient") answer(peer, target);
      },
      tail_settings());
  scene.server.start();
  const auto patient = patient_batch_of({"patient"});
  scene.fetcher->add(*patient);
  scene.fetch({"f0", "hang", "f1"});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 2);
  CHECK(scene.client.failures.empty());
  CHECK(scene.client.released == std::vector<std::string>{"hang"});
  CHECK(times_asked(scene, "hang") == 2);
  CHECK(times_asked(scene, "patient") == 1);
  const wire::Outcome outcome = scene.batch->take_outcome();
  CHECK(outcome.last);
  REQUIRE(outcome.released.size() == 1);
  CHECK(outcome.released[0].first == 1);
  CHECK(outcome.released[0].count == 1);

  REQUIRE(patient_on != nullptr);
  answer(*patient_on, "/get/patient");
  REQUIRE(scene.until([&] { return patient->all_settled(); }));
  CHECK(scene.client.stored == 3);
  // Nothing is left in flight that a drain would wait for.
  scene.fetcher->drain();
  CHECK(scene.client.drained == 1);
}

TEST_CASE("names behind one that hangs on a connection are neither released nor charged") {
  Settings settings = tail_settings();
  settings.connections = 1;
  settings.pipeline = 8;
  Scene scene(
      [](Peer& peer, const std::string& target) {
        const bool behind =
            std::find(peer.targets.begin(), peer.targets.end(), "/get/hang") != peer.targets.end();
        if (!behind) answer(peer, target);
      },
      settings);
  scene.server.start();
  scene.fetch({"f0", "hang", "f1", "f2", "f3"});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 4);
  CHECK(scene.client.released == std::vector<std::string>{"hang"});
}

TEST_CASE("what was half stored of a name that hangs is removed when it is given up") {
  Scene scene(
      [](Peer& peer, const std::string&) {
        peer.send(ok(std::string(300'000, 'x')).substr(0, 200'000));
      },
      tail_settings());
  scene.server.start();
  scene.fetch({"hang"});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.released == std::vector<std::string>{"hang"});
  CHECK(scene.sink.open_writers == 0);
  CHECK(scene.sink.files.empty());
  CHECK(std::count(scene.log.begin(), scene.log.end(), "abort hang") == 2);
}

TEST_CASE("while there is more to send, one of many connections may hang") {
  Settings settings = tail_settings();
  settings.connections = 8;
  Scene* self = nullptr;
  Scene scene(
      [&](Peer& peer, const std::string& target) {
        if (target != "/get/hang" || times_asked(*self, "hang") > 1) answer(peer, target);
      },
      settings);
  self = &scene;
  // So that there is more to send for longer than it would take to give it up.
  scene.fetcher->set_pace({8, 50, 0});
  scene.server.start();
  std::vector<std::string> names = numbered(400);
  names.insert(names.begin(), "hang");
  scene.fetch(names);
  REQUIRE(scene.until([&] { return scene.client.stored >= 100; }));
  CHECK(times_asked(scene, "hang") == 1);
  scene.fetcher->set_pace({8, 0, 0});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 401);
  CHECK(times_asked(scene, "hang") == 2);
}

TEST_CASE("when a good share of the connections hangs, they are given up while there is more") {
  Settings settings = tail_settings();
  Scene* self = nullptr;
  Scene scene(
      [&](Peer& peer, const std::string& target) {
        if (target != "/get/hang" || times_asked(*self, "hang") > 1) answer(peer, target);
      },
      settings);
  self = &scene;
  scene.fetcher->set_pace({4, 20, 0});
  scene.server.start();
  std::vector<std::string> names = numbered(1000);
  names.insert(names.begin(), "hang");
  scene.fetch(names);
  REQUIRE(scene.until([&] { return times_asked(scene, "hang") == 2; }));
  CHECK(scene.client.stored < 1000);
  scene.fetcher->set_pace({4, 0, 0});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 1001);
}

TEST_CASE("a name that hangs where little may be in flight does not hold up the others") {
  Settings settings = tail_settings();
  settings.connections = 16;
  Scene scene(
      [](Peer& peer, const std::string& target) {
        if (target != "/get/hang") answer(peer, target);
      },
      settings);
  scene.fetcher->set_pace({1, 0, 0});
  scene.server.start();
  std::vector<std::string> names = numbered(20);
  names.insert(names.begin(), "hang");
  scene.fetch(names);
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 20);
  CHECK(scene.client.released == std::vector<std::string>{"hang"});
}

TEST_CASE(
    "an origin that accepts and ends connections unanswered charges no file, and is tried "
    "ever less often") {
  Settings settings = quick_settings();
  settings.retries = 0;
  bool away = true;
  Scene scene(
      [&](Peer& peer, const std::string& target) {
        if (!away) return answer(peer, target);
        peer.number % 2 == 0 ? peer.reset() : peer.end();
      },
      settings);
  scene.server.start();
  const TimePoint start = scene.loop.now();
  scene.fetch(numbered(40));
  REQUIRE(scene.until([&] { return scene.server.peers.size() == 4; }));
  REQUIRE(scene.until([&] { return !scene.fetcher->trouble().empty(); }));
  CHECK(scene.fetcher->trouble().find("unanswered") != std::string::npos);
  REQUIRE(scene.until([&] { return scene.server.peers.size() == 7; }));
  // Waits of at least 50, 100 and 200 ms came before the fifth, sixth and seventh.
  CHECK(scene.loop.now() - start >= Millis(350));
  CHECK(scene.client.calls == 0);
  CHECK(scene.fetcher->counters().retries == 0);
  CHECK_FALSE(scene.fetcher->trouble().empty());

  away = false;
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 40);
  CHECK(scene.client.failures.empty());
  CHECK(scene.fetcher->trouble().empty());
}

TEST_CASE("when an origin that ended connections unanswered is back, all connections are used") {
  bool away = true;
  std::vector<std::pair<Peer*, std::string>> held;
  Scene scene([&](Peer& peer, const std::string& target) {
    if (away) return peer.reset();
    if (held.size() > 0) return held.emplace_back(&peer, target), void();
    held.emplace_back(&peer, target);
    answer(peer, target);
  });
  scene.server.start();
  scene.fetch(numbered(40));
  REQUIRE(scene.until([&] { return !scene.fetcher->trouble().empty(); }));
  away = false;
  // One is answered; the others are not, and so cannot be what opened the rest.
  REQUIRE(scene.until([&] { return held.size() == 5; }));
  CHECK(scene.client.answered == 1);
}

TEST_CASE("an origin that goes on accepting while it is away in the middle is waited for") {
  Settings settings = quick_settings();
  settings.retries = 1;
  bool away = false;
  int asked = 0;
  Scene scene(
      [&](Peer& peer, const std::string& target) {
        if (++asked == 20) away = true;
        if (away) return peer.reset();
        answer(peer, target);
      },
      settings);
  scene.server.start();
  scene.fetch(numbered(80));
  REQUIRE(scene.until([&] { return !scene.fetcher->trouble().empty(); }));
  CHECK(scene.client.failures.empty());
  away = false;
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 80);
  CHECK(scene.client.failures.empty());
}

TEST_CASE("a first name that kills every connection does not pass for an origin that is away") {
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.retries = 1;
  Scene scene(
      [](Peer& peer, const std::string& target) {
        if (target == "/get/killer") return peer.reset();
        answer(peer, target);
      },
      settings);
  scene.server.start();
  std::vector<std::string> names = numbered(40);
  names.insert(names.begin(), "killer");
  scene.fetch(names);
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 40);
  CHECK(scene.client.failures.at("killer").cause == FailureClass::reset);
  CHECK(scene.client.failures.at("killer").attempts == 2);
  CHECK(scene.fetcher->trouble().empty());
}

TEST_CASE("when few names are left, connections that end unanswered are charged to them") {
  Settings settings = quick_settings();
  settings.retries = 1;
  Scene scene([](Peer& peer, const std::string&) { peer.reset(); }, settings);
  scene.server.start();
  scene.fetch(numbered(3));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.failures.size() == 3);
  for (const auto& [name, failure] : scene.client.failures) {
    CHECK(failure.cause == FailureClass::reset);
    CHECK(failure.attempts == 2);
  }
}

TEST_CASE("while draining, a connection that ends unanswered holds nothing up") {
  Scene scene([](Peer&, const std::string&) {});
  scene.server.start();
  scene.fetch(numbered(40));
  REQUIRE(scene.until([&] { return scene.server.targets.size() == 4; }));
  scene.fetcher->drain();
  for (const auto& peer : scene.server.peers)
    peer->reset();
  REQUIRE(scene.until([&] { return scene.client.drained > 0; }));
  CHECK(scene.client.calls == 0);
  CHECK(scene.server.peers.size() == 4);
}

TEST_CASE("a body that drips is given up like a silence, though it never falls silent") {
  Settings settings = quick_settings();
  settings.retries = 0;
  settings.stall_timeout = Millis(1000);
  Peer* dripping = nullptr;
  Scene scene(
      [&](Peer& peer, const std::string&) {
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        dripping = &peer;
      },
      settings);
  net::Timer drip(scene.loop, [&] {
    if (dripping != nullptr && dripping->socket->is_open()) dripping->send("x");
  });
  drip.start(Millis(100), Millis(100));
  scene.server.start();
  scene.fetch({"a"});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.failures.at("a").cause == FailureClass::stalled);
  CHECK(scene.client.failures.at("a").attempts == 1);
  CHECK(times_asked(scene, "a") == 1);
}

TEST_CASE("while most names that had failed arrive in the end, four times the tries are allowed") {
  Settings settings = quick_settings();
  settings.retries = 1;
  std::map<std::string, int> asked;
  Scene scene(
      [&](Peer& peer, const std::string& target) {
        const int failures = target == "/get/hard" ? 7 : target == "/get/bad" ? 1000 : 1;
        if (++asked[target] > failures) return answer(peer, target);
        peer.send(response("429 Slow", "", ""));
      },
      settings);
  scene.server.start();
  const auto others = batch_of(numbered(30));
  scene.fetcher->add(*others);
  REQUIRE(scene.until([&] { return others->all_settled(); }));
  CHECK(scene.client.stored == 30);
  scene.fetch({"hard", "bad"});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 31);
  CHECK(times_asked(scene, "hard") == 8);
  CHECK(scene.client.failures.at("bad").attempts == 8);
  CHECK(times_asked(scene, "bad") == 8);
}

TEST_CASE("a name that always fails where the others arrive at once has its tries, and no more") {
  Settings settings = quick_settings();
  settings.retries = 2;
  Scene scene(
      [](Peer& peer, const std::string& target) {
        if (target.starts_with("/get/bad")) return peer.send(response("500 Oops", "", ""));
        answer(peer, target);
      },
      settings);
  scene.server.start();
  std::vector<std::string> names = numbered(100);
  for (size_t i = 0; i < 20; ++i)
    names.insert(names.begin() + static_cast<std::ptrdiff_t>(i * 5), "bad" + std::to_string(i));
  scene.fetch(names);
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 100);
  CHECK(scene.client.failures.size() == 20);
  for (const auto& [name, failure] : scene.client.failures) {
    CHECK(failure.attempts == 3);
    CHECK(times_asked(scene, name) == 3);
  }
}

TEST_CASE("a name that always hangs is asked for as often as its retries say, over two workers") {
  Settings settings = tail_settings();
  settings.retries = 3;
  Scene scene([](Peer&, const std::string&) {}, settings);
  scene.server.start();
  scene.fetch({"hang"});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.released == std::vector<std::string>{"hang"});
  CHECK(times_asked(scene, "hang") == 2);
  CHECK(scene.fetcher->counters().retries == 2);
  // The other worker, which waits as long as it may.
  scene.settings.stall_timeout = Millis(100);
  scene.fetch(patient_batch_of({"hang"}));
  REQUIRE(scene.until_settled());
  CHECK(scene.client.failures.at("hang").cause == FailureClass::stalled);
  CHECK(scene.client.failures.at("hang").attempts == 4);
  CHECK(times_asked(scene, "hang") == 4);
}

TEST_CASE("one fresh connection that ends unanswered while others are answered costs no try") {
  Settings settings = quick_settings();
  settings.connections = 1;
  settings.retries = 0;
  Scene* self = nullptr;
  Scene scene(
      [&](Peer& peer, const std::string& target) {
        // On a connection in use, and on the fresh one behind it.
        if (target == "/get/unlucky" && times_asked(*self, "unlucky") <= 2) return peer.reset();
        answer(peer, target);
      },
      settings);
  self = &scene;
  scene.server.start();
  scene.fetch({"f0", "unlucky", "f1", "f2"});
  REQUIRE(scene.until_settled());
  CHECK(scene.client.stored == 4);
  CHECK(times_asked(scene, "unlucky") == 3);
  CHECK(scene.fetcher->counters().retries == 0);
}
