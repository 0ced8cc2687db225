#include "net/http_connection.h"

#include <doctest/doctest.h>

#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "net/drive.h"
#include "net/scripted_server.h"

using namespace gigafetch;
using namespace gigafetch::net;
using namespace gigafetch::testing;
using Cause = Closure::Cause;
using Fault = http::ResponseFault;

namespace {

// A client of one connection, which writes down what it is told.
struct Client : HttpConnection::Handler {
  explicit Client(Loop& loop_) : loop(loop_), connection(loop_, *this) {}

  void on_open() override {
    events.push_back("open");
    if (then_open) then_open();
  }
  bool on_head(const http::ResponseHead& head) override {
    events.push_back("head " + std::to_string(head.status));
    body.clear();
    return !refuse_head;
  }
  bool on_body(std::string_view piece) override {
    body += piece;
    return !refuse_body;
  }
  void on_response() override {
    events.push_back("response");
    bodies.push_back(body);
  }
  void on_read_end() override {
    ++read_ends;
    if (then_read_end) then_read_end();
  }
  void on_closed(const Closure& with) override {
    events.push_back("closed");
    closure = with;
    text = with.text;
    ++closures;
    closed_when_told = connection.is_closed();
    if (then_closed) then_closed();
  }

  bool open(const SocketAddress& address) {
    if (connection.connect(address) != 0) return false;
    return run_until(loop, [&] { return connection.is_open() || closures > 0; });
  }
  void get(const std::string& target) {
    connection.send("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n", 1);
  }
  bool wait_closed() {
    return run_until(loop, [&] { return closures > 0; });
  }

  Loop& loop;
  HttpConnection connection;
  std::vector<std::string> events;
  std::string body;
  std::vector<std::string> bodies;
  int read_ends = 0;
  int closures = 0;
  Closure closure;
  std::string text;
  bool closed_when_told = false;
  bool refuse_head = false, refuse_body = false;
  std::function<void()> then_open, then_read_end, then_closed;
};

// A server that answers what `answers` says, by target, and one client.
struct Scene {
  explicit Scene(ScriptedServer::OnRequest on_request)
      : server(loop, std::move(on_request)), client(loop) {
    server.start();
  }
  Loop loop;
  ScriptedServer server;
  Client client;
};

using Peer = ScriptedServer::Peer;

}  // namespace

TEST_CASE("a connection is closed, then open, and counts what goes over it") {
  Scene scene([](Peer& peer, const std::string& target) { peer.send(ok("body of " + target)); });
  Client& client = scene.client;
  CHECK(client.connection.is_closed());
  CHECK_FALSE(client.connection.is_open());
  REQUIRE(client.connection.connect(scene.server.address()) == 0);
  CHECK_FALSE(client.connection.is_closed());
  CHECK_FALSE(client.connection.is_open());
  REQUIRE(run_until(scene.loop, [&] { return client.connection.is_open(); }));
  CHECK(client.events == std::vector<std::string>{"open"});

  client.get("/a");
  CHECK(client.connection.outstanding() == 1);
  CHECK(client.connection.sent() == 1);
  CHECK(client.connection.responses() == 0);
  REQUIRE(run_until(scene.loop, [&] { return client.bodies.size() == 1; }));
  CHECK(client.bodies[0] == "body of /a");
  CHECK(client.connection.outstanding() == 0);
  CHECK(client.connection.responses() == 1);
  CHECK(client.connection.is_open());
}

TEST_CASE("responses to pipelined requests come in their order") {
  Scene scene([](Peer& peer, const std::string& target) { peer.send(ok(target)); });
  Client& client = scene.client;
  REQUIRE(client.open(scene.server.address()));
  std::string requests;
  std::vector<std::string> targets;
  for (int i = 0; i < 500; ++i) {
    targets.push_back("/" + std::to_string(i));
    requests += "GET " + targets.back() + " HTTP/1.1\r\nHost: h\r\n\r\n";
  }
  client.connection.send(requests, 500);
  REQUIRE(run_until(scene.loop, [&] { return client.bodies.size() == 500; }));
  CHECK(client.bodies == targets);
  CHECK(client.connection.outstanding() == 0);
  CHECK(client.closures == 0);
}

