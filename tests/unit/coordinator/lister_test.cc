#include "coordinator/lister.h"

#include <doctest/doctest.h>
#include <poll.h>

#include <algorithm>
#include <functional>
#include <map>

#include "net/drive.h"
#include "net/scripted_server.h"

using namespace gigafetch;
using namespace gigafetch::coordinator;
using namespace gigafetch::testing;

namespace {

using Peer = ScriptedServer::Peer;
using Names = std::vector<std::string>;

std::string page(const Names& names, const std::string& marker = "") {
  std::string json = "{\"FileNames\":[";
  for (const std::string& name : names) {
    json += (json.ends_with('[') ? "\"" : ",\"") + name + "\"";
  }
  json += "]";
  if (!marker.empty()) json += ",\"NextMarker\":\"" + marker + "\"";
  return json + "}";
}

struct Collector final : listing::NameReceiver {
  bool on_name(std::string_view name) override {
    names.emplace_back(name);
    return stop_behind == 0 || names.size() % stop_behind != 0;
  }
  bool on_bad_name(std::string_view shown, FailureClass, std::string_view) override {
    names.push_back("bad:" + std::string(shown));
    return true;
  }
  Names names;
  size_t stop_behind = 0;  // names of a piece; 0: no end
};

struct Client final : Lister::Client {
  bool wants_page() override { return wants; }
  Result<uint64_t> on_page(listing::PageReader& reader,
                           const std::optional<std::string>& next) override {
    ended = !next;
    visits.push_back(is_visit && is_visit());
    nexts.push_back(next.value_or("(none)"));
    if (before_names) before_names();
    Collector collector;
    if (Result<void> read = reader.read_names(collector); !read) {
      return std::move(read).failure();
    }
    pages.push_back(collector.names);
    if (refuse) return error(ErrorCode::no_space, "no room for the page");
    return collector.names.size();
  }
  bool on_stream_begin(const std::optional<std::string>& asked_by, bool visit) override {
    visits.push_back(visit);
    streams.push_back(asked_by.value_or("(none)"));
    stream = {};
    stream.stop_behind = 1000;
    return !visit;
  }
  listing::NameReceiver& stream_receiver() override { return stream; }
  Result<Flow> on_piece() override {
    if (stream.names.size() / 1000 == pieces) return Flow::none;
    ++pieces;
    if (enough_behind > 0 && pieces == enough_behind) return Flow::enough;
    return wants ? Flow::more : Flow::pause;
  }
  Result<uint64_t> on_stream_end(const std::optional<std::string>& next) override {
    ended = !next;
    nexts.push_back(next.value_or("(none)"));
    pages.push_back(stream.names);
    pieces = 0;
    return stream.names.size();
  }
  bool on_marker_refused() override {
    ++refusals;
    return restart && restart();
  }
  void on_page_asked(const std::string& page, Millis patience) override {
    asked = page;
    asked_patience = patience;
  }
  void on_origin_alive() override { ++alive; }
  void on_origin_trouble(const std::string& text) override { troubles.push_back(text); }
  void on_listing_failed(const Error& why) override {
    ++failures;
    failure = why;
  }

  bool wants = true;
  bool refuse = false;
  std::function<void()> before_names;
  std::function<bool()> is_visit;
  std::function<bool()> restart;  // the listing, when a marker is refused
  Collector stream;
  size_t pieces = 0;  // of it, so far
  size_t enough_behind = 0;
  Names streams;  // the markers that ask for pages read as they come
  std::vector<Names> pages;
  std::vector<bool> visits;  // which of the pages were visited again
  Names nexts;               // their markers
  std::string asked;         // the last page asked for
  Millis asked_patience{0};
  int refusals = 0;
  bool ended = false;  // the last page has been read
  int alive = 0;
  Names troubles;
  int failures = 0;
  Error failure;
};

ListingSettings quick_settings() {
  ListingSettings settings;
  settings.origin.scheme = "http";
  settings.origin.host = "127.0.0.1";
  settings.api = "marker";
  settings.retries = 2;
  return settings;
}

struct Scene {
  explicit Scene(ScriptedServer::OnRequest on_request, ListingSettings with = quick_settings())
      : server(loop, std::move(on_request)),
        settings(std::move(with)),
        dialect(listing::make_dialect("marker", settings.origin.base_path).value()) {
    settings.origin.port = server.port();
    lister = std::make_unique<Lister>(loop, settings, *dialect, client);
    client.is_visit = [this] { return lister->is_visit(); };
  }
  ~Scene() {
    if (lister) lister->stop();
  }

  bool until(const std::function<bool()>& done) { return run_until(loop, done); }
  // Runs the whole listing.
  bool run() {
    server.start();
    lister->start();
    return until([&] { return client.ended || client.failures > 0; });
  }

