#include "worker/fetch_connection.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <ctime>
#include <deque>

#include "net/drive.h"
#include "net/scripted_server.h"
#include "worker/batch_of.h"

using namespace gigafetch;
using namespace gigafetch::worker;
using namespace gigafetch::testing;
using namespace std::string_literals;

namespace {

using Peer = ScriptedServer::Peer;
using Log = std::vector<std::string>;

constexpr size_t kMaxInFlight = 16;
constexpr size_t kSmall = 64 * 1024;

// The owner of one connection: sends what it has, and writes down what it is told. Sink and owner
// write into one log, so that their order can be seen. Of each file stored, it checks that what it
// is told of the content is about what the sink got.
struct Scene final : FetchConnection::Owner {
  explicit Scene(ScriptedServer::OnRequest on_request, const BodyRules& rules = {})
      : server(loop, std::move(on_request)), connection(loop, *this, sink, kMaxInFlight, rules) {
    sink.log = &log;
    server.start();
  }

  // Sends requests for `names` on a new connection.
  void fetch(const std::vector<std::string>& names) {
    batch = batch_of(names);
    for (uint32_t i = 0; i < batch->count(); ++i)
      to_send.push_back(Task{batch.get(), i});
    CHECK(connection.connect(server.address(), 0) == 0);
  }
  bool until(const std::function<bool()>& done) { return run_until(loop, done); }
  // Until every name of the batch has been stored, failed, charged or given back.
  bool until_decided() {
    return until([&] { return decided >= batch->count() && to_send.empty(); });
  }
  bool until_disconnected() {
    return until([&] { return disconnected > 0; });
  }
  bool logged(const std::string& entry) const {
    return std::find(log.begin(), log.end(), entry) != log.end();
  }

  void fill_again(FetchConnection& answered) override { fill(answered); }
  void fill(FetchConnection& filled) override {
    CHECK(filled.is_open());
    while (!to_send.empty() && filled.in_flight() < kMaxInFlight) {
      const Task task = to_send.front();
      to_send.pop_front();
      filled.request_buffer() +=
          "GET /" + std::string(task.name()) + " HTTP/1.1\r\nHost: h\r\n\r\n";
      filled.add(task);
      asked_at = loop.now();
    }
    filled.flush();
    if (filled.in_flight() == 0) filled.rest();
  }
  void on_connect_failed(FetchConnection&, int uv_error) override {
    log.push_back("connect failed");
    connect_error = uv_error;
    ++disconnected;
  }
  void on_connected(FetchConnection&) override { log.push_back("connected"); }
  void on_disconnected(FetchConnection& ended) override {
    CHECK(ended.is_closed());
    CHECK(ended.in_flight() == 0);
    log.push_back("disconnected");
    ++disconnected;
  }
  bool follow(Task& task, std::string_view location) override {
    followed.push_back(std::string(task.name()) + " " + std::string(location));
    return follows;
  }
  void on_received(size_t bytes) override { received += bytes; }
  void on_response(int status, Millis with) override {
    statuses.push_back(status);
    waited.push_back(with);
    answered_at = loop.now();
  }
  void on_pipeline_answered(uint32_t requests) override { pipelines.push_back(requests); }
  void on_doubt(uint32_t pipelined) override {
    log.push_back("doubt");
    doubted.push_back(pipelined);
  }
  void on_announced_close(uint64_t behind, uint32_t cut) override {
    log.push_back("announced " + std::to_string(behind));
    announced_cut = cut;
  }
  bool on_silent_close(uint64_t behind) override {
    silent_closes.push_back(behind);
    return closes_usually;
  }
  Part* answered(const Task& task, uint64_t bytes, const store::Hash128& of_it) override {
    const std::string name(task.name());
    ++decided;
    log.push_back("stored " + name + " " + std::to_string(bytes));
    CHECK(of_it == store::content_hash(name, sink.files[name]));
    content = of_it;
    return nullptr;
  }
  void answered_without_file(const Answer& answer) override {
    const std::string name(answer.task.name());
    ++decided;
    if (answer.elsewhere) return log.push_back("elsewhere " + name);
    failure = *answer.failure;
    log.push_back("failed " + name + " " + std::string(name_of(failure.cause)));
  }
  void proven(Answers& answers) override {
    for (const Answer& answer : answers.take_singly())
      proved.emplace_back(answer.task.name());
  }
  void taken_back(Answers answers, Doubt doubt) override {
    for (const Answer& answer : answers.take_singly()) {
      log.push_back((doubt == Doubt::suspected ? "suspected " : "unproven ") +
                    std::string(answer.task.name()));
    }
  }
  void doubted_again(Answer answer, std::string_view) override {
    log.push_back("doubted again " + std::string(answer.task.name()));
  }
  void on_misframed(Misframing kind) override {
    log.push_back(kind == Misframing::surplus ? "surplus" : "wrong end");
  }
  ProbationTerms probation_terms() const override { return terms; }
  void failed_attempt(Task task, FileFailure with, Millis wait) override {
    log.push_back("charged " + std::string(task.name()) + " " + std::string(name_of(with.cause)));
    failure = with;
    at_least = wait;
    ++decided;
  }
  void unanswered(Task task, FileFailure with) override {
    log.push_back("unanswered " + std::string(task.name()) + " " +
                  std::string(name_of(with.cause)));
    failure = with;
    ++decided;
  }
  void gave_up_waiting(Task task) override {
    log.push_back("gave up " + std::string(task.name()));
    given_back.push_back(task);
    ++decided;
  }
  void give_back(const Task& task) override {
    log.push_back("again " + std::string(task.name()));
    given_back.push_back(task);
    ++decided;
  }
  void put_off(const Task& task, std::string_view) override {
    log.push_back("later " + std::string(task.name()));
    given_back.push_back(task);
    ++decided;
  }
  void store_broken(std::string_view text) override {
    log.push_back("broken " + std::string(text));
  }

  net::Loop loop;
  ProbationTerms terms;
  ScriptedServer server;
  FakeSink sink;
  Log log;
  std::vector<std::string> proved;
  std::unique_ptr<Batch> batch;
  std::deque<Task> to_send;
  size_t decided = 0;
  int disconnected = 0;
  int connect_error = 0;
  std::vector<int> statuses;
  std::vector<Millis> waited;
  TimePoint asked_at, answered_at;  // the last
  size_t received = 0;
  store::Hash128 content;  // of the last one stored
  FileFailure failure;
  Millis at_least{-1};
  std::vector<Task> given_back;
  std::vector<uint32_t> pipelines;  // answered whole
  std::vector<uint32_t> doubted;
  uint32_t announced_cut = 0;
  std::vector<uint64_t> silent_closes;
  bool closes_usually = false;
  bool follows = false;
  std::vector<std::string> followed;  // name and where it leads
  FetchConnection connection;
};

std::string body_of(const std::string& target) {
  return "the body of " + target.substr(1);
}

std::string large(size_t bytes) {
  std::string body(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i)
    body[i] = static_cast<char>('a' + i % 26);
  return body;
}

}  // namespace