TEST_CASE("responses that come byte by byte are the same, with an end of read for each read") {
  Scene scene([](Peer&, const std::string&) {});
  Client& client = scene.client;
  REQUIRE(client.open(scene.server.address()));
  client.get("/a");
  client.get("/b");
  REQUIRE(run_until(scene.loop, [&] { return scene.server.targets.size() == 2; }));
  const std::string answers = "HTTP/1.1 100 Continue\r\n\r\n" + ok("first") +
                              "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
                              chunk("sec") + chunk("ond") + chunk("");
  for (size_t i = 0; i < answers.size(); ++i) {
    scene.server.peers[0]->send(answers.substr(i, 1));
    const int before = client.read_ends;
    REQUIRE(run_until(scene.loop, [&] { return client.read_ends > before; }));
  }
  CHECK(client.bodies == std::vector<std::string>{"first", "second"});
  CHECK(client.connection.is_open());
}

TEST_CASE("closure: a connection that is refused") {
  Loop loop;
  ScriptedServer server(loop, [](Peer&, const std::string&) {});
  Client client(loop);
  REQUIRE(client.connection.connect(server.address()) == 0);
  REQUIRE(client.wait_closed());
  CHECK(client.closure.cause == Cause::connect_failed);
  CHECK(client.closure.uv_error == UV_ECONNREFUSED);
  CHECK(client.closure.unanswered == 0);
  CHECK(client.closure.responses == 0);
  CHECK_FALSE(client.closure.in_response);
  CHECK(client.closed_when_told);
  CHECK(client.events == std::vector<std::string>{"closed"});
}

TEST_CASE("a connection that cannot be tried says so at once, without a callback") {
  Loop loop;
  Client client(loop);
  CHECK(client.connection.connect(SocketAddress{}) < 0);
  CHECK(client.connection.is_closed());
  loop.run();
  CHECK(client.events.empty());
}

TEST_CASE("closure: the origin ends an idle connection") {
  Scene scene([](Peer& peer, const std::string&) {
    peer.send(ok("x"));
    peer.end();
  });
  Client& client = scene.client;
  REQUIRE(client.open(scene.server.address()));
  client.get("/a");
  REQUIRE(client.wait_closed());
  CHECK(client.bodies.size() == 1);
  CHECK(client.closure.cause == Cause::ended);
  CHECK(client.closure.uv_error == 0);
  CHECK(client.closure.fault == Fault::none);
  CHECK(client.closure.unanswered == 0);
  CHECK(client.closure.responses == 1);
  CHECK_FALSE(client.closure.in_response);
}

TEST_CASE("closure: the origin ends before it has answered") {
  Scene scene([](Peer& peer, const std::string& target) {
    if (target == "/b") peer.end();
  });
  Client& client = scene.client;
  REQUIRE(client.open(scene.server.address()));
  client.get("/a");
  client.get("/b");
  REQUIRE(client.wait_closed());
  CHECK(client.closure.cause == Cause::ended);
  CHECK(client.closure.uv_error == 0);
  CHECK(client.closure.unanswered == 2);
  CHECK(client.closure.responses == 0);
  CHECK_FALSE(client.closure.in_response);
}

TEST_CASE("closure: the origin ends at any byte inside a response") {
  const std::string whole = response("200 OK", "X-Filler: y\r\n", "0123456789");
  for (size_t length = 1; length < whole.size(); ++length) {
    CAPTURE(length);
    Scene scene([&](Peer& peer, const std::string& target) {
      if (target != "/b") return;
      peer.send(ok("answer to a") + whole.substr(0, length));
      peer.end();
    });
    Client& client = scene.client;
    REQUIRE(client.open(scene.server.address()));
    client.get("/a");
    client.get("/b");
    REQUIRE(client.wait_closed());
    CHECK(client.bodies == std::vector<std::string>{"answer to a"});
    CHECK(client.closure.cause == Cause::ended);
    CHECK(client.closure.fault == Fault::truncated);
    CHECK(client.closure.unanswered == 1);
    CHECK(client.closure.responses == 1);
    CHECK(client.closure.in_response);
  }
}

