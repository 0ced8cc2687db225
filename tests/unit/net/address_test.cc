#include "net/address.h"

#include <doctest/doctest.h>
#include <netinet/in.h>

#include <set>

#include "net/drive.h"

using namespace gigafetch;
using namespace gigafetch::net;
using gigafetch::testing::run_until;

namespace {

std::vector<SocketAddress> addresses(size_t count) {
  std::vector<SocketAddress> out;
  for (size_t i = 0; i < count; ++i) {
    out.push_back(address_of_literal("127.0.0." + std::to_string(i + 1), 80).value());
  }
  return out;
}

std::vector<size_t> picks(AddressRing& ring, size_t count) {
  std::vector<size_t> out;
  for (size_t i = 0; i < count; ++i)
    out.push_back(ring.next());
  return out;
}

}  // namespace

TEST_CASE("a literal IPv4 or IPv6 address is read and written back") {
  const auto text_of = [](const char* host, uint16_t port) {
    const Result<SocketAddress> address = address_of_literal(host, port);
    return address ? address.value().text() : address.failure().text;
  };
  CHECK(text_of("127.0.0.1", 80) == "127.0.0.1:80");
  CHECK(text_of("255.255.255.255", 65535) == "255.255.255.255:65535");
  CHECK(text_of("::1", 8080) == "[::1]:8080");
  CHECK(text_of("2001:db8:0:0::7", 1) == "[2001:db8::7]:1");
  CHECK(address_of_literal("10.0.0.1", 1).value().storage.ss_family == AF_INET);
  CHECK(address_of_literal("fe80::1", 1).value().storage.ss_family == AF_INET6);
}

TEST_CASE("what is not an address is refused, and shown without control bytes") {
  for (const char* host :
       {"", "localhost", "1.2.3", "1.2.3.4.5", "256.1.1.1", "[::1]", "::1::2", "1.2.3.4 "}) {
    CAPTURE(std::string(host));
    const Result<SocketAddress> refused = address_of_literal(host, 80);
    REQUIRE_FALSE(refused);
    CHECK(refused.failure().code == ErrorCode::usage);
  }
  CHECK(address_of_literal("a\x1b[2Jb", 80).failure().text.find('\x1b') == std::string::npos);
}

TEST_CASE("the ring gives its addresses in turn, beginning where it was told to") {
  AddressRing ring;
  CHECK(ring.empty());
  ring.assign(addresses(3), 4);
  CHECK_FALSE(ring.empty());
  CHECK(picks(ring, 7) == std::vector<size_t>{1, 2, 0, 1, 2, 0, 1});
  CHECK(ring.at(2).text() == "127.0.0.3:80");
}

TEST_CASE("several processes begin with different addresses") {
  std::set<size_t> first;
  for (size_t worker = 0; worker < 3; ++worker) {
    AddressRing ring;
    ring.assign(addresses(3), worker);
    first.insert(ring.next());
  }
  CHECK(first.size() == 3);
}

TEST_CASE("an address whose last connection failed is passed over, until one succeeds") {
  AddressRing ring;
  ring.assign(addresses(3), 0);
  ring.report(1, false);
  CHECK(picks(ring, 6) == std::vector<size_t>{0, 2, 0, 2, 0, 2});
  CHECK_FALSE(ring.all_failing());
  ring.report(1, true);
  const std::vector<size_t> after = picks(ring, 3);
  CHECK(std::set<size_t>(after.begin(), after.end()) == std::set<size_t>{0, 1, 2});
}

TEST_CASE("when every address fails, all take their turn") {
  AddressRing ring;
  ring.assign(addresses(3), 0);
  for (size_t i = 0; i < 3; ++i) {
    CHECK_FALSE(ring.all_failing());
    ring.report(i, false);
  }
  CHECK(ring.all_failing());
  CHECK(picks(ring, 6) == std::vector<size_t>{0, 1, 2, 0, 1, 2});
  ring.report(2, true);
  CHECK_FALSE(ring.all_failing());
  CHECK(picks(ring, 3) == std::vector<size_t>{2, 2, 2});
}

TEST_CASE("a failing address is tried now and then, wherever it stands in the ring") {
  std::string never, often;
  for (size_t count = 2; count <= 6; ++count) {
    for (size_t failing = 0; failing < count; ++failing) {
      for (size_t start = 0; start < count; ++start) {
        AddressRing ring;
        ring.assign(addresses(count), start);
        ring.report(failing, false);
        size_t tries = 0;
        for (int pick = 0; pick < 10'000; ++pick) {
          tries += ring.next() == failing ? 1 : 0;
        }
        const std::string which = " " + std::to_string(failing) + " of " + std::to_string(count) +
                                  " from " + std::to_string(start) + ";";
        if (tries == 0) never += which;
        if (tries > 500) often += which;
      }
    }
  }
  CHECK(never == "");
  CHECK(often == "");
}