TEST_CASE("small bodies are stored with one put each, in the order of the requests") {
  Scene scene([](Peer& peer, const std::string& target) { peer.send(ok(body_of(target))); });
  scene.fetch({"a", "b", "c"});
  REQUIRE(scene.until_decided());
  CHECK(scene.log ==
        Log{"connected", "put a", "stored a 13", "put b", "stored b 13", "put c", "stored c 13"});
  CHECK(scene.sink.files["b"] == "the body of b");
  CHECK(scene.statuses == std::vector<int>{200, 200, 200});
  CHECK(scene.received == 3 * 13);
  CHECK(scene.connection.is_open());
  CHECK(scene.connection.sent() == 3);
  CHECK(scene.connection.responses() == 3);
}

TEST_CASE("an empty body is stored as an empty file") {
  Scene scene([](Peer& peer, const std::string&) { peer.send(ok("")); });
  scene.fetch({"a"});
  REQUIRE(scene.until_decided());
  CHECK(scene.log == Log{"connected", "put a", "stored a 0"});
  CHECK(scene.sink.files.at("a") == "");
}

TEST_CASE("a small body that comes in pieces is put whole") {
  for (const bool chunked : {false, true}) {
    CAPTURE(chunked);
    Scene scene([&](Peer& peer, const std::string&) {
      peer.send(chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                        : "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    });
    scene.fetch({"a"});
    REQUIRE(scene.until([&] { return scene.server.targets.size() == 1; }));
    for (const char* piece : {"abc", "def", "ghi"}) {
      scene.server.peers[0]->send(chunked ? chunk(piece) : piece);
      run_what_is_there(scene.loop);  // a read for each piece
    }
    if (chunked) scene.server.peers[0]->send(chunk(""));
    REQUIRE(scene.until_decided());
    CHECK(scene.log == Log{"connected", "put a", "stored a 9"});
    CHECK(scene.sink.files["a"] == "abcdefghi");
  }
}

TEST_CASE("several chunks in one read are put together") {
  Scene scene([](Peer& peer, const std::string&) {
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("ab") + chunk("cde") +
              chunk("f") + chunk(""));
  });
  scene.fetch({"a", "b"});
  REQUIRE(scene.until_decided());
  CHECK(scene.sink.files["a"] == "abcdef");
  CHECK(scene.sink.files["b"] == "abcdef");
}

TEST_CASE("a body over 64 KiB goes through a writer, one up to it does not") {
  for (const size_t size : {kSmall, kSmall + 1, 5 * kSmall, 3'000'000ul}) {
    for (const bool chunked : {false, true}) {
      CAPTURE(size);
      CAPTURE(chunked);
      const std::string body = large(size);
      Scene scene([&](Peer& peer, const std::string& target) {
        if (target == "/small") return peer.send(ok("small"));
        if (!chunked) return peer.send(ok(body));
        std::string out = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (size_t at = 0; at < body.size(); at += 10'000)
          out += chunk(body.substr(at, 10'000));
        peer.send(out + chunk(""));
      });
      scene.fetch({"a", "small"});
      REQUIRE(scene.until_decided());
      CHECK(scene.logged("stored a " + std::to_string(size)));
      CHECK(scene.logged("stored small 5"));
      CHECK(scene.sink.files["a"] == body);
      CHECK(scene.logged("open a") == (size > kSmall));
      CHECK(scene.logged("close a") == (size > kSmall));
      CHECK(scene.logged("put a") == (size <= kSmall));
      CHECK(scene.sink.open_writers == 0);
    }
  }
}

TEST_CASE("what is told of a content is its content hash, however the body comes") {
  struct Case {
    size_t size;
    size_t chunk_bytes;  // 0: not in chunks
    bool piecemeal;      // a read for each 20,000 bytes
  };
  for (const Case& c :
       {Case{0, 0, false}, Case{0, 1, false}, Case{1, 0, false}, Case{240, 7, false},
        Case{kSmall, 0, true}, Case{kSmall, 999, true}, Case{kSmall + 1, 0, true},
        Case{kSmall + 1, 999, true}, Case{200'000, 0, true}, Case{200'000, 70'000, true},
        Case{200'000, 999, false}}) {
    CAPTURE(c.size);
    CAPTURE(c.chunk_bytes);
    const std::string body = large(c.size);
    std::string out = ok(body);
    if (c.chunk_bytes > 0) {
      out = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
      for (size_t at = 0; at < body.size(); at += c.chunk_bytes)
        out += chunk(body.substr(at, c.chunk_bytes));
      out += chunk("");
    }
    Scene scene([](Peer&, const std::string&) {});
    scene.fetch({"a"});
    REQUIRE(scene.until([&] { return scene.server.targets.size() == 1; }));
    const size_t piece = c.piecemeal ? 20'000 : out.size();
    for (size_t at = 0; at < out.size(); at += piece) {
      scene.server.peers[0]->send(out.substr(at, piece));
      run_what_is_there(scene.loop);
    }
    REQUIRE(scene.until_decided());
    CHECK(scene.sink.files["a"] == body);
    CHECK(scene.content == store::content_hash("a", body));
  }
}

TEST_CASE("a body that the end of the connection delimits is stored where that is allowed") {
  for (const bool allowed : {false, true}) {
    CAPTURE(allowed);
    Scene scene(
        [](Peer& peer, const std::string&) {
          peer.send("HTTP/1.0 200 OK\r\n\r\nall of it");
          peer.end();
        },
        BodyRules{.allow_unframed = allowed});
    scene.fetch({"a", "b"});
    REQUIRE(scene.until_disconnected());
    if (allowed) {
      CHECK(scene.log == Log{"connected", "put a", "stored a 9", "announced 1", "again b",
                             "unproven a", "disconnected"});
    } else {
      CHECK(scene.log == Log{"connected", "failed a bad-framing", "again b", "disconnected"});
      CHECK(scene.failure.text.find("--allow-unframed") != std::string::npos);
      CHECK(scene.failure.attempts == 1);
    }
  }
}

TEST_CASE("a reset does not complete a body that the end of the connection delimits") {
  Scene scene(
      [](Peer& peer, const std::string&) {
        // Bytes and reset are there before the client reads.
        peer.send("HTTP/1.0 200 OK\r\n\r\nhalf of");
        peer.reset();
      },
      BodyRules{.allow_unframed = true});
  SUBCASE("with nothing more to send") {
    scene.fetch({"a"});
  }
  SUBCASE("with a request to be sent behind the first read") {
    scene.batch = batch_of({"a", "b"});
    scene.to_send = {Task{scene.batch.get(), 0}};
    REQUIRE(scene.connection.connect(scene.server.address(), 0) == 0);
    REQUIRE(scene.until([&] { return scene.connection.in_flight() == 1; }));
    scene.to_send.push_back(Task{scene.batch.get(), 1});
  }
  REQUIRE(scene.until_disconnected());
  CHECK(scene.sink.files.empty());
  CHECK_FALSE(scene.logged("stored a 7"));
  CHECK(scene.logged("charged a truncated"));
}

TEST_CASE("an answer that another try will not change fails the file at once") {
  for (const int status : {201, 204, 206, 400, 401, 403, 404, 405, 410, 418, 501, 505}) {
    CAPTURE(status);
    Scene scene([&](Peer& peer, const std::string& target) {
      if (target == "/b") return peer.send(ok("b"));
      if (status == 204) return peer.send("HTTP/1.1 204 No Content\r\n\r\n");
      peer.send(response(std::to_string(status) + " Status", "", "an error page"));
    });
    scene.fetch({"a", "b"});
    REQUIRE(scene.until_decided());
    CHECK(scene.log == Log{"connected", "failed a http-status", "put b", "stored b 1"});
    CHECK(scene.failure.status == status);
    CHECK(scene.failure.attempts == 1);
    CHECK(scene.failure.text.find(std::to_string(status)) != std::string::npos);
  }
}

TEST_CASE("an answer that may pass is charged and to be tried again") {
  for (const int status : {408, 425, 429, 500, 502, 503, 504, 599}) {
    CAPTURE(status);
    Scene scene([&](Peer& peer, const std::string& target) {
      peer.send(target == "/b" ? ok("b")
                               : response(std::to_string(status) + " Status", "", "busy"));
    });
    scene.fetch({"a", "b"});
    REQUIRE(scene.until_decided());
    CHECK(scene.log == Log{"connected", "charged a http-status", "put b", "stored b 1"});
    CHECK(scene.failure.status == status);
    CHECK(scene.at_least == Millis(0));
  }
}

TEST_CASE(
    "Retry-After is kept to, within reason; what is neither seconds nor a date says nothing") {
  const std::vector<std::pair<std::string, int64_t>> cases = {
      {"0", 0},
      {"3", 3000},
      {"300", 300'000},
      {"100000", 300'000},
      {"-5", 0},
      {"1.5", 0},
      {"soon", 0},
      {"Sun, 06 Nov 1994 08:49:37 GMT", 0},
      {"Fri, 31 Dec 9999 23:59:59 GMT", 300'000},
      {"3 ", 3000},
      {"3, 4", 0},
      {"99999999999999999999", 300'000}};
  for (const auto& [value, expected] : cases) {
    CAPTURE(value);
    Scene scene([&](Peer& peer, const std::string&) {
      peer.send(response("503 Busy", "Retry-After: " + value + "\r\n", ""));
    });
    scene.fetch({"a"});
    REQUIRE(scene.until_decided());
    CHECK(scene.at_least == Millis(expected));
  }
}

TEST_CASE("a date in Retry-After counts from the present") {
  const std::time_t before = std::time(nullptr);
  const std::time_t date = before + 200;
  char text[64];
  std::tm parts{};
  REQUIRE(::gmtime_r(&date, &parts) != nullptr);
  REQUIRE(std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts) > 0);
  Scene scene([&](Peer& peer, const std::string&) {
    peer.send(response("503 Busy", "Retry-After: " + std::string(text) + "\r\n", ""));
  });
  scene.fetch({"a"});
  REQUIRE(scene.until_decided());
  const std::time_t passed = std::time(nullptr) - before;
  CHECK(scene.at_least <= Millis(200'000));
  CHECK(scene.at_least >= Millis((200 - passed) * 1000));
}

TEST_CASE("a redirect that is not followed fails the file, and its target is shown escaped") {
  for (const int status : {300, 301, 302, 303, 307, 308}) {
    Scene scene([&](Peer& peer, const std::string& target) {
      if (target == "/b") return peer.send(ok("b"));
      peer.send(response(std::to_string(status) + " Elsewhere",
                         "Location: http://elsewhere/\xE2\x80\xAE\r\n", "moved"));
    });
    scene.fetch({"a", "b"});
    REQUIRE(scene.until_decided());
    CHECK(scene.log == Log{"connected", "failed a redirect", "put b", "stored b 1"});
    CHECK(scene.failure.text.find("http://elsewhere/") != std::string::npos);
    CHECK(scene.failure.text.find("\xE2\x80\xAE") == std::string::npos);
    CHECK(scene.failure.status == status);
  }
}

TEST_CASE("a redirect that is followed costs its name nothing, and counts as no failing answer") {
  for (const int status : {301, 302, 303, 307, 308}) {
    Scene scene([&](Peer& peer, const std::string& target) {
      if (target == "/b") return peer.send(ok("b"));
      peer.send(response(std::to_string(status) + " Elsewhere", "Location: other\r\n", "moved"));
    });
    scene.follows = true;
    scene.fetch({"a", "b"});
    REQUIRE(scene.until_decided());
    CHECK(scene.followed == Log{"a other"});
    CHECK(scene.log == Log{"connected", "elsewhere a", "put b", "stored b 1"});
    CHECK(scene.statuses == std::vector<int>{ConnectionOwner::kFollowed, 200});
  }
}

TEST_CASE("nobody is asked whether to follow what is no redirect, or none for a GET") {
  for (const int status : {300, 304, 305, 306, 404}) {
    Scene scene([&](Peer& peer, const std::string&) {
      peer.send(response(std::to_string(status) + " Elsewhere", "Location: other\r\n", ""));
    });
    scene.follows = true;
    scene.fetch({"a"});
    REQUIRE(scene.until_decided());
    CHECK(scene.followed.empty());
  }
}

TEST_CASE("a coding that was not asked for fails the file; identity is none") {
  Scene scene([](Peer& peer, const std::string& target) {
    const std::string coding = target == "/a" ? "gzip" : "identity";
    peer.send(response("200 OK", "Content-Encoding: " + coding + "\r\n", "bytes"));
  });
  scene.fetch({"a", "b"});
  REQUIRE(scene.until_decided());
  CHECK(scene.log == Log{"connected", "failed a content-encoding", "put b", "stored b 5"});
  CHECK(scene.sink.files.count("a") == 0);
}

// "content", as gzip packs it.
const std::string kGzipped =
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x4b\xce\xcf\x2b\x49\xcd\x2b\x01\x00\xa9\x30\xc5\xfe"
    "\x07"
    "\x00\x00\x00"s;

std::string coded(std::string_view coding, std::string_view body) {
  return response("200 OK", "Content-Encoding: " + std::string(coding) + "\r\n", body);
}

TEST_CASE("a body in a coding is kept as sent, with a note of the coding") {
  Scene scene(
      [](Peer& peer, const std::string& target) {
        peer.send(target == "/b" ? ok("b") : coded(target == "/a" ? "gzip" : "odd, br", "bytes"));
      },
      BodyRules{.content_encoding = ContentEncoding::keep});
  scene.fetch({"a", "b", "c"});
  REQUIRE(scene.until_decided());
  CHECK(scene.sink.files ==
        std::map<std::string, std::string>{{"a", "bytes"}, {"b", "b"}, {"c", "bytes"}});
  const std::vector<Batch::Coded> noted = scene.batch->take_codings();
  REQUIRE(noted.size() == 2);
  CHECK(noted[0].index == 0);
  CHECK(noted[0].coding == "gzip");
  CHECK(noted[1].index == 2);
  CHECK(noted[1].coding == "odd, br");
  CHECK(scene.batch->take_codings().empty());
}

TEST_CASE("a body in a coding is stored as it was before it was coded") {
  for (const bool bytewise : {false, true}) {
    Scene scene(
        [&](Peer& peer, const std::string& target) {
          if (target == "/b") return peer.send(ok("b"));
          const std::string answer = coded("gzip", kGzipped);
          for (size_t at = 0; at < answer.size(); at += bytewise ? 1 : answer.size())
            peer.send(answer.substr(at, bytewise ? 1 : answer.npos));
        },
        BodyRules{.content_encoding = ContentEncoding::decode});
    scene.fetch({"a", "b", "c"});
    REQUIRE(scene.until_decided());
    CHECK(scene.logged("stored a 7"));
    CHECK(scene.sink.files ==
          std::map<std::string, std::string>{{"a", "content"}, {"b", "b"}, {"c", "content"}});
    CHECK(scene.batch->take_codings().empty());
  }
}

TEST_CASE("a coded body that is cut, damaged or goes on behind its end is charged, never stored") {
  const std::string cut = kGzipped.substr(0, kGzipped.size() - 1);
  std::string damaged = kGzipped;
  damaged[20] ^= 1;
  for (const std::string& body : {cut, damaged, kGzipped + "more and more", "no gzip"s, ""s}) {
    CAPTURE(body);
    Scene scene(
        [&](Peer& peer, const std::string& target) {
          peer.send(target == "/b" ? ok("b") : coded("gzip", body));
        },
        BodyRules{.content_encoding = ContentEncoding::decode});
    scene.fetch({"a", "b"});
    REQUIRE(scene.until_decided());
    CHECK(scene.logged("charged a bad-coding"));
    CHECK(scene.logged("stored b 1"));
    CHECK_FALSE(scene.logged("doubt"));
    CHECK(scene.sink.files.count("a") == 0);
  }
}

TEST_CASE("a decoded body is held to the size allowed, not a coded one") {
  for (const uint64_t max : {6, 7}) {
    Scene scene([](Peer& peer, const std::string&) { peer.send(coded("gzip", kGzipped)); },
                BodyRules{.max_file_size = max, .content_encoding = ContentEncoding::decode});
    scene.fetch({"a"});
    REQUIRE(scene.until_decided());
    CHECK(scene.logged(max == 7 ? "stored a 7" : "failed a too-large"));
  }
}

TEST_CASE("a body over the size allowed fails the file, and nothing of it is kept") {
  constexpr uint64_t kMax = 100'000;
  struct Case {
    size_t size;
    bool chunked;
    bool connection_kept;  // what is left to read is little enough
  };
  for (const Case& c : {Case{kMax + 1, false, true}, Case{1'000'000, false, false},
                        Case{kMax + 1, true, true}, Case{1'000'000, true, false}}) {
    CAPTURE(c.size);
    CAPTURE(c.chunked);
    const std::string body = large(c.size);
    Scene scene(
        [&](Peer& peer, const std::string& target) {
          if (target == "/b") return peer.send(ok("b"));
          peer.send(c.chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
                                    chunk(body) + chunk("")
                              : ok(body));
        },
        BodyRules{.max_file_size = kMax});
    scene.fetch({"a", "b"});
    REQUIRE(scene.until_decided());
    CHECK(scene.logged("failed a too-large"));
    CHECK(scene.failure.attempts == 1);
    CHECK(scene.logged("stored b 1") == c.connection_kept);
    CHECK(scene.logged("again b") == !c.connection_kept);
    CHECK_FALSE(scene.logged("doubt"));
    CHECK(scene.sink.files.count("a") == 0);
    CHECK(scene.sink.open_writers == 0);
  }
}

TEST_CASE("a body of exactly the size allowed is stored") {
  for (const bool chunked : {false, true}) {
    Scene scene(
        [&](Peer& peer, const std::string&) {
          peer.send(chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
                                  chunk("12345") + chunk("")
                            : ok("12345"));
        },
        BodyRules{.max_file_size = 5});
    scene.fetch({"a"});
    REQUIRE(scene.until_decided());
    CHECK(scene.logged("stored a 5"));
  }
}

TEST_CASE("a long error page is not read to its end: the connection goes, the rest is given back") {
  Scene scene([](Peer& peer, const std::string&) {
    peer.send(response("503 Busy", "", std::string(1'000'000, 'e')));
  });
  scene.fetch({"a", "b"});
  REQUIRE(scene.until_disconnected());
  CHECK(scene.log == Log{"connected", "charged a http-status", "again b", "disconnected"});
}

TEST_CASE("a file that the sink cannot store fails alone") {
  Scene scene([](Peer& peer, const std::string& target) { peer.send(ok(body_of(target))); });
  scene.sink.status = [](const std::string&, const std::string& name) {
    return name == "a" ? file_status() : store::StoreStatus();
  };
  scene.fetch({"a", "b"});
  REQUIRE(scene.until_decided());
  CHECK(scene.log == Log{"connected", "put a", "failed a name-conflict", "put b", "stored b 13"});
  CHECK(scene.failure.status == 200);
  CHECK(scene.failure.attempts == 1);
  CHECK(scene.failure.text == "in the way");
}

TEST_CASE("a file for which the sink is busy is tried again later, uncharged") {
  Scene scene([](Peer& peer, const std::string& target) { peer.send(ok(body_of(target))); });
  scene.sink.status = [](const std::string&, const std::string& name) {
    return name == "a" ? busy_status() : store::StoreStatus();
  };
  scene.fetch({"a", "b"});
  REQUIRE(scene.until_decided());
  CHECK(scene.log == Log{"connected", "put a", "later a", "put b", "stored b 13"});
}

TEST_CASE("a sink that can store nothing any more breaks the store, and the file is not charged") {
  Scene scene([](Peer& peer, const std::string& target) { peer.send(ok(body_of(target))); });
  scene.sink.status = [](const std::string&, const std::string&) { return run_status(); };
  scene.fetch({"a"});
  REQUIRE(scene.until_decided());
  REQUIRE(scene.log.size() == 4);
  CHECK(scene.log[2].starts_with("broken "));
  CHECK(scene.log[2].find("No space left") != std::string::npos);
  CHECK(scene.log[3] == "later a");
}

TEST_CASE("a writer that fails, at whatever step and in whatever way, leaves no file") {
  const std::string body = large(200'000);
  for (const std::string step : {"open", "append", "close"}) {
    for (const auto kind : {store::StoreStatus::Kind::file, store::StoreStatus::Kind::busy,
                            store::StoreStatus::Kind::run}) {
      CAPTURE(step);
      CAPTURE(static_cast<int>(kind));
      Scene scene([&](Peer& peer, const std::string& target) {
        peer.send(target == "/b" ? ok("b") : ok(body));
      });
      scene.sink.status = [&](const std::string& operation, const std::string& name) {
        if (name != "a" || operation != step) return store::StoreStatus();
        if (kind == store::StoreStatus::Kind::file) return file_status();
        return kind == store::StoreStatus::Kind::busy ? busy_status() : run_status();
      };
      scene.fetch({"a", "b"});
      REQUIRE(scene.until_decided());
      CHECK(scene.sink.files.count("a") == 0);
      CHECK(scene.sink.open_writers == 0);
      CHECK(scene.logged("failed a name-conflict") == (kind == store::StoreStatus::Kind::file));
      CHECK(scene.logged("later a") == (kind != store::StoreStatus::Kind::file));
      const bool broken = std::any_of(scene.log.begin(), scene.log.end(),
                                      [](const std::string& e) { return e.starts_with("broken"); });
      CHECK(broken == (kind == store::StoreStatus::Kind::run));
      if (kind != store::StoreStatus::Kind::run) CHECK(scene.logged("stored b 1"));
    }
  }
}

TEST_CASE(
    "a new connection that ends before its first answer leaves its owner to say whom to blame") {
  for (const bool reset : {false, true}) {
    CAPTURE(reset);
    Scene scene([&](Peer& peer, const std::string& target) {
      if (target != "/c") return;
      if (reset) {
        peer.reset();
      } else {
        peer.end();
      }
    });
    scene.fetch({"a", "b", "c"});
    REQUIRE(scene.until_disconnected());
    CHECK(scene.log ==
          Log{"connected", "doubt", "unanswered a reset", "again b", "again c", "disconnected"});
    CHECK(scene.failure.text.find("before the response") != std::string::npos);
    for (const Task& task : scene.given_back)
      CHECK_FALSE(task.replayed);
  }
}

TEST_CASE("a reused connection that ends before the answer is replayed once, then charged") {
  Scene scene([](Peer& peer, const std::string& target) {
    if (target == "/first") return peer.send(ok("x"));
    peer.end();
  });
  scene.fetch({"first", "a", "b"});
  REQUIRE(scene.until_disconnected());
  CHECK(scene.log == Log{"connected", "put first", "stored first 1", "doubt", "again a", "again b",
                         "unproven first", "disconnected"});
  REQUIRE(scene.given_back.size() == 2);
  CHECK(scene.given_back[0].replayed);
  CHECK_FALSE(scene.given_back[1].replayed);

  // The same again, with the name that has been replayed already.
  const Task replayed = scene.given_back[0];
  scene.log.clear();
  scene.disconnected = 0;
  scene.to_send = {Task{scene.batch.get(), 0}, replayed};
  REQUIRE(scene.connection.connect(scene.server.address(), 0) == 0);
  REQUIRE(scene.until_disconnected());
  CHECK(scene.logged("charged a reset"));
  CHECK_FALSE(scene.logged("unanswered a reset"));
}

TEST_CASE(
    "a name replayed on a new connection that ends unanswered is for its owner to judge too") {
  Scene scene([](Peer& peer, const std::string&) { peer.end(); });
  scene.batch = batch_of({"a"});
  Task replayed{scene.batch.get(), 0};
  replayed.replayed = true;
  scene.to_send = {replayed};
  REQUIRE(scene.connection.connect(scene.server.address(), 0) == 0);
  REQUIRE(scene.until_disconnected());
  CHECK(scene.log == Log{"connected", "doubt", "unanswered a reset", "disconnected"});
}

TEST_CASE("a connection that ends inside an answer charges it, and what was half stored goes") {
  for (const size_t size : {100ul, 300'000ul}) {
    for (const bool reset : {false, true}) {
      CAPTURE(size);
      CAPTURE(reset);
      Scene scene([&](Peer& peer, const std::string& target) {
        if (target == "/c") peer.send(ok(large(size)).substr(0, size * 3 / 4));
      });
      scene.fetch({"a", "b", "c"});
      REQUIRE(scene.until([&] { return scene.server.targets.size() == 3; }));
      run_what_is_there(scene.loop);
      if (reset) {
        scene.server.peers[0]->reset();
      } else {
        scene.server.peers[0]->end();
      }
      REQUIRE(scene.until_disconnected());
      CHECK(scene.logged("doubt"));
      CHECK(scene.logged("charged a truncated"));
      CHECK(scene.logged("again b"));
      CHECK(scene.logged("again c"));
      CHECK(scene.sink.files.empty());
      CHECK(scene.sink.open_writers == 0);
    }
  }
}

TEST_CASE("what was half stored is gone before the failure is told") {
  // The one who is told may report the name at once; a file left behind would then outlive it.
  Scene scene(
      [](Peer& peer, const std::string&) { peer.send(ok(large(300'000)).substr(0, 200'000)); });
  scene.fetch({"a"});
  REQUIRE(scene.until([&] { return scene.logged("append a"); }));
  std::string told;
  SUBCASE("the connection ended") {
    scene.server.peers[0]->end();
    told = "charged a truncated";
  }
  SUBCASE("the origin fell silent") {
    scene.connection.give_up_stalled();
    told = "charged a stalled";
  }
  SUBCASE("the origin kept it waiting") {
    scene.connection.give_up_waiting();
    told = "gave up a";
  }
  REQUIRE(scene.until_disconnected());
  const auto position = [&](const std::string& entry) {
    return std::find(scene.log.begin(), scene.log.end(), entry) - scene.log.begin();
  };
  CHECK(scene.logged("abort a"));
  CHECK(scene.logged(told));
  CHECK(position("abort a") < position(told));
}

TEST_CASE("an answer that cannot be delimited charges the oldest request and brings doubt") {
  Scene scene([](Peer& peer, const std::string& target) {
    if (target != "/c") return;
    peer.send(ok("a") +
              "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx");
  });
  scene.fetch({"a", "b", "c"});
  REQUIRE(scene.until_disconnected());
  CHECK(scene.log == Log{"connected", "put a", "stored a 1", "doubt", "charged b bad-framing",
                         "again c", "unproven a", "disconnected"});
  CHECK(scene.failure.text.find("bad-framing") != std::string::npos);
}

TEST_CASE("bytes behind the last answer close the connection and cast doubt on that answer") {
  Scene scene([](Peer& peer, const std::string&) { peer.send(ok("a") + "stray"); });
  scene.fetch({"a"});
  REQUIRE(scene.until_disconnected());
  CHECK(scene.log ==
        Log{"connected", "put a", "stored a 1", "wrong end", "suspected a", "disconnected"});
  CHECK(scene.proved.empty());
}

TEST_CASE("bytes that begin no answer cast doubt on the one before; the others are unproven") {
  Scene scene([](Peer& peer, const std::string& target) {
    if (target == "/d") peer.send(ok("a") + ok("b") + "xyz" + ok("c"));
  });
  scene.fetch({"a", "b", "c", "d"});
  REQUIRE(scene.until_disconnected());
  CHECK(scene.log == Log{"connected", "put a", "stored a 1", "put b", "stored b 1", "doubt",
                         "wrong end", "suspected b", "unproven a", "again c", "again d",
                         "disconnected"});
}

TEST_CASE("a surplus answer casts doubt on every answer since the last quiet point") {
  Scene scene([](Peer& peer, const std::string& target) {
    if (target == "/c") peer.send(ok("a") + ok("b") + ok("c") + ok("c"));
  });
  scene.fetch({"a", "b", "c"});
  REQUIRE(scene.until_disconnected());
  CHECK(scene.log == Log{"connected", "put a", "stored a 1", "put b", "stored b 1", "put c",
                         "stored c 1", "surplus", "suspected a", "suspected b", "suspected c",
                         "disconnected"});
}

TEST_CASE("answers are proven when the connection has been quiet for long") {
  Scene scene([](Peer& peer, const std::string& target) { peer.send(ok(target)); });
  scene.terms.long_quiet = Millis(1);
  scene.fetch({"a", "b"});
  REQUIRE(scene.until([&] { return scene.proved.size() == 2; }));
  CHECK(scene.proved == std::vector<std::string>{"a", "b"});
  CHECK(scene.connection.is_at_rest());
}

TEST_CASE(
    "a quiet point in the midst of work proves all but the last, whose end the next head proves") {
  std::string asked;
  Scene scene([&](Peer& peer, const std::string& target) {
    asked += target;
    peer.send(ok("x"));
  });
  scene.terms.most = 3;
  scene.terms.quiet = Millis(1);
  scene.terms.long_quiet = Millis(60'000);
  scene.fetch({"a", "b", "c"});
  REQUIRE(scene.until([&] { return scene.proved.size() == 2; }));
  CHECK(scene.proved == std::vector<std::string>{"a", "b"});
  CHECK_FALSE(scene.connection.is_at_rest());
  scene.to_send = {Task{scene.batch.get(), 0}};
  scene.fill(scene.connection);
  REQUIRE(scene.until([&] { return asked == "/a/b/c/a" && scene.proved.size() == 3; }));
  CHECK(scene.proved.back() == "c");
}

TEST_CASE("an orderly end proves, a reset of what was sent ahead does not") {
  for (const bool orderly : {true, false}) {
    Scene scene([&](Peer& peer, const std::string& target) {
      if (target != "/b") return;
      peer.send(ok("a") + (orderly ? ok("b") : ""));
      orderly ? peer.end() : peer.reset();
    });
    scene.fetch({"a", "b"});
    REQUIRE(scene.until_disconnected());
    CHECK(scene.proved.size() == (orderly ? 2 : 0));
    CHECK(scene.logged("unproven a") == (!orderly && scene.logged("stored a 1")));
  }
}

TEST_CASE(
    "a broken answer leaves those before it unproven, even where one at a time is asked for") {
  int asked = 0;
  Scene scene([&](Peer& peer, const std::string&) {
    peer.send(++asked == 1 ? ok("a") : "HTTP/1.1 2x0 OK\r\n\r\n");
  });
  scene.fetch({"a"});
  REQUIRE(scene.until([&] { return scene.logged("stored a 1"); }));
  scene.to_send = {Task{scene.batch.get(), 0}};
  scene.fill(scene.connection);
  REQUIRE(scene.until_disconnected());
  CHECK(scene.log.back() == "disconnected");
  CHECK(scene.logged("charged a bad-framing"));
  CHECK(scene.logged("unproven a"));
  CHECK(scene.proved.empty());
}

TEST_CASE(
    "an answer that is cut off because it is not taken proves nothing, unless it is the first") {
  const std::string large(300'000, 'x');
  for (const bool first : {true, false}) {
    Scene scene(
        [&](Peer& peer, const std::string& target) {
          if (target == "/b") peer.send((first ? "" : ok("a")) + ok(large));
        },
        BodyRules{.max_file_size = 5});
    scene.fetch({"a", "b"});
    REQUIRE(scene.until_disconnected());
    CHECK(scene.proved == (first ? std::vector<std::string>{"a"} : std::vector<std::string>{}));
    CHECK(scene.logged("suspected b") == !first);
    CHECK(scene.logged("unproven a") == !first);
  }
}

TEST_CASE("an announced end is awaited: what comes before it casts doubt") {
  for (const bool late : {false, true}) {
    Peer* held = nullptr;
    Scene scene([&](Peer& peer, const std::string&) {
      held = &peer;
      peer.send(response("200 OK", "Connection: close\r\n", "x"));
    });
    scene.terms.long_quiet = Millis(60'000);
    scene.fetch({"a"});
    REQUIRE(scene.until([&] { return scene.logged("stored a 1"); }));
    CHECK(scene.proved.empty());
    if (late) held->send("yz");
    held->end();
    REQUIRE(scene.until_disconnected());
    CHECK(scene.proved.size() == (late ? 0 : 1));
    CHECK(scene.logged("suspected a") == late);
  }
}

TEST_CASE("an announced close charges nobody: what is behind it is given back without doubt") {
  Scene scene([](Peer& peer, const std::string& target) {
    if (target == "/d") peer.send(ok("a") + response("200 OK", "Connection: close\r\n", "b"));
  });
  scene.fetch({"a", "b", "c", "d"});
  REQUIRE(scene.until_disconnected());
  CHECK(scene.log == Log{"connected", "put a", "stored a 1", "put b", "stored b 1", "announced 2",
                         "again c", "again d", "disconnected"});
  for (const Task& task : scene.given_back)
    CHECK_FALSE(task.replayed);
}

TEST_CASE("a close tells how many requests were in flight, when any of them is left") {
  for (const bool whole : {false, true}) {
    CAPTURE(whole);
    Scene scene([&](Peer& peer, const std::string& target) {
      if (target == "/c") return;
      const bool last = target == (whole ? "/d" : "/b");
      peer.send(last ? response("200 OK", "Connection: close\r\n", "x") : ok("x"));
      if (whole && target == "/b") peer.send(ok("x"));
    });
    scene.fetch({"a", "b", "c", "d"});
    REQUIRE(scene.until_disconnected());
    CHECK(scene.logged(whole ? "announced 4" : "announced 2"));
    CHECK(scene.announced_cut == (whole ? 0 : 4));
  }
}

TEST_CASE("a close that nobody announced says behind how many responses it came") {
  for (const bool usual : {false, true}) {
    CAPTURE(usual);
    Scene scene([](Peer& peer, const std::string& target) {
      if (target != "/d") return;
      peer.send(ok("a") + ok("b"));
      peer.end();
    });
    scene.closes_usually = usual;
    scene.fetch({"a", "b", "c", "d"});
    REQUIRE(scene.until_disconnected());
    CHECK(scene.silent_closes == std::vector<uint64_t>{2});
    CHECK_MESSAGE(scene.doubted == std::vector<uint32_t>{usual ? 1u : 4u},
                  "the pipeline is to blame unless the origin always closes there");
  }
}

TEST_CASE("an end inside an answer, or by a reset, shows no limit on requests") {
  for (const bool reset : {false, true}) {
    CAPTURE(reset);
    Scene scene([&](Peer& peer, const std::string& target) {
      if (target == "/a") peer.send(ok("a"));
      if (target != "/c") return;
      if (reset) return peer.reset();
      peer.send("HTTP/1.1 200");
      peer.end();
    });
    scene.fetch({"a", "b", "c"});
    REQUIRE(scene.until_disconnected());
    CHECK(scene.silent_closes.empty());
    CHECK(scene.doubted == std::vector<uint32_t>{3});
  }
}

TEST_CASE("a pipeline is answered when all that was in flight as it was sent has been") {
  Scene scene([](Peer& peer, const std::string& target) { peer.send(ok(target)); });
  scene.fetch({"a", "b", "c", "d", "e"});
  REQUIRE(scene.until_decided());
  CHECK(scene.pipelines == std::vector<uint32_t>{5});
  for (const uint32_t index : {0u, 1u, 2u})
    scene.to_send.push_back(Task{scene.batch.get(), index});
  scene.fill(scene.connection);
  REQUIRE(scene.until([&] { return scene.pipelines.size() == 2; }));
  CHECK(scene.pipelines == std::vector<uint32_t>{5, 3});
}

TEST_CASE("requests sent while a pipeline is answered do not put off its end") {
  std::vector<std::string> asked;
  Scene scene([&](Peer&, const std::string& target) { asked.push_back(target); });
  scene.fetch({"a", "b", "c"});
  REQUIRE(scene.until([&] { return asked.size() == 3; }));
  Peer& peer = *scene.server.peers[0];
  peer.send(ok("a"));
  REQUIRE(scene.until([&] { return scene.decided == 1; }));
  scene.to_send.push_back(Task{scene.batch.get(), 0});
  scene.fill(scene.connection);
  peer.send(ok("b") + ok("c"));
  REQUIRE(scene.until([&] { return scene.decided == 3; }));
  CHECK(scene.pipelines == std::vector<uint32_t>{3});
}

TEST_CASE("a pipeline that was cut is not answered, on whatever connection the rest is") {
  Scene scene([](Peer& peer, const std::string& target) {
    if (target != "/d") return;
    peer.send(ok("a") + ok("b"));
    peer.end();
  });
  scene.fetch({"a", "b", "c", "d"});
  REQUIRE(scene.until_disconnected());
  CHECK(scene.pipelines.empty());
  scene.to_send = {Task{scene.batch.get(), 0}};
  REQUIRE(scene.connection.connect(scene.server.address(), 0) == 0);
  REQUIRE(scene.until([&] { return scene.server.targets.size() == 5; }));
  scene.server.peers[1]->send(ok("a"));
  REQUIRE(scene.until([&] { return scene.pipelines.size() == 1; }));
  CHECK(scene.pipelines == std::vector<uint32_t>{1});
}

TEST_CASE("a connection without requests that ends says only that") {
  Scene scene([](Peer& peer, const std::string&) {
    peer.send(ok("x"));
    peer.end();
  });
  scene.fetch({"a"});
  REQUIRE(scene.until_disconnected());
  CHECK(scene.log == Log{"connected", "put a", "stored a 1", "disconnected"});
}

TEST_CASE("giving up a silent connection charges the oldest request alone") {
  Scene scene([](Peer&, const std::string&) {});
  scene.fetch({"a", "b"});
  REQUIRE(scene.until([&] { return scene.server.targets.size() == 2; }));
  scene.connection.give_up_stalled();
  CHECK(scene.log == Log{"connected", "doubt", "charged a stalled", "again b", "disconnected"});
  run_what_is_there(scene.loop);
  CHECK(scene.log.size() == 5);
}

TEST_CASE("giving up waiting charges nobody and casts no doubt; all of it can be sent again") {
  Scene scene([](Peer& peer, const std::string& target) {
    if (target == "/a") peer.send(ok("x"));
  });
  scene.fetch({"a", "b", "c"});
  REQUIRE(scene.until([&] { return scene.logged("stored a 1"); }));
  REQUIRE(scene.until([&] { return scene.server.targets.size() == 3; }));
  scene.connection.give_up_waiting();
  const Log told{"connected", "put a",      "stored a 1",  "gave up b",
                 "again c",   "unproven a", "disconnected"};
  CHECK(scene.log == told);
  CHECK(scene.connection.is_closed());
  for (const Task& task : scene.given_back) {
    CHECK(task.attempts == 0);
    CHECK_FALSE(task.replayed);
  }
  run_what_is_there(scene.loop);
  CHECK(scene.log == told);

  scene.to_send = {scene.given_back[0]};
  REQUIRE(scene.connection.connect(scene.server.address(), 0) == 0);
  REQUIRE(scene.until([&] { return scene.server.peers.size() == 2; }));
  REQUIRE(scene.until([&] { return !scene.server.peers[1]->targets.empty(); }));
  scene.server.peers[1]->send(ok("it came"));
  REQUIRE(scene.until([&] { return scene.logged("stored b 7"); }));
}

TEST_CASE("giving up waiting forgets requests that have not been sent") {
  Scene scene([](Peer&, const std::string&) {});
  scene.fetch({"a"});
  REQUIRE(scene.until([&] { return scene.server.targets.size() == 1; }));
  const auto more = batch_of({"b"});
  scene.connection.request_buffer() += "GET /b HTTP/1.1\r\nHost: h\r\n\r\n";
  scene.connection.add(Task{more.get(), 0});
  scene.connection.give_up_waiting();
  CHECK(scene.logged("again b"));
  CHECK(scene.connection.request_buffer().empty());
  CHECK(scene.connection.sent() == 1);
}

TEST_CASE("what is told of a wait runs from the request, or from the answer before it") {
  Scene scene([](Peer&, const std::string&) {});
  const auto pass = [&](Millis time) {
    bool passed = false;
    net::Timer timer(scene.loop, [&] { passed = true; });
    timer.start(time);
    REQUIRE(scene.until([&] { return passed; }));
  };
  scene.fetch({"a", "b", "c"});
  REQUIRE(scene.until([&] { return scene.connection.in_flight() == 3; }));
  const TimePoint asked = scene.asked_at;
  REQUIRE(scene.until([&] { return scene.server.targets.size() == 3; }));
  pass(Millis(30));
  scene.server.peers[0]->send(ok("a") + ok("b"));
  REQUIRE(scene.until([&] { return scene.waited.size() == 2; }));
  CHECK(scene.waited[0] >= Millis(30));
  CHECK(scene.waited[0] == scene.answered_at - asked);
  CHECK(scene.waited[1] == Millis(0));
  const TimePoint second = scene.answered_at;
  pass(Millis(20));
  scene.server.peers[0]->send(response("404 No", "", ""));
  REQUIRE(scene.until_decided());
  CHECK(scene.waited[2] >= Millis(20));
  CHECK(scene.waited[2] == scene.answered_at - second);
  CHECK(scene.statuses == std::vector<int>{200, 200, 404});

  // Time without a request is nobody's.
  pass(Millis(20));
  scene.to_send = {Task{scene.batch.get(), 0}};
  scene.fill(scene.connection);
  REQUIRE(scene.until([&] { return scene.server.targets.size() == 4; }));
  scene.server.peers[0]->send(ok("a"));
  REQUIRE(scene.until([&] { return scene.waited.size() == 4; }));
  CHECK(scene.waited[3] == scene.answered_at - scene.asked_at);
}

TEST_CASE("giving up a connection that is not there yet is a failure to connect") {
  Scene scene([](Peer&, const std::string&) {});
  scene.fetch({"a"});
  scene.connection.give_up_stalled();
  CHECK(scene.log == Log{"connect failed"});
  CHECK(scene.connect_error == UV_ETIMEDOUT);
  CHECK(scene.connection.is_closed());
  run_what_is_there(scene.loop);
  CHECK(scene.log.size() == 1);
}

TEST_CASE("a refused connection is told with its error, and can be tried again") {
  Scene scene([](Peer& peer, const std::string&) { peer.send(ok("x")); });
  uint16_t nobody = 0;
  const UniqueFd refused = bound_socket(nobody);
  scene.batch = batch_of({"a"});
  REQUIRE(scene.connection.connect(socket_address(nobody), 3) == 0);
  CHECK(scene.connection.address_index() == 3);
  REQUIRE(scene.until_disconnected());
  CHECK(scene.log == Log{"connect failed"});
  CHECK(scene.connect_error == UV_ECONNREFUSED);
  scene.fetch({"a"});
  REQUIRE(scene.until_decided());
  CHECK(scene.logged("stored a 1"));
}

TEST_CASE("abandoning gives everything back, removes what was half stored, and says no more") {
  Scene scene([](Peer& peer, const std::string& target) {
    if (target == "/a") peer.send(ok(large(300'000)).substr(0, 200'000));
  });
  scene.fetch({"a", "b"});
  REQUIRE(scene.until([&] { return scene.logged("append a"); }));
  CHECK(scene.sink.open_writers == 1);
  scene.connection.abandon();
  CHECK(scene.connection.is_closed());
  CHECK(scene.connection.in_flight() == 0);
  CHECK(scene.sink.open_writers == 0);
  CHECK(scene.logged("abort a"));
  CHECK(scene.given_back.size() == 2);
  const size_t told = scene.log.size();
  run_what_is_there(scene.loop);
  CHECK(scene.log.size() == told);
}

namespace {

// What a server sends for three requests: small, chunked and large.
std::string three_answers() {
  return ok("one") + "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("tw") +
         chunk("o") + chunk("") + response("200 OK", "X-Filler: f\r\n", "three");
}

}  // namespace

TEST_CASE("three answers split anywhere give the same three files") {
  const std::string answers = three_answers();
  for (size_t cut = 1; cut < answers.size(); ++cut) {
    CAPTURE(cut);
    Scene scene([](Peer&, const std::string&) {});
    scene.fetch({"a", "b", "c"});
    REQUIRE(scene.until([&] { return scene.server.targets.size() == 3; }));
    scene.server.peers[0]->send(answers.substr(0, cut));
    run_what_is_there(scene.loop);
    scene.server.peers[0]->send(answers.substr(cut));
    REQUIRE(scene.until_decided());
    CHECK(scene.sink.files ==
          std::map<std::string, std::string>{{"a", "one"}, {"b", "two"}, {"c", "three"}});
  }
}

TEST_CASE("an end or reset at any byte of three answers never gives a file another's bytes") {
  const std::string answers = three_answers();
  const std::map<std::string, std::string> whole = {{"a", "one"}, {"b", "two"}, {"c", "three"}};
  for (size_t cut = 0; cut < answers.size(); ++cut) {
    for (const bool reset : {false, true}) {
      CAPTURE(cut);
      CAPTURE(reset);
      Scene scene([](Peer&, const std::string&) {});
      scene.fetch({"a", "b", "c"});
      REQUIRE(scene.until([&] { return scene.server.targets.size() == 3; }));
      scene.server.peers[0]->send(answers.substr(0, cut));
      if (reset) {
        scene.server.peers[0]->reset();
      } else {
        scene.server.peers[0]->end();
      }
      REQUIRE(scene.until_disconnected());
      CHECK_MESSAGE(scene.decided == 3, "each name is decided once");
      for (const auto& [name, body] : scene.sink.files)
        CHECK(body == whole.at(name));
      const auto charged = std::count_if(scene.log.begin(), scene.log.end(), [](const auto& entry) {
        return entry.starts_with("charged") || entry.starts_with("unanswered");
      });
      CHECK(charged <= 1);
      CHECK(scene.sink.open_writers == 0);
    }
  }
}

TEST_CASE("a body drips when it comes more slowly than it must, measured from its head") {
  constexpr Millis kHour{3'600'000};
  constexpr uint64_t kLeast = 16;  // 57,600 bytes an hour
  Scene scene([](Peer&, const std::string&) {});
  scene.fetch({"a"});
  REQUIRE(scene.until([&] { return scene.server.targets.size() == 1; }));
  // The origin may think as long as it likes, and that counts for nothing later.
  CHECK_FALSE(scene.connection.drips(scene.loop.now() + 9 * kHour, kHour, kLeast));
  CHECK_FALSE(scene.connection.drips(scene.loop.now() - 9 * kHour, kHour, kLeast));
  size_t sent = 0;
  const auto send = [&](size_t bytes) {
    scene.server.peers[0]->send(std::string(bytes, 'x'));
    sent += bytes;
    REQUIRE(scene.until([&] { return scene.received == sent; }));
  };
  scene.server.peers[0]->send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
  send(100);
  const TimePoint begun = scene.loop.now();
  CHECK_FALSE(scene.connection.drips(begun + kHour / 2, kHour, kLeast));
  CHECK(scene.connection.drips(begun + kHour, kHour, kLeast));
  // The next measure begins with that call.
  send(57'600);
  CHECK_FALSE(scene.connection.drips(begun + 2 * kHour - Millis(1), kHour, kLeast));
  CHECK_FALSE(scene.connection.drips(begun + 2 * kHour, kHour, kLeast));
  send(57'599);
  CHECK(scene.connection.drips(begun + 3 * kHour, kHour, kLeast));
}
