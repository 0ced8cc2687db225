#include "net/http_server.h"

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <vector>

#include "base/temp_folder.h"
#include "net/drive.h"
#include "net/raw_socket.h"

using namespace gigafetch;
using namespace gigafetch::net;
using namespace gigafetch::testing;

namespace {

std::string reply(std::string_view body) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}
std::string get(std::string_view target) {
  return "GET " + std::string(target) + " HTTP/1.1\r\nHost: h\r\n\r\n";
}

// Answers with the target as the body, but for a few targets that ask for another end.
struct Echo : HttpServer::Handler {
  explicit Echo(Loop& loop_) : loop(loop_) {}
  AfterReply on_request(const http::Request& request, std::string& out) override {
    targets.emplace_back(request.target);
    gets += request.is_get ? 1 : 0;
    asked_at = loop.now();
    if (request.target == "/reset") return AfterReply::reset;
    if (request.target == "/big") {
      out += reply(std::string(big, 'b'));
      return AfterReply::keep;
    }
    out += reply(request.target);
    if (request.target == "/close") return AfterReply::close;
    if (request.target == "/stall") return AfterReply::stall;
    return AfterReply::keep;
  }
  Loop& loop;
  std::vector<std::string> targets;
  size_t gets = 0;
  size_t big = 1024;
  TimePoint asked_at;
};

struct Scene {
  explicit Scene(Millis lag = Millis(0)) : echo(loop), server(loop, echo, lag) {
    Result<UniqueFd> listening = listen_tcp("127.0.0.1", port);
    if (listening) serving = server.serve(std::move(listening).value()).ok();
  }
  std::unique_ptr<RawSocket> client() {
    return std::make_unique<RawSocket>(loop, connect_client(port));
  }
  bool until(const std::function<bool()>& done) { return run_until(loop, done); }

  Loop loop;
  Echo echo;
  HttpServer server;
  uint16_t port = 0;
  bool serving = false;
};

}  // namespace

TEST_CASE("pipelined requests are answered in their order") {
  Scene scene;
  REQUIRE(scene.serving);
  auto client = scene.client();
  std::string requests, replies;
  for (int i = 0; i < 5000; ++i) {
    const std::string target = "/" + std::to_string(i);
    requests += get(target);
    replies += reply(target);
  }
  client->send(requests);
  REQUIRE(scene.until([&] { return client->received.size() >= replies.size(); }));
  CHECK(client->received == replies);
  CHECK(scene.echo.gets == 5000);
}

TEST_CASE("a request that comes byte by byte is answered once it is whole") {
  Scene scene;
  auto client = scene.client();
  const std::string request = get("/slow");
  for (size_t i = 0; i < request.size(); ++i) {
    client->send(request.substr(i, 1));
    run_what_is_there(scene.loop);
    if (i + 1 < request.size()) CHECK(client->received.empty());
  }
  REQUIRE(scene.until([&] { return !client->received.empty(); }));
  CHECK(client->received == reply("/slow"));
}

TEST_CASE("many clients are served beside each other") {
  Scene scene;
  std::vector<std::unique_ptr<RawSocket>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(scene.client());
    clients.back()->send(get("/" + std::to_string(i)));
  }
  REQUIRE(scene.until([&] {
    for (const auto& client : clients) {
      if (client->received.empty()) return false;
    }
    return true;
  }));
  for (size_t i = 0; i < clients.size(); ++i) {
    CHECK(clients[i]->received == reply("/" + std::to_string(i)));
  }
}

TEST_CASE("what is no request is answered 400, behind the requests before it, and the end") {
  for (const char* garbage : {"garbage\r\n\r\n", "GET\r\n\r\n", "GET /x HTTP/9.9\r\n\r\n",
                              "\x16\x03\x01\x02\x00\x01\x00\x01"}) {
    CAPTURE(std::string(garbage));
    Scene scene;
    auto client = scene.client();
    client->send(get("/good") + garbage);
    REQUIRE(scene.until([&] { return client->gone(); }));
    CHECK(client->ended());
    CHECK(client->received.starts_with(reply("/good") + "HTTP/1.1 400 "));
    CHECK(client->received.find("Connection: close\r\n") != std::string::npos);
    CHECK(scene.echo.targets == std::vector<std::string>{"/good"});
  }
}