TEST_CASE("reporting the same twice counts once") {
  AddressRing ring;
  ring.assign(addresses(2), 0);
  ring.report(0, false);
  ring.report(0, false);
  CHECK_FALSE(ring.all_failing());
  ring.report(1, false);
  CHECK(ring.all_failing());
  ring.report(1, true);
  ring.report(1, true);
  ring.report(0, true);
  CHECK_FALSE(ring.all_failing());
  CHECK(picks(ring, 2).size() == 2);
}

TEST_CASE("new addresses begin without failures, and reports about old ones do no harm") {
  AddressRing ring;
  ring.assign(addresses(5), 0);
  for (size_t i = 0; i < 5; ++i)
    ring.report(i, false);
  ring.assign(addresses(2), 0);
  CHECK_FALSE(ring.all_failing());
  ring.report(4, false);
  CHECK_FALSE(ring.all_failing());
  CHECK(picks(ring, 2) == std::vector<size_t>{0, 1});
}

TEST_CASE("a literal is resolved at once, without the loop") {
  Loop loop;
  Resolver resolver(loop);
  std::string found;
  resolver.resolve("::1", 81, [&](Result<std::vector<SocketAddress>> result) {
    REQUIRE(result);
    REQUIRE(result->size() == 1);
    found = (*result)[0].text();
  });
  CHECK(found == "[::1]:81");
  CHECK_FALSE(resolver.busy());
}

TEST_CASE("localhost is resolved from the loop, to loopback addresses with the port") {
  Loop loop;
  Resolver resolver(loop);
  int calls = 0;
  std::vector<std::string> found;
  resolver.resolve("localhost", 4711, [&](Result<std::vector<SocketAddress>> result) {
    ++calls;
    CHECK_FALSE(resolver.busy());
    CHECK(result.ok());
    if (!result) return;
    for (const SocketAddress& address : *result)
      found.push_back(address.text());
  });
  CHECK(calls == 0);
  CHECK(resolver.busy());
  REQUIRE(run_until(loop, [&] { return calls > 0; }));
  loop.run();
  CHECK(calls == 1);
  CHECK_FALSE(found.empty());
  for (const std::string& address : found) {
    CHECK((address == "127.0.0.1:4711" || address == "[::1]:4711"));
  }
}

TEST_CASE("a name that cannot exist is not found") {
  Loop loop;
  Resolver resolver(loop);
  ErrorCode code = ErrorCode::usage;
  std::string text;
  int calls = 0;
  // An empty label: refused by the resolver itself, without asking anybody.
  resolver.resolve("a..b", 80, [&](Result<std::vector<SocketAddress>> result) {
    ++calls;
    CHECK_FALSE(result.ok());
    if (result) return;
    code = result.failure().code;
    text = result.failure().text;
  });
  REQUIRE(run_until(loop, [&] { return calls > 0; }));
  CHECK(code == ErrorCode::not_found);
  CHECK(text.find("a..b") != std::string::npos);
}

TEST_CASE("a name that libuv does not even take is reported, and the resolver stays usable") {
  Loop loop;
  Resolver resolver(loop);
  int calls = 0;
  resolver.resolve(std::string(5000, 'a'), 80, [&](Result<std::vector<SocketAddress>> result) {
    ++calls;
    CHECK_FALSE(result.ok());
  });
  REQUIRE(run_until(loop, [&] { return calls > 0; }));
  CHECK_FALSE(resolver.busy());
  resolver.resolve("127.0.0.1", 80, [&](Result<std::vector<SocketAddress>> result) {
    ++calls;
    CHECK(result.ok());
  });
  CHECK(calls == 2);
}

TEST_CASE("a cancelled look-up calls nobody, and another can begin at once") {
  Loop loop;
  Resolver resolver(loop);
  int cancelled = 0, answered = 0;
  resolver.resolve("localhost", 80, [&](Result<std::vector<SocketAddress>>) { ++cancelled; });
  resolver.cancel();
  CHECK_FALSE(resolver.busy());
  resolver.resolve("localhost", 80, [&](Result<std::vector<SocketAddress>>) { ++answered; });
  CHECK(resolver.busy());
  loop.run();  // until no look-up is left
  CHECK(cancelled == 0);
  CHECK(answered == 1);
}

TEST_CASE("the callback of a look-up may begin the next one") {
  Loop loop;
  Resolver resolver(loop);
  int calls = 0;
  resolver.resolve("a..b", 80, [&](Result<std::vector<SocketAddress>>) {
    ++calls;
    resolver.resolve("localhost", 80, [&](Result<std::vector<SocketAddress>>) { ++calls; });
  });
  REQUIRE(run_until(loop, [&] { return calls == 2; }));
}

TEST_CASE("a resolver may go while its look-up is under way") {
  Loop loop;
  int calls = 0;
  {
    Resolver resolver(loop);
    resolver.resolve("localhost", 80, [&](Result<std::vector<SocketAddress>>) { ++calls; });
  }
  loop.run();
  CHECK(calls == 0);
}