TEST_CASE("closure: a reset, before and inside a response") {
  for (const std::string& sent : {std::string(), ok("0123456789").substr(0, 45)}) {
    Scene scene([&](Peer& peer, const std::string&) { peer.send(sent); });
    Client& client = scene.client;
    REQUIRE(client.open(scene.server.address()));
    client.get("/a");
    REQUIRE(run_until(scene.loop, [&] {
      return scene.server.targets.size() == 1 && (sent.empty() || client.body.size() > 0);
    }));
    scene.server.peers[0]->reset();
    REQUIRE(client.wait_closed());
    CHECK(client.closure.cause == Cause::ended);
    CHECK(client.closure.uv_error == UV_ECONNRESET);
    CHECK(client.closure.unanswered == 1);
    CHECK(client.closure.in_response == !sent.empty());
    CHECK(client.bodies.empty());
  }
}

TEST_CASE("closure: an announced close leaves the requests behind it unanswered") {
  Scene scene([](Peer& peer, const std::string& target) {
    // Whatever comes behind the announcement must not be read as an answer.
    if (target == "/a") peer.send(response("200 OK", "Connection: close\r\n", "a") + ok("b"));
  });
  Client& client = scene.client;
  REQUIRE(client.open(scene.server.address()));
  client.get("/a");
  client.get("/b");
  client.get("/c");
  REQUIRE(client.wait_closed());
  CHECK(client.bodies == std::vector<std::string>{"a"});
  CHECK(client.closure.cause == Cause::announced);
  CHECK(client.closure.unanswered == 2);
  CHECK(client.closure.responses == 1);
  CHECK_FALSE(client.closure.in_response);
}

TEST_CASE("closure: bytes on an idle connection") {
  Scene scene([](Peer&, const std::string&) {});
  scene.server.on_accept = [](Peer& peer) { peer.send("HTTP/1.1 200 OK\r\n"); };
  Client& client = scene.client;
  REQUIRE(client.open(scene.server.address()));
  REQUIRE(client.wait_closed());
  CHECK(client.closure.cause == Cause::bad_response);
  CHECK(client.closure.fault == Fault::surplus);
  CHECK(client.closure.unanswered == 0);
  CHECK_FALSE(client.text.empty());
  CHECK(client.bodies.empty());
}

TEST_CASE("closure: bytes behind the last response that was asked for") {
  Scene scene([](Peer& peer, const std::string&) { peer.send(ok("a") + "x"); });
  Client& client = scene.client;
  REQUIRE(client.open(scene.server.address()));
  client.get("/a");
  REQUIRE(client.wait_closed());
  CHECK(client.bodies == std::vector<std::string>{"a"});
  CHECK(client.closure.cause == Cause::bad_response);
  CHECK(client.closure.fault == Fault::stray_bytes);
  CHECK(client.closure.unanswered == 0);
  CHECK(client.closure.responses == 1);
}

TEST_CASE("closure: a response that cannot be delimited safely") {
  for (const char* bad :
       {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "garbage\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 999 What\r\n\r\n"}) {
    CAPTURE(std::string(bad));
    Scene scene([&](Peer& peer, const std::string& target) {
      if (target == "/b") peer.send(ok("a") + bad);
    });
    Client& client = scene.client;
    REQUIRE(client.open(scene.server.address()));
    client.get("/a");
    client.get("/b");
    client.get("/c");
    REQUIRE(client.wait_closed());
    CHECK(client.closure.cause == Cause::bad_response);
    CHECK(client.closure.fault == Fault::bad_framing);
    CHECK(client.closure.unanswered == 2);
    CHECK(client.closure.responses == 1);
    CHECK_FALSE(client.text.empty());
  }
}

TEST_CASE("closure: the handler refuses a head or a body") {
  for (const bool head : {true, false}) {
    Scene scene([](Peer& peer, const std::string&) { peer.send(ok("body")); });
    Client& client = scene.client;
    client.refuse_head = head;
    client.refuse_body = !head;
    REQUIRE(client.open(scene.server.address()));
    client.get("/a");
    client.get("/b");
    REQUIRE(client.wait_closed());
    CHECK(client.closure.cause == Cause::refused);
    CHECK(client.closure.unanswered == 2);
    CHECK(client.closure.responses == 0);
    CHECK(client.closure.in_response);
    CHECK(client.bodies.empty());
    run_what_is_there(scene.loop);
    CHECK(client.closures == 1);
  }
}