TEST_CASE("a request without end is answered 400") {
  Scene scene;
  auto client = scene.client();
  client->send("GET /" + std::string(200'000, 'x'));
  REQUIRE(scene.until([&] { return client->gone(); }));
  CHECK(client->received.starts_with("HTTP/1.1 400 "));
}

TEST_CASE("requests that are no GETs are passed on as such, with their bodies swallowed") {
  Scene scene;
  auto client = scene.client();
  client->send("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /" + get("/next"));
  const std::string replies = reply("/p") + reply("/next");
  REQUIRE(scene.until([&] { return client->received.size() >= replies.size(); }));
  CHECK(client->received == replies);
  CHECK(scene.echo.targets == std::vector<std::string>{"/p", "/next"});
  CHECK(scene.echo.gets == 1);
}

TEST_CASE("a client that wants the connection closed gets its answer and the end") {
  for (const char* request : {"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                              "GET /a HTTP/1.0\r\nHost: h\r\n\r\n"}) {
    Scene scene;
    auto client = scene.client();
    client->send(request);
    REQUIRE(scene.until([&] { return client->gone(); }));
    CHECK(client->ended());
    CHECK(client->received == reply("/a"));
  }
}

TEST_CASE("after a reply that closes, nothing more is answered, and no answer is lost") {
  for (const int lag : {0, 5}) {
    CAPTURE(lag);
    Scene scene{Millis(lag)};
    auto client = scene.client();
    client->send(get("/a") + get("/close") + get("/behind"));
    REQUIRE(scene.until([&] { return client->gone(); }));
    CHECK(client->ended());
    CHECK(client->received == reply("/a") + reply("/close"));
    client->send(get("/later"));
    run_what_is_there(scene.loop);
    CHECK(scene.echo.targets == std::vector<std::string>{"/a", "/close"});
  }
}

TEST_CASE("a reply that resets breaks the connection") {
  for (const int lag : {0, 5}) {
    CAPTURE(lag);
    Scene scene{Millis(lag)};
    auto client = scene.client();
    client->send(get("/reset"));
    REQUIRE(scene.until([&] { return client->gone(); }));
    CHECK(client->error() == ECONNRESET);
    CHECK(client->received.empty());
  }
}

TEST_CASE("a reply that stalls keeps the connection, silent, while others are served") {
  Scene scene;
  auto stalled = scene.client();
  stalled->send(get("/stall"));
  REQUIRE(scene.until([&] { return stalled->received == reply("/stall"); }));
  stalled->send(get("/behind"));
  auto other = scene.client();
  other->send(get("/other"));
  REQUIRE(scene.until([&] { return other->received == reply("/other"); }));
  run_what_is_there(scene.loop);
  CHECK(stalled->received == reply("/stall"));
  CHECK_FALSE(stalled->gone());
  CHECK(scene.echo.targets == std::vector<std::string>{"/stall", "/other"});
}

TEST_CASE("replies leave a lag after their requests, in order") {
  Scene scene(Millis(25));
  auto client = scene.client();
  client->send(get("/a"));
  REQUIRE(scene.until([&] { return scene.echo.targets.size() == 1; }));
  const TimePoint asked = scene.echo.asked_at;
  client->send(get("/b") + get("/c"));
  REQUIRE(scene.until([&] { return !client->received.empty(); }));
  CHECK(scene.loop.now() - asked >= Millis(25));
  const std::string replies = reply("/a") + reply("/b") + reply("/c");
  REQUIRE(scene.until([&] { return client->received.size() >= replies.size(); }));
  CHECK(client->received == replies);
}

TEST_CASE("a client may leave while its reply waits for the lag") {
  Scene scene(Millis(10));
  auto leaving = scene.client();
  leaving->send(get("/a"));
  REQUIRE(scene.until([&] { return scene.echo.targets.size() == 1; }));
  leaving->reset();
  auto staying = scene.client();
  staying->send(get("/b"));
  REQUIRE(scene.until([&] { return staying->received == reply("/b"); }));
}

TEST_CASE("a client that does not read is not read from, and loses nothing") {
  Scene scene;
  auto client = scene.client();
  client->set_reading(false);
  constexpr size_t kRequests = 200'000;
  std::string requests;
  for (size_t i = 0; i < kRequests; ++i) {
    requests += get("/big");
  }
  client->send(requests);
  // Both sides are in this loop: when several turns bring nothing, nothing more will come.
  for (size_t quiet = 0, seen = 0; quiet < 20;) {
    run_what_is_there(scene.loop);
    quiet = scene.echo.gets == seen ? quiet + 1 : 0;
    seen = scene.echo.gets;
  }
  CHECK(scene.echo.gets > 0);
  CHECK_MESSAGE(scene.echo.gets < kRequests / 2,
                "it goes on answering a client that does not read");

  client->set_reading(true);
  const std::string one = reply(std::string(1024, 'b'));
  REQUIRE(scene.until([&] { return client->received.size() >= one.size() * kRequests; }));
  CHECK(scene.echo.gets == kRequests);
  CHECK(client->received.size() == one.size() * kRequests);
  bool intact = true;
  for (size_t at = 0; at < client->received.size(); at += one.size()) {
    intact = intact && client->received.compare(at, one.size(), one) == 0;
  }
  CHECK(intact);
}

TEST_CASE("a client that sends on while its replies wait for the lag is not read from for ever") {
  Scene scene(Millis(3'600'000));
  auto client = scene.client();
  constexpr size_t kRequests = 200'000;
  std::string requests;
  for (size_t i = 0; i < kRequests; ++i) {
    requests += get("/big");
  }
  client->send(requests);
  for (size_t quiet = 0, seen = 0; quiet < 20;) {
    run_what_is_there(scene.loop);
    quiet = scene.echo.gets == seen ? quiet + 1 : 0;
    seen = scene.echo.gets;
  }
  CHECK(scene.echo.gets > 0);
  CHECK_MESSAGE(scene.echo.gets < kRequests / 2, "replies are heaped up without a bound");
}

TEST_CASE("large replies are made one by one, as the client reads them") {
  for (const int lag : {0, 5}) {
    CAPTURE(lag);
    Scene scene{Millis(lag)};
    scene.echo.big = 8 * 1024 * 1024;
    auto client = scene.client();
    client->set_reading(false);
    std::string requests;
    for (int i = 0; i < 16; ++i)
      requests += get("/big");
    client->send(requests + get("/last"));
    REQUIRE(scene.until([&] { return scene.echo.gets > 0; }));
    for (int turn = 0; turn < 100; ++turn)
      run_what_is_there(scene.loop);
    // What the kernel takes may be one of them.
    CHECK(scene.echo.gets <= 2);

    client->set_reading(true);
    const std::string one = reply(std::string(scene.echo.big, 'b'));
    const size_t whole = 16 * one.size() + reply("/last").size();
    REQUIRE(scene.until([&] { return client->received.size() >= whole; }));
    CHECK(client->received.size() == whole);
    CHECK(client->received.ends_with(one + reply("/last")));
    CHECK(scene.echo.gets == 17);
  }
}

TEST_CASE("what follows a reply that closes is ignored, also when it was held back") {
  for (const int lag : {0, 5}) {
    CAPTURE(lag);
    Scene scene{Millis(lag)};
    scene.echo.big = 8 * 1024 * 1024;
    auto client = scene.client();
    client->send(get("/big") + get("/big") + get("/close") + get("/behind"));
    REQUIRE(scene.until([&] { return client->gone(); }));
    CHECK(client->ended());
    CHECK(client->received.size() ==
          2 * reply(std::string(scene.echo.big, 'b')).size() + reply("/close").size());
    CHECK(scene.echo.gets == 3);
  }
}

TEST_CASE("a client that goes away while it is not read from is let go") {
  Scene scene;
  scene.echo.big = 8 * 1024 * 1024;
  auto warm_up = scene.client();
  warm_up->send(get("/a"));
  REQUIRE(scene.until([&] { return !warm_up->received.empty(); }));
  const size_t before = open_descriptors();
  for (int i = 0; i < 5; ++i) {
    auto client = scene.client();
    client->set_reading(false);
    client->send(get("/big"));
    const size_t asked = scene.echo.targets.size();
    REQUIRE(scene.until([&] { return scene.echo.targets.size() > asked; }));
    run_what_is_there(scene.loop);
    client->reset();
  }
  for (int turn = 0; turn < 100 && open_descriptors() > before; ++turn) {
    run_what_is_there(scene.loop);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("a big reply in front of a close goes out whole") {
  Scene scene;
  scene.echo.big = 8 * 1024 * 1024;
  auto client = scene.client();
  client->send(get("/big") + get("/close"));
  REQUIRE(scene.until([&] { return client->gone(); }));
  CHECK(client->ended());
  CHECK(client->received == reply(std::string(scene.echo.big, 'b')) + reply("/close"));
}

TEST_CASE("a server may go while clients are connected, waiting and stalled") {
  Loop loop;
  Echo echo(loop);
  uint16_t port = 0;
  std::vector<std::unique_ptr<RawSocket>> clients;
  {
    HttpServer server(loop, echo, Millis(1000));
    Result<UniqueFd> listening = listen_tcp("127.0.0.1", port);
    REQUIRE(listening);
    REQUIRE(server.serve(std::move(listening).value()));
    for (int i = 0; i < 3; ++i) {
      clients.push_back(std::make_unique<RawSocket>(loop, connect_client(port)));
    }
    clients[0]->send(get("/a"));
    clients[1]->send(get("/stall"));
    REQUIRE(run_until(loop, [&] { return echo.targets.size() == 2; }));
  }
  REQUIRE(run_until(
      loop, [&] { return clients[0]->gone() && clients[1]->gone() && clients[2]->gone(); }));
}

TEST_CASE("a socket that cannot be served is refused") {
  Loop loop;
  Echo echo(loop);
  HttpServer server(loop, echo, Millis(0));
  const Result<void> refused = server.serve(UniqueFd());
  REQUIRE_FALSE(refused);
  CHECK_FALSE(refused.failure().text.empty());
}

TEST_CASE("port 0 picks a free port and tells it; connections wait from then on") {
  uint16_t port = 0;
  const Result<UniqueFd> listening = listen_tcp("127.0.0.1", port);
  REQUIRE(listening);
  CHECK(port != 0);
  CHECK(connect_client(port));
}

TEST_CASE("several sockets can listen on one port, for several processes") {
  uint16_t port = 0;
  const Result<UniqueFd> first = listen_tcp("127.0.0.1", port);
  REQUIRE(first);
  const uint16_t picked = port;
  const Result<UniqueFd> second = listen_tcp("127.0.0.1", port);
  CHECK(second);
  CHECK(port == picked);
}

TEST_CASE("a port that somebody else has is refused, with the address") {
  uint16_t port = 0;
  const UniqueFd taken = bound_socket(port);
  REQUIRE(::listen(taken.get(), 1) == 0);
  const std::string address = "127.0.0.1:" + std::to_string(port);
  const Result<UniqueFd> refused = listen_tcp("127.0.0.1", port);
  REQUIRE_FALSE(refused);
  CHECK(refused.failure().text.find(address) != std::string::npos);
}

TEST_CASE("a host that is no address is refused as wrong usage") {
  uint16_t port = 0;
  const Result<UniqueFd> refused = listen_tcp("localhost", port);
  REQUIRE_FALSE(refused);
  CHECK(refused.failure().code == ErrorCode::usage);
}