  net::Loop loop;
  ScriptedServer server;
  ListingSettings settings;
  std::unique_ptr<listing::Dialect> dialect;
  Client client;
  std::unique_ptr<Lister> lister;
};

// A listing of pages by the order in which they are asked for.
ScriptedServer::OnRequest answers(std::vector<std::string> bodies) {
  return [bodies = std::move(bodies), next = size_t{0}](Peer& peer, const std::string&) mutable {
    if (next < bodies.size()) peer.send(ok(bodies[next++]));
  };
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("pages are walked by their markers to the one that has none") {
  Scene scene(answers({page({"a", "b"}, "m1"), page({"c"}, "m2"), page({"d"})}));
  REQUIRE(scene.run());
  CHECK(scene.client.pages == std::vector<Names>{{"a", "b"}, {"c"}, {"d"}});
  CHECK(scene.server.targets == Names{"/list", "/list?next-marker=m1", "/list?next-marker=m2"});
  CHECK(scene.client.ended);
  CHECK(scene.client.failures == 0);
  CHECK(scene.client.alive == 3);
  CHECK(scene.lister->pages() == 3);
  CHECK(scene.lister->requests() == 3);
  CHECK(scene.lister->retries() == 0);
  CHECK(scene.server.peers.size() == 1);
  run_what_is_there(scene.loop);
  CHECK(scene.server.targets.size() == 3);
}

TEST_CASE("a listing asks below the service's base, with the job's headers") {
  ListingSettings settings = quick_settings();
  settings.origin.base_path = "/some/store";
  settings.headers = {{"Authorization", "Bearer secret"}};
  Scene scene(answers({page({}, "m"), page({})}), settings);
  REQUIRE(scene.run());
  CHECK(scene.server.targets == Names{"/some/store/list", "/some/store/list?next-marker=m"});
  for (const std::string& head : scene.server.heads) {
    CHECK(contains(head, "\r\nAuthorization: Bearer secret\r\n"));
    CHECK(contains(head, "\r\nAccept-Encoding: identity\r\n"));
  }
}

TEST_CASE("the next page is asked for before the names of this one are read") {
  Scene scene(answers({page({"a"}, "m1"), page({"b"}, "m2"), page({"c"})}));
  int asked_before = 0;
  scene.client.before_names = [&] {
    if (scene.client.ended) return;
    // The loop is blocked here, so the request has left, or will not come.
    const int fd = scene.server.peers[0]->socket->fd();
    pollfd wait{fd, POLLIN, 0};
    char bytes[1024];
    if (::poll(&wait, 1, 10'000) != 1) return;
    const ssize_t got = ::recv(fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    const std::string marker = scene.client.pages.empty() ? "=m1 " : "=m2 ";
    if (got > 0 && contains(std::string(bytes, static_cast<size_t>(got)), marker)) ++asked_before;
  };
  REQUIRE(scene.run());
  CHECK(asked_before == 2);
  CHECK(scene.client.pages == std::vector<Names>{{"a"}, {"b"}, {"c"}});
}

TEST_CASE("a client that wants no page is not brought one, until it wants more") {
  Scene scene(answers({page({"a"}, "m1"), page({"b"}, "m2"), page({"c"})}));
  scene.client.wants = false;
  scene.server.start();
  scene.lister->start();
  REQUIRE(scene.until([&] { return scene.client.pages.size() == 1; }));
  run_what_is_there(scene.loop);
  CHECK(scene.server.targets == Names{"/list"});

  scene.lister->want_more();
  scene.lister->want_more();
  CHECK(scene.lister->requests() == 2);
  REQUIRE(scene.until([&] { return scene.client.pages.size() == 2; }));
  run_what_is_there(scene.loop);
  CHECK(scene.server.targets.size() == 2);

  scene.lister->want_more();
  REQUIRE(scene.until([&] { return scene.client.ended; }));
  scene.lister->want_more();
  run_what_is_there(scene.loop);
  CHECK(scene.server.targets.size() == 3);
  CHECK(scene.lister->requests() == 3);
}

TEST_CASE("wanting more while a page is being read does no harm to its names") {
  Scene scene(answers({page({"a", "b"}, "m1"), page({"c"}, "m2"), page({"d"})}));
  scene.client.wants = false;
  scene.client.before_names = [&] { scene.lister->want_more(); };
  REQUIRE(scene.run());
  CHECK(scene.client.pages == std::vector<Names>{{"a", "b"}, {"c"}, {"d"}});
  CHECK(scene.lister->requests() == 3);
}

TEST_CASE("a marker goes back as it came, whatever is in it") {
  Scene scene(answers({page({}, "a b&c=d/+%41?#\\u00e9\\\"\\\\"), page({})}));
  REQUIRE(scene.run());
  CHECK(scene.server.targets.back() ==
        "/list?next-marker=a%20b%26c%3Dd%2F%2B%2541%3F%23%C3%A9%22%5C");
}

TEST_CASE("an empty marker, or none that is a string, ends the listing") {
  for (const char* json :
       {"{\"FileNames\":[\"a\"],\"NextMarker\":\"\"}",
        "{\"FileNames\":[\"a\"],\"NextMarker\":null}", "{\"FileNames\":[\"a\"]}"}) {
    Scene scene(answers({json}));
    REQUIRE(scene.run());
    CHECK(scene.client.ended);
    CHECK(scene.client.pages == std::vector<Names>{{"a"}});
  }
}

TEST_CASE("an answer that comes twice is not taken for the next page") {
  size_t asked = 0;
  Scene scene([&](Peer& peer, const std::string& target) {
    ++asked;
    const bool first = target == "/list";
    const std::string whole = ok(first ? page({"a"}, "m1") : page({"b"}));
    // On the connection of the first page the second one is answered by it again.
    peer.send(peer.number == 1 ? ok(page({"a"}, "m1")) : whole);
  });
  REQUIRE(scene.run());
  CHECK(scene.client.pages == std::vector<Names>{{"a"}, {"b"}});
  CHECK(scene.lister->retries() == 1);
  CHECK(asked == 3);
}

TEST_CASE("a listing that goes in a circle ends with an error that names the marker") {
  for (const size_t length : {1u, 2u, 3u, 10u, 100u}) {
    for (const size_t lead : {0u, 1u, 7u}) {
      CAPTURE(length);
      CAPTURE(lead);
      size_t asked = 0;
      Scene scene([&](Peer& peer, const std::string&) {
        const size_t number = asked < lead ? asked : lead + (asked - lead) % length;
        ++asked;
        peer.send(ok(page({"name"}, "marker-" + std::to_string(number))));
      });
      REQUIRE(scene.run());
      CHECK(scene.client.failures == 1);
      CHECK(scene.client.failure.code == ErrorCode::origin);
      CHECK(contains(scene.client.failure.text, "marker-"));
      CHECK(contains(scene.client.failure.text, "circle"));
      CHECK(scene.lister->pages() <= 3 * (length + lead) + 3);
      run_what_is_there(scene.loop);
      CHECK(scene.client.failures == 1);
    }
  }
}

TEST_CASE("ten thousand empty pages in a row end the listing, fewer do not") {
  size_t asked = 0;
  Scene scene([&](Peer& peer, const std::string&) {
    ++asked;
    peer.send(ok(page(asked == 9'999 ? Names{"a"} : Names{}, "m" + std::to_string(asked))));
  });
  REQUIRE(scene.run());
  CHECK(scene.client.failures == 1);
  CHECK(scene.client.failure.code == ErrorCode::origin);
  CHECK(contains(scene.client.failure.text, "empty"));
  CHECK(scene.lister->pages() == 9'999 + 10'000);
}

TEST_CASE("an answer that another try will not change ends the listing, and says what to look at") {
  struct Case {
    std::string status;
    std::string hint;
  };
  for (const Case& c :
       {Case{"404 Not Found", "--api"}, Case{"400 Bad Request", "400"},
        Case{"401 Unauthorized", "--bearer-file"}, Case{"403 Forbidden", "--bearer-file"},
        Case{"501 No", "501"}, Case{"204 No Content", "204"}}) {
    CAPTURE(c.status);
    Scene scene([&](Peer& peer, const std::string&) {
      peer.send(c.status.starts_with("204") ? "HTTP/1.1 204 No Content\r\n\r\n"
                                            : response(c.status, "", "an error page"));
    });
    REQUIRE(scene.run());
    CHECK(scene.client.failure.code == ErrorCode::origin);
    CHECK(contains(scene.client.failure.text, c.status.substr(0, 3)));
    CHECK(contains(scene.client.failure.text, c.hint));
    CHECK(contains(scene.client.failure.text, "GET /list"));
    CHECK(scene.client.alive == 1);
    CHECK(scene.client.pages.empty());
    run_what_is_there(scene.loop);
    CHECK(scene.server.targets.size() == 1);
  }
}

TEST_CASE("an answer that may pass is asked for again, a bounded number of times") {
  Scene scene([](Peer& peer, const std::string&) { peer.send(response("500 Oops", "", "sorry")); });
  REQUIRE(scene.run());
  CHECK(scene.client.failures == 1);
  CHECK(scene.client.failure.code == ErrorCode::origin);
  CHECK(contains(scene.client.failure.text, "500"));
  CHECK(contains(scene.client.failure.text, "3 tries"));
  CHECK(scene.lister->requests() == 3);
  CHECK(scene.lister->retries() == 2);
  CHECK(scene.client.alive == 3);
}

TEST_CASE("a page that comes at a later try is taken, and the next one has all its tries again") {
  size_t asked = 0;
  Scene scene([&](Peer& peer, const std::string& target) {
    // Each page comes at its third and last try.
    if (++asked % 3 != 0) return peer.send(response("503 Busy", "", "busy"));
    peer.send(ok(target == "/list" ? page({"a"}, "m1") : page({"b"})));
  });
  REQUIRE(scene.run());
  CHECK(scene.client.failures == 0);
  CHECK(scene.client.pages == std::vector<Names>{{"a"}, {"b"}});
  CHECK(scene.lister->retries() == 4);
  CHECK(scene.server.targets == Names{"/list", "/list", "/list", "/list?next-marker=m1",
                                      "/list?next-marker=m1", "/list?next-marker=m1"});
}

TEST_CASE("a long error page is not read to its end") {
  Scene scene([](Peer& peer, const std::string&) {
    if (peer.number > 1) return peer.send(ok(page({"a"})));
    peer.send(response("503 Busy", "", std::string(64 * 1024 * 1024, 'e')));
  });
  REQUIRE(scene.run());
  CHECK(scene.client.pages == std::vector<Names>{{"a"}});
  CHECK(scene.lister->retries() == 1);
  CHECK(scene.server.peers[0]->socket->unsent() > 0);
}

TEST_CASE("a body that is no listing ends it, with the page and how it begins") {
  for (const std::string& body :
       {std::string("<html><body>Welcome</body></html>"), std::string(""), std::string("[]"),
        std::string("{\"Names\":[]}"), std::string("{\"FileNames\":[\"a\""),
        std::string("{\"FileNames\":[\"a\"]} {"),
        std::string("{\"FileNames\":[],\"NextMarker\":7}"), std::string("\0\0\0\0", 4)}) {
    CAPTURE(body);
    Scene scene(answers({body}));
    REQUIRE(scene.run());
    CHECK(scene.client.failures == 1);
    CHECK(scene.client.failure.code == ErrorCode::malformed);
    CHECK(contains(scene.client.failure.text, "page 1 (GET /list)"));
    CHECK(scene.client.pages.empty());
    CHECK(scene.server.targets.size() == 1);
  }
}

TEST_CASE("names that are no strings are told as such, and the page goes on") {
  Scene scene(answers({page({"a"}, "m1"), "{\"FileNames\":[\"b\",7,\"c\"]}"}));
  REQUIRE(scene.run());
  CHECK(scene.client.failures == 0);
  CHECK(scene.client.pages == std::vector<Names>{{"a"}, {"b", "bad:7", "c"}});
}

TEST_CASE(
    "a page behind the first that is none is asked for again, with what was asked ahead lost") {
  for (const std::string& bad :
       {ok("<html>"), ok(""), ok(page({"b"}).substr(0, 12)), ok("{\"error\":\"no\"}"),
        ok("{\"NextMarker\":\"m3\",\"FileNames\":[\"b\",x]}"),
        response("404 Not Found", "", "what?"), response("403 No", "", ""),
        std::string("HTTP/1.1 204 No Content\r\n\r\n"),
        response("302 Found", "Location: http://elsewhere/\r\n", "there")}) {
    CAPTURE(bad);
    int asked = 0;
    Scene scene([&](Peer& peer, const std::string& target) {
      if (target == "/list") return peer.send(ok(page({"a"}, "m2")));
      if (target.ends_with("m3")) return peer.send(ok(page({"c"})));
      peer.send(++asked == 1 ? bad : ok(page({"b"}, "m3")));
    });
    REQUIRE(scene.run());
    CHECK(scene.client.failures == 0);
    CHECK(scene.client.pages == std::vector<Names>{{"a"}, {"b"}, {"c"}});
    CHECK(scene.lister->retries() == 1);
  }
}

TEST_CASE(
    "a page that stays none fails with how it begins, and the marker with it when it may be that") {
  Scene html([&](Peer& peer, const std::string& target) {
    peer.send(target == "/list" ? ok(page({"a"}, "m2")) : ok("<html>\x1b[2J"));
  });
  REQUIRE(html.run());
  if (html.client.failures == 0) html.until([&] { return html.client.failures > 0; });
  CHECK(html.client.failure.code == ErrorCode::malformed);
  CHECK(contains(html.client.failure.text, "page 2 (GET /list?next-marker=m2)"));
  CHECK(contains(html.client.failure.text, "<html>\\x1b[2J"));
  CHECK(contains(html.client.failure.text, "3 tries"));
  CHECK(html.client.refusals == 0);

  Scene gone([&](Peer& peer, const std::string& target) {
    peer.send(target == "/list" ? ok(page({"a"}, "m2"))
                                : response("404 Not Found", "", "no such page"));
  });
  REQUIRE(gone.run());
  if (gone.client.failures == 0) gone.until([&] { return gone.client.failures > 0; });
  CHECK(contains(gone.client.failure.text, "'no such page'"));
  CHECK(gone.client.refusals == 1);
  CHECK(gone.server.targets.size() == 4);
}

TEST_CASE("a marker that is gone is not asked for a second time") {
  Scene scene([&](Peer& peer, const std::string& target) {
    peer.send(target == "/list" ? ok(page({"a"}, "m2")) : response("410 Gone", "", ""));
  });
  REQUIRE(scene.run());
  if (scene.client.failures == 0) scene.until([&] { return scene.client.failures > 0; });
  CHECK(scene.client.refusals == 1);
  CHECK(scene.server.targets.size() == 2);
}

TEST_CASE("a marker over 64 KiB ends the listing by name") {
  Scene most(answers({page({"a"}, std::string(64 * 1024, 'm')), page({"b"})}));
  REQUIRE(most.run());
  CHECK(most.client.pages.size() == 2);
  Scene over(answers({page({"a"}, std::string(64 * 1024 + 1, 'm')), page({"b"})}));
  REQUIRE(over.run());
  CHECK(over.client.failure.code == ErrorCode::too_large);
  CHECK(contains(over.client.failure.text, "65537 bytes"));
  CHECK(over.server.targets.size() == 1);
}

TEST_CASE("an answer that is cut off is asked for again on another connection") {
  for (const bool reset : {false, true}) {
    CAPTURE(reset);
    Scene scene([&](Peer& peer, const std::string&) {
      const std::string whole = ok(page({"a", "b"}));
      if (peer.number > 1) return peer.send(whole);
      peer.send(whole.substr(0, whole.size() - 3));
      if (reset) {
        peer.reset();
      } else {
        peer.end();
      }
    });
    REQUIRE(scene.run());
    CHECK(scene.client.pages == std::vector<Names>{{"a", "b"}});
    CHECK(scene.lister->retries() == 1);
    CHECK(scene.server.peers.size() == 2);
  }
}

TEST_CASE("an answer that cannot be delimited is asked for again") {
  Scene scene([](Peer& peer, const std::string&) {
    peer.send(peer.number == 1 ? "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"
                               : ok(page({"a"})));
  });
  REQUIRE(scene.run());
  CHECK(scene.client.pages == std::vector<Names>{{"a"}});
  CHECK(scene.lister->retries() == 1);
}

TEST_CASE("a redirect within the origin is followed, and remembered when it is for good") {
  for (const char* status :
       {"301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"}) {
    const bool permanent =
        std::string(status).starts_with("301") || std::string(status).starts_with("308");
    Scene scene([&](Peer& peer, const std::string& target) {
      if (!target.starts_with("/list/")) {
        const std::string query = target.substr(5);
        return peer.send(response(status, "Location: /list/" + query + "\r\n", "moved"));
      }
      peer.send(ok(target == "/list/"       ? page({"a"}, "m1")
                   : target.ends_with("m1") ? page({"b"}, "m2")
                                            : page({"c"})));
    });
    REQUIRE(scene.run());
    CHECK(scene.client.pages == std::vector<Names>{{"a"}, {"b"}, {"c"}});
    CHECK(scene.server.targets.size() == (permanent ? 4 : 6));
    CHECK(scene.lister->retries() == 0);
  }
}

TEST_CASE("redirects within the origin are followed five times, no more") {
  for (const int most : {5, 6}) {
    int asked = 0;
    Scene scene([&](Peer& peer, const std::string&) {
      if (asked++ == most) return peer.send(ok(page({"a"})));
      peer.send(response("302 Found", "Location: /list?" + std::to_string(asked) + "\r\n", ""));
    });
    REQUIRE(scene.run());
    CHECK(scene.client.pages.size() == (most == 5 ? 1u : 0u));
    if (most == 6) CHECK(contains(scene.client.failure.text, "after 5 others"));
  }
}

TEST_CASE("a redirect to another host is not followed, and the error says where it leads") {
  for (const char* status : {"301 Moved", "302 Found", "307 Temporary", "308 Permanent"}) {
    Scene scene([&](Peer& peer, const std::string&) {
      peer.send(response(status, "Location: http://elsewhere/store\r\n", ""));
    });
    REQUIRE(scene.run());
    CHECK(scene.client.failure.code == ErrorCode::origin);
    CHECK(contains(scene.client.failure.text, "http://elsewhere/store"));
    CHECK(scene.server.targets.size() == 1);
  }
}

TEST_CASE("a coding that was not asked for ends the listing; identity is none") {
  Scene coded([](Peer& peer, const std::string&) {
    peer.send(response("200 OK", "Content-Encoding: gzip\r\n", page({"a"})));
  });
  REQUIRE(coded.run());
  CHECK(coded.client.failure.code == ErrorCode::origin);
  CHECK(contains(coded.client.failure.text, "gzip"));
  CHECK(coded.client.pages.empty());

  Scene plain([](Peer& peer, const std::string&) {
    peer.send(response("200 OK", "Content-Encoding: identity\r\n", page({"a"})));
  });
  REQUIRE(plain.run());
  CHECK(plain.client.pages.size() == 1);
}

TEST_CASE("a page over the limit is refused, one of exactly that is read") {
  for (const size_t size : {size_t{100'000}, 2 * listing::kWholePageBytes}) {
    for (const size_t extra : {0u, 1u}) {
      for (const bool chunked : {false, true}) {
        CAPTURE(extra);
        CAPTURE(chunked);
        std::string body = page({"a", "b"});
        body.insert(1, size + extra - body.size(), ' ');
        ListingSettings settings = quick_settings();
        settings.max_page_size = size;
        Scene scene(
            [&](Peer& peer, const std::string&) {
              peer.send(chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
                                      chunk(body) + chunk("")
                                : ok(body));
            },
            settings);
        REQUIRE(scene.run());
        if (extra == 0) {
          CHECK(scene.client.pages == std::vector<Names>{{"a", "b"}});
        } else {
          CHECK(scene.client.failure.code == ErrorCode::too_large);
          CHECK(contains(scene.client.failure.text, "page 1"));
          CHECK(contains(scene.client.failure.text, "--max-page-size"));
          CHECK(scene.client.pages.empty());
        }
        CHECK(scene.client.streams.empty() == (size < listing::kWholePageBytes));
      }
    }
  }
}

// A page that is not held.
std::string long_page(size_t names, const std::string& marker = "") {
  Names list;
  for (size_t i = 0; i < names; ++i)
    list.push_back(std::string(90, 'n') + std::to_string(100'000 + i));
  return page(list, marker);
}

TEST_CASE("a long page is read as it comes, and not read while the client wants nothing") {
  constexpr size_t kNames = 200'000;
  Scene scene([&](Peer& peer, const std::string& target) {
    peer.send(ok(target == "/list" ? long_page(kNames, "m1") : page({"last"})));
  });
  scene.client.wants = false;
  scene.server.start();
  scene.lister->start();
  REQUIRE(scene.until([&] { return scene.client.pieces == 1; }));
  run_what_is_there(scene.loop);
  CHECK(scene.client.pieces == 1);
  CHECK(scene.client.stream.names.size() == 1000);
  CHECK(scene.server.peers[0]->socket->unsent() > 0);
  for (size_t piece = 2; piece <= 5; ++piece) {
    scene.lister->want_more();
    REQUIRE(scene.until([&] { return scene.client.pieces == piece; }));
    CHECK(scene.client.stream.names.size() == piece * 1000);
  }
  scene.client.wants = true;
  scene.lister->want_more();
  REQUIRE(scene.until([&] { return scene.client.ended; }));
  REQUIRE(scene.client.pages.size() == 2);
  CHECK(scene.client.pages[0].size() == kNames);
  CHECK(scene.client.pages[1] == Names{"last"});
  CHECK(scene.lister->pages() == 2);
  CHECK(scene.client.streams == Names{"(none)"});
}

TEST_CASE("a long page that breaks off is asked for again, as often as pieces of it come") {
  int asked = 0;
  Scene scene([&](Peer& peer, const std::string&) {
    const std::string whole = ok(long_page(60'000));
    if (++asked > 2) return peer.send(whole);
    peer.send(whole.substr(0, whole.size() * static_cast<size_t>(asked) / 3));
    peer.end();
  });
  REQUIRE(scene.run());
  CHECK(scene.client.failures == 0);
  CHECK(scene.client.streams.size() == 3);
  CHECK(scene.client.pages.back().size() == 60'000);
}

TEST_CASE("a long page of which no more is wanted is left") {
  Scene scene([&](Peer& peer, const std::string& target) {
    peer.send(ok(target.ends_with("=v") ? long_page(200'000, "x") : page({"last"})));
  });
  scene.client.enough_behind = 3;
  scene.server.start();
  scene.lister->start({"v", "v"}, "m", false);
  REQUIRE(scene.until([&] { return scene.client.ended; }));
  CHECK(scene.client.stream.names.size() == 3000);
  CHECK(scene.server.targets == Names{"/list?next-marker=v", "/list?next-marker=m"});
  CHECK(scene.client.visits == std::vector<bool>{true, false});
}

TEST_CASE("a connection that is closed between pages costs no try") {
  ListingSettings settings = quick_settings();
  settings.retries = 0;
  enum class How { announced, silent, under_the_next_request };
  for (const How how : {How::announced, How::silent, How::under_the_next_request}) {
    CAPTURE(static_cast<int>(how));
    Scene scene(
        [&](Peer& peer, const std::string& target) {
          if (peer.requests() > 1) return how == How::under_the_next_request ? peer.end() : void();
          const std::string number = target == "/list" ? "1" : target.substr(target.size() - 1);
          const std::string next =
              number == "5" ? "" : std::string(1, static_cast<char>(number[0] + 1));
          const std::string body = page({"n" + number}, next);
          peer.send(how == How::announced ? response("200 OK", "Connection: close\r\n", body)
                                          : ok(body));
          if (how != How::under_the_next_request) peer.end();
        },
        settings);
    REQUIRE(scene.run());
    CHECK(scene.client.failures == 0);
    CHECK(scene.client.pages == std::vector<Names>{{"n1"}, {"n2"}, {"n3"}, {"n4"}, {"n5"}});
    CHECK(scene.lister->retries() == 0);
    CHECK(scene.server.peers.size() == 5);
  }
}

TEST_CASE("a connection that is closed while the client wants nothing is opened again") {
  Scene scene([](Peer& peer, const std::string& target) {
    peer.send(ok(target == "/list" ? page({"a"}, "m1") : page({"b"})));
    peer.end();
  });
  scene.client.wants = false;
  scene.server.start();
  scene.lister->start();
  REQUIRE(scene.until([&] { return scene.client.pages.size() == 1; }));
  run_what_is_there(scene.loop);
  CHECK(scene.server.peers.size() == 1);
  scene.lister->want_more();
  REQUIRE(scene.until([&] { return scene.client.ended; }));
  CHECK(scene.client.pages == std::vector<Names>{{"a"}, {"b"}});
  CHECK(scene.lister->retries() == 0);
}

TEST_CASE("a page that the end of the connection delimits is taken whole") {
  Scene scene([](Peer& peer, const std::string& target) {
    peer.send("HTTP/1.0 200 OK\r\n\r\n" + (target == "/list" ? page({"a"}, "m1") : page({"b"})));
    peer.end();
  });
  REQUIRE(scene.run());
  CHECK(scene.client.pages == std::vector<Names>{{"a"}, {"b"}});
  CHECK(scene.lister->retries() == 0);
}

TEST_CASE(
    "an origin that cannot be reached is trouble, costs no try, and is tried until it is there") {
  ListingSettings settings = quick_settings();
  settings.retries = 0;
  Scene scene(answers({page({"a"})}), settings);
  scene.lister->start();
  REQUIRE(scene.until([&] { return scene.client.troubles.size() >= 2; }));
  CHECK(contains(scene.client.troubles[0], "127.0.0.1:" + std::to_string(scene.server.port())));
  CHECK(scene.client.failures == 0);
  CHECK(scene.client.alive == 0);
  scene.server.start();
  REQUIRE(scene.until([&] { return scene.client.ended; }));
  CHECK(scene.lister->retries() == 0);
  CHECK(scene.lister->requests() == 1);
}

TEST_CASE("a host that does not exist ends the listing") {
  ListingSettings settings = quick_settings();
  settings.origin.host = "a..b";
  Scene scene(answers({}), settings);
  scene.lister->start();
  REQUIRE(scene.until([&] { return scene.client.failures > 0; }));
  CHECK(scene.client.failure.code == ErrorCode::origin);
  CHECK(contains(scene.client.failure.text, "a..b"));
}

TEST_CASE("an origin that falls silent costs a try") {
  ListingSettings settings = quick_settings();
  settings.stall_timeout = settings.list_timeout = Millis(50);
  Scene scene(
      [](Peer& peer, const std::string&) {
        const std::string whole = ok(page({"a"}));
        if (peer.number == 1) return;
        if (peer.number == 2) return peer.send(whole.substr(0, whole.size() - 5));
        peer.send(whole);
      },
      settings);
  REQUIRE(scene.run());
  CHECK(scene.client.pages == std::vector<Names>{{"a"}});
  CHECK(scene.lister->retries() == 2);
  CHECK(scene.server.peers.size() == 3);
  CHECK(contains(scene.client.asked, "page 1 (GET /list)"));
  CHECK(scene.client.asked_patience == Millis(50));
}

TEST_CASE("a page that the client cannot take ends the listing with the client's reason") {
  Scene scene(answers({page({"a"}, "m1"), page({"b"})}));
  scene.client.refuse = true;
  REQUIRE(scene.run());
  CHECK(scene.client.failures == 1);
  CHECK(scene.client.failure.code == ErrorCode::no_space);
  CHECK(contains(scene.client.failure.text, "no room for the page"));
  run_what_is_there(scene.loop);
  CHECK(scene.client.pages.size() == 1);
}

TEST_CASE("after stop nothing follows") {
  Scene scene(answers({page({"a"}, "m1"), page({"b"}, "m2"), page({"c"})}));
  scene.server.start();
  SUBCASE("while the first page is on its way") {
    scene.lister->start();
    REQUIRE(scene.until([&] { return scene.server.targets.size() == 1; }));
    scene.lister->stop();
    run_what_is_there(scene.loop);
    CHECK(scene.client.pages.empty());
  }
  SUBCASE("while a page is being read, with the next one on its way") {
    scene.client.before_names = [&] { scene.lister->stop(); };
    scene.lister->start();
    REQUIRE(scene.until([&] { return scene.client.pages.size() == 1; }));
    CHECK(scene.lister->requests() == 2);
    run_what_is_there(scene.loop);
    CHECK(scene.client.pages == std::vector<Names>{{"a"}});
  }
  SUBCASE("while the origin is away") {
    scene.server.stop_accepting();
    scene.lister->start();
    REQUIRE(scene.until([&] { return scene.client.troubles.size() == 1; }));
    scene.lister->stop();
    bool waited = false;  // for longer than before the next try
    net::Timer wait(scene.loop, [&] { waited = true; });
    wait.start(Millis(200));
    REQUIRE(scene.until([&] { return waited; }));
    CHECK(scene.client.troubles.size() == 1);
  }
  scene.lister->want_more();
  run_what_is_there(scene.loop);
  CHECK_FALSE(scene.client.ended);
  CHECK(scene.client.failures == 0);
}

namespace {

using Marker = Lister::Marker;

// Ten pages, from /list over "m1" to "m9"; `refuses` says what to answer to others than 200.
ScriptedServer::OnRequest ten_pages(
    std::function<std::string(const std::string& target)> refuses = {}) {
  return [refuses](Peer& peer, const std::string& target) {
    const std::string status = refuses ? refuses(target) : "";
    if (!status.empty()) return peer.send(response(status, "", ""));
    const int number = target == "/list" ? 0 : target.back() - '0';
    const std::string next = number == 9 ? "" : "m" + std::to_string(number + 1);
    peer.send(ok(page({"n" + std::to_string(number)}, next)));
  };
}

bool asks_for(const std::string& target, const std::string& marker) {
  return target.ends_with("=" + marker);
}

}  // namespace

TEST_CASE("a listing that goes on visits the open pages first, then goes on from the frontier") {
  Scene scene(ten_pages());
  scene.client.wants = false;
  scene.server.start();
  scene.lister->start({std::nullopt, "m3", "m4"}, "m7", false);
  REQUIRE(scene.until([&] { return scene.client.pages.size() == 3; }));
  run_what_is_there(scene.loop);
  CHECK_MESSAGE(scene.server.targets.size() == 3, "visits are asked for unasked, others are not");
  CHECK(scene.client.pages == std::vector<Names>{{"n0"}, {"n3"}, {"n4"}});
  CHECK(scene.client.visits == std::vector<bool>{true, true, true});
  CHECK(scene.client.nexts == Names{"m1", "m4", "m5"});
  scene.client.wants = true;
  scene.lister->want_more();
  REQUIRE(scene.until([&] { return scene.client.ended; }));
  CHECK(scene.client.pages == std::vector<Names>{{"n0"}, {"n3"}, {"n4"}, {"n7"}, {"n8"}, {"n9"}});
  CHECK(scene.client.visits == std::vector<bool>{true, true, true, false, false, false});
  CHECK(scene.client.failures == 0);
  CHECK(scene.lister->pages() == 6);
}

TEST_CASE("a listing that had ended asks for its open pages alone") {
  Scene scene(ten_pages());
  scene.server.start();
  scene.lister->start({"m9", "m2"}, std::nullopt, true);
  REQUIRE(scene.until([&] { return scene.client.pages.size() == 2; }));
  scene.lister->want_more();
  run_what_is_there(scene.loop);
  CHECK(scene.client.pages == std::vector<Names>{{"n9"}, {"n2"}});
  CHECK(scene.server.targets.size() == 2);

  scene.lister->start({}, std::nullopt, true);
  scene.lister->want_more();
  run_what_is_there(scene.loop);
  CHECK(scene.server.targets.size() == 2);
}

TEST_CASE("pages that are visited do not make a circle") {
  Scene scene(ten_pages());
  scene.server.start();
  scene.lister->start({"m5", "m5", "m5", "m4", "m5"}, "m5", false);
  REQUIRE(scene.until([&] { return scene.client.ended || scene.client.failures > 0; }));
  CHECK(scene.client.failures == 0);
  CHECK(scene.client.pages.size() == 10);
}

TEST_CASE("a marker of an earlier run that is refused may begin the listing anew") {
  for (const char* status : {"400 Bad", "404 Not Found", "410 Gone", "422 No"}) {
    for (const bool of_visit : {false, true}) {
      CAPTURE(std::string(status));
      CAPTURE(of_visit);
      Scene scene(ten_pages(
          [&](const std::string& target) { return asks_for(target, "old") ? status : ""; }));
      scene.client.restart = [&] {
        scene.lister->start();
        return true;
      };
      scene.server.start();
      if (of_visit) {
        scene.lister->start({"m2", "old"}, "m6", false);
      } else {
        scene.lister->start({"m2"}, "old", false);
      }
      REQUIRE(scene.until([&] { return scene.client.ended || scene.client.failures > 0; }));
      CHECK(scene.client.failures == 0);
      CHECK(scene.client.refusals == 1);
      CHECK(scene.client.pages.size() == 11);
      CHECK(scene.client.visits == std::vector<bool>{true, false, false, false, false, false, false,
                                                     false, false, false, false});
      run_what_is_there(scene.loop);
      CHECK(scene.server.targets.size() == 12);
    }
  }
}

TEST_CASE("a refusal that the client does not take ends the listing with the origin's answer") {
  Scene scene(ten_pages(
      [](const std::string& target) { return asks_for(target, "old") ? "410 Gone" : ""; }));
  scene.server.start();
  scene.lister->start({}, "old", false);
  REQUIRE(scene.until([&] { return scene.client.failures > 0; }));
  CHECK(scene.client.refusals == 1);
  CHECK(scene.client.failures == 1);
  CHECK(contains(scene.client.failure.text, "410"));
}

TEST_CASE("only a refusal of a marker is one: not of who asks") {
  struct Case {
    const char* status;
    std::deque<Marker> visits;
    Marker frontier;
    const char* refused;  // the end of the target
  };
  for (const Case& c : {Case{"401 Who", {}, "m3", "=m3"}, Case{"403 No", {"m3"}, "m5", "=m3"},
                        Case{"302 Found", {}, "m3", "=m3"}, Case{"501 No", {}, "m3", "=m3"},
                        Case{"404 Not Found", {std::nullopt}, "m3", "/list"},
                        Case{"503 Busy", {}, "m3", "=m3"}, Case{"429 Busy", {"m3"}, "m4", "=m3"}}) {
    CAPTURE(std::string(c.status));
    CAPTURE(std::string(c.refused));
    Scene scene(ten_pages(
        [&](const std::string& target) { return target.ends_with(c.refused) ? c.status : ""; }));
    scene.client.restart = [] { return true; };
    scene.server.start();
    scene.lister->start(c.visits, c.frontier, false);
    REQUIRE(scene.until([&] { return scene.client.failures > 0; }));
    CHECK(scene.client.refusals == 0);
    CHECK(contains(scene.client.failure.text, std::string(c.status).substr(0, 3)));
  }
}

TEST_CASE("a listing that begins anew has all its tries again") {
  std::map<std::string, int> asked;
  Scene scene(ten_pages([&](const std::string& target) {
    const int times = ++asked[target];
    if (asks_for(target, "old")) return times < 3 ? "503 Busy" : "410 Gone";
    return target == "/list" && times < 3 ? "503 Busy" : "";
  }));
  scene.client.restart = [&] {
    scene.lister->start();
    return true;
  };
  scene.server.start();
  scene.lister->start({}, "old", false);
  REQUIRE(scene.until([&] { return scene.client.ended || scene.client.failures > 0; }));
  CHECK(scene.client.failures == 0);
  CHECK(scene.client.pages.size() == 10);
}

TEST_CASE("a listing may begin anew while a page of it is being read") {
  Scene scene(ten_pages());
  bool restarted = false;
  scene.client.before_names = [&] {
    if (scene.client.pages.size() != 1 || restarted) return;
    restarted = true;
    scene.lister->start();
  };
  scene.server.start();
  scene.lister->start({"m2", "m3", "m4"}, "m8", false);
  REQUIRE(scene.until([&] { return scene.client.ended || scene.client.failures > 0; }));
  CHECK(scene.client.failures == 0);
  REQUIRE(scene.client.pages.size() == 12);
  CHECK(scene.client.pages[1] == Names{"n3"});
  CHECK(scene.client.pages[2] == Names{"n0"});
  CHECK(scene.client.pages.back() == Names{"n9"});
}