TEST_CASE("a body that only the end of the connection delimits is completed by an orderly end") {
  Scene scene([](Peer& peer, const std::string&) {
    peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
    peer.end();
  });
  Client& client = scene.client;
  REQUIRE(client.open(scene.server.address()));
  client.get("/a");
  client.get("/b");
  REQUIRE(client.wait_closed());
  CHECK(client.bodies == std::vector<std::string>{"all of it"});
  CHECK(client.closure.cause == Cause::announced);
  CHECK(client.closure.unanswered == 1);
  CHECK(client.closure.responses == 1);
  CHECK_FALSE(client.closure.in_response);
}

TEST_CASE("a body without a length is refused as soon as further answers could follow it") {
  std::string field;
  bool late = false;
  SUBCASE("asked for before") {}
  SUBCASE("asked for before, on a connection that stays") {
    field = "Connection: keep-alive\r\n";
  }
  SUBCASE("asked for behind its head") {
    late = true;
  }
  Scene scene([&](Peer& peer, const std::string& target) {
    if (target == "/a") return peer.send("HTTP/1.1 200 OK\r\n" + field + "\r\nall of it");
    peer.send(ok("the next"));
    peer.end();
  });
  Client& client = scene.client;
  REQUIRE(client.open(scene.server.address()));
  client.get("/a");
  if (late) REQUIRE(run_until(scene.loop, [&] { return client.body == "all of it"; }));
  client.get("/b");
  REQUIRE(client.wait_closed());
  CHECK(client.bodies.empty());
  CHECK(client.closure.cause == Cause::bad_response);
  CHECK(client.text.find("without a length") != std::string::npos);
  CHECK(client.closure.unanswered == 2);
}

TEST_CASE("a body that only the end of the connection delimits is not completed by a reset") {
  Scene scene([](Peer& peer, const std::string&) { peer.send("HTTP/1.1 200 OK\r\n\r\nhalf of"); });
  Client& client = scene.client;
  REQUIRE(client.open(scene.server.address()));
  client.get("/a");
  SUBCASE("when reading finds the reset") {
    REQUIRE(run_until(scene.loop, [&] { return client.body == "half of"; }));
    scene.server.peers[0]->reset();
  }
  SUBCASE("when bytes and reset come together") {
    REQUIRE(run_until(scene.loop, [&] { return scene.server.targets.size() == 1; }));
    scene.server.peers[0]->reset();
  }
  SUBCASE("when a further request finds the reset") {
    REQUIRE(run_until(scene.loop, [&] { return scene.server.targets.size() == 1; }));
    scene.server.peers[0]->reset();
    client.then_read_end = [&] { client.get("/b"); };
  }
  REQUIRE(client.wait_closed());
  CHECK(client.bodies.empty());
  CHECK(client.closure.cause == Cause::ended);
  CHECK(client.closure.in_response);
  CHECK(client.closure.responses == 0);
}

TEST_CASE("connecting again inside on_closed works, with fresh counters") {
  Scene scene([](Peer& peer, const std::string& target) {
    if (peer.number == 1) {
      peer.send(ok("first") + "stray");
    } else {
      peer.send(ok(target));
    }
  });
  Client& client = scene.client;
  int status = -1;
  client.then_closed = [&] {
    if (client.closures == 1) status = client.connection.connect(scene.server.address());
  };
  REQUIRE(client.open(scene.server.address()));
  client.get("/a");
  REQUIRE(run_until(scene.loop, [&] { return client.closures == 1; }));
  CHECK(status == 0);
  REQUIRE(run_until(scene.loop, [&] { return client.connection.is_open(); }));
  CHECK(client.connection.outstanding() == 0);
  CHECK(client.connection.sent() == 0);
  CHECK(client.connection.responses() == 0);
  client.get("/again");
  REQUIRE(run_until(scene.loop, [&] { return client.bodies.size() == 2; }));
  CHECK(client.bodies[1] == "/again");
  CHECK(client.closures == 1);
}

TEST_CASE("connecting again after every kind of closure gives a clean parser") {
  const std::vector<std::string> ends = {
      "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "HTTP/1.1 20", "garbage",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"};
  Scene scene([&](Peer& peer, const std::string& target) {
    if (peer.number <= ends.size()) {
      peer.send(ends[peer.number - 1]);
      peer.end();
    } else {
      peer.send(ok(target));
    }
  });
  Client& client = scene.client;
  for (size_t i = 0; i < ends.size(); ++i) {
    client.closures = 0;
    REQUIRE(client.open(scene.server.address()));
    client.get("/a");
    REQUIRE(client.wait_closed());
    CHECK(client.bodies.empty());
  }
  client.closures = 0;
  REQUIRE(client.open(scene.server.address()));
  client.get("/last");
  REQUIRE(run_until(scene.loop, [&] { return client.bodies.size() == 1; }));
  CHECK(client.bodies[0] == "/last");
}

TEST_CASE("close says nothing more, and forgets what was unanswered") {
  Scene scene([](Peer& peer, const std::string& target) { peer.send(ok(target)); });
  Client& client = scene.client;
  SUBCASE("in on_open") {
    client.then_open = [&] { client.connection.close(); };
    REQUIRE(client.connection.connect(scene.server.address()) == 0);
    REQUIRE(run_until(scene.loop, [&] { return client.events.size() == 1; }));
  }
  SUBCASE("in on_read_end") {
    client.then_read_end = [&] { client.connection.close(); };
    REQUIRE(client.open(scene.server.address()));
    client.get("/a");
    REQUIRE(run_until(scene.loop, [&] { return client.read_ends == 1; }));
  }
  SUBCASE("with requests on their way") {
    REQUIRE(client.open(scene.server.address()));
    client.get("/a");
    client.get("/b");
    client.connection.close();
  }
  SUBCASE("while connecting") {
    REQUIRE(client.connection.connect(scene.server.address()) == 0);
    client.connection.close();
  }
  CHECK(client.connection.is_closed());
  CHECK_FALSE(client.connection.is_open());
  CHECK(client.connection.outstanding() == 0);
  const size_t told = client.events.size();
  run_what_is_there(scene.loop);
  CHECK(client.events.size() == told);
  CHECK(client.closures == 0);

  client.then_open = client.then_read_end = {};
  REQUIRE(client.open(scene.server.address()));
  client.bodies.clear();
  client.get("/again");
  REQUIRE(run_until(scene.loop, [&] { return client.bodies.size() == 1; }));
  CHECK(client.bodies[0] == "/again");
}

TEST_CASE("the end of a read is not told when the connection closed in it") {
  Scene scene([](Peer& peer, const std::string&) { peer.send(ok("a") + "stray"); });
  Client& client = scene.client;
  REQUIRE(client.open(scene.server.address()));
  client.get("/a");
  REQUIRE(client.wait_closed());
  CHECK(client.read_ends == 0);
}

TEST_CASE("life shows in the origin's bytes, and in a request only after idleness") {
  Scene scene([](Peer&, const std::string&) {});
  Client& client = scene.client;
  const auto let_time_pass = [&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    uv_update_time(scene.loop.uv());
  };
  REQUIRE(client.open(scene.server.address()));
  const TimePoint opened = client.connection.last_activity();
  let_time_pass();
  client.get("/a");
  const TimePoint first = client.connection.last_activity();
  CHECK(first > opened);
  let_time_pass();
  client.get("/b");
  CHECK_MESSAGE(client.connection.last_activity() == first,
                "a request behind an unanswered one is no sign of the origin's life");
  let_time_pass();
  REQUIRE(run_until(scene.loop, [&] { return scene.server.targets.size() == 2; }));
  scene.server.peers[0]->send("H");
  REQUIRE(run_until(scene.loop, [&] { return client.read_ends == 1; }));
  CHECK(client.connection.last_activity() > first);
}
