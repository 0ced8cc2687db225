#include "net/stream.h"

#include <doctest/doctest.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <functional>
#include <memory>
#include <vector>

#include "net/drive.h"
#include "net/raw_socket.h"
#include "net/unix_listener.h"

using namespace gigafetch;
using namespace gigafetch::net;
using namespace gigafetch::testing;

namespace {

// Counts what a stream tells, and does what the test wants done in each callback.
struct Owner : Stream::Handler {
  void on_connected() override {
    ++connected;
    if (then_connected) then_connected();
  }
  void on_bytes(std::string_view bytes) override {
    received += bytes;
    ++reads;
    if (then_bytes) then_bytes();
  }
  void on_drained() override {
    ++drained;
    if (then_drained) then_drained();
  }
  void on_ended(int uv_error) override {
    ++ended;
    error = uv_error;
    if (then_ended) then_ended();
  }

  int connected = 0, reads = 0, drained = 0, ended = 0;
  int error = 0;
  std::string received;
  std::function<void()> then_connected, then_bytes, then_drained, then_ended;
};

// A stream and the raw other end of it.
struct UnixPair {
  explicit UnixPair(Loop& loop) : stream(loop, owner) {
    auto [ours, theirs] = socket_pair();
    adopted = stream.adopt_unix(std::move(ours)).ok();
    peer = std::make_unique<RawSocket>(loop, std::move(theirs));
  }
  Owner owner;
  Stream stream;
  std::unique_ptr<RawSocket> peer;
  bool adopted = false;
};

struct TcpPair {
  explicit TcpPair(Loop& loop) : stream(loop, owner) {
    uint16_t port = 0;
    const UniqueFd listener = bound_socket(port);
    ::listen(listener.get(), 8);
    status = stream.connect(socket_address(port));
    if (status != 0 || !run_until(loop, [&] { return owner.connected + owner.ended > 0; })) return;
    UniqueFd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    peer = std::make_unique<RawSocket>(loop, std::move(accepted));
  }
  Owner owner;
  Stream stream;
  std::unique_ptr<RawSocket> peer;
  int status = 0;
};

// Not periodic in any power of two, so that a lost or doubled buffer shows.
std::string pattern(size_t bytes) {
  std::string out(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i)
    out[i] = static_cast<char>('a' + i % 23 + (i / 251) % 3);
  return out;
}

constexpr size_t kMuch = 8 * 1024 * 1024;  // more than any socket buffer here takes

}  // namespace

TEST_CASE("a stream is closed until it is given a connection") {
  Loop loop;
  Owner owner;
  Stream stream(loop, owner);
  CHECK(stream.is_closed());
  CHECK(stream.fd() == -1);
  CHECK(stream.backlog() == 0);
  stream.close();
  stream.close_reset();
  stream.write("dropped");
  stream.pause();
  stream.resume();
  stream.shutdown();
  CHECK(stream.is_closed());
  loop.run();
  CHECK(owner.ended == 0);
}

TEST_CASE_TEMPLATE("bytes go both ways", Pair, UnixPair, TcpPair) {
  Loop loop;
  Pair pair(loop);
  REQUIRE(pair.peer);
  CHECK_FALSE(pair.stream.is_closed());
  CHECK(pair.stream.fd() >= 0);
  pair.stream.write("to the peer");
  pair.peer->send("from the peer");
  REQUIRE(run_until(
      loop, [&] { return pair.peer->received.size() >= 11 && pair.owner.received.size() >= 13; }));
  CHECK(pair.peer->received == "to the peer");
  CHECK(pair.owner.received == "from the peer");
  CHECK(pair.owner.ended == 0);
}

TEST_CASE_TEMPLATE("a write that does not fit is kept and goes out whole, in order", Pair, UnixPair,
                   TcpPair) {
  Loop loop;
  Pair pair(loop);
  REQUIRE(pair.peer);
  pair.peer->set_reading(false);
  const std::string much = pattern(kMuch);
  pair.stream.write(much);
  const size_t kept = pair.stream.backlog();
  CHECK(kept > 0);
  CHECK(kept < much.size());
  pair.stream.write("second");
  CHECK(pair.stream.backlog() == kept + 6);
  pair.stream.write("third");
  run_what_is_there(loop);
  CHECK(pair.owner.drained == 0);

  pair.peer->set_reading(true);
  const std::string all = much + "second" + "third";
  REQUIRE(run_until(loop, [&] { return pair.peer->received.size() >= all.size(); }));
  CHECK(pair.peer->received == all);
  REQUIRE(run_until(loop, [&] { return pair.owner.drained > 0; }));
  CHECK(pair.stream.backlog() == 0);
  run_what_is_there(loop);
  CHECK(pair.owner.drained == 1);
}

TEST_CASE("what a slow peer has made wait leaves no memory behind") {
  Loop loop;
  UnixPair pair(loop);
  const auto in_use = [] {
    const struct mallinfo2 all = ::mallinfo2();
    return all.uordblks + all.hblkhd;
  };
  const size_t before = in_use();
  pair.peer->set_reading(false);
  for (int i = 0; i < 2; ++i)
    pair.stream.write(pattern(kMuch));
  pair.peer->set_reading(true);
  REQUIRE(run_until(loop, [&] { return pair.owner.drained > 0; }));
  REQUIRE(run_until(loop, [&] { return pair.peer->received.size() >= 2 * kMuch; }));
  std::string().swap(pair.peer->received);
  CHECK(in_use() < before + kMuch / 4);
}

TEST_CASE("a write that goes out at once leaves no backlog and no word") {
  Loop loop;
  UnixPair pair(loop);
  pair.stream.write("small");
  CHECK(pair.stream.backlog() == 0);
  run_what_is_there(loop);
  CHECK(pair.owner.drained == 0);
  CHECK(pair.peer->received == "small");
}

TEST_CASE("nothing written changes nothing") {
  Loop loop;
  UnixPair pair(loop);
  pair.stream.write("");
  CHECK(pair.stream.backlog() == 0);
  pair.stream.write("x");
  REQUIRE(run_until(loop, [&] { return pair.peer->received == "x"; }));
  CHECK(pair.owner.ended == 0);
}

TEST_CASE("more can be written when the backlog has drained") {
  Loop loop;
  UnixPair pair(loop);
  pair.peer->set_reading(false);
  pair.owner.then_drained = [&] {
    if (pair.owner.drained == 1) pair.stream.write(pattern(kMuch));
  };
  pair.stream.write(pattern(kMuch));
  pair.peer->set_reading(true);
  REQUIRE(run_until(loop, [&] { return pair.owner.drained == 2; }));
  REQUIRE(run_until(loop, [&] { return pair.peer->received.size() == 2 * kMuch; }));
  CHECK(pair.peer->received == pattern(kMuch) + pattern(kMuch));
}

TEST_CASE("what is written while connecting goes out once connected") {
  Loop loop;
  uint16_t port = 0;
  const UniqueFd listener = bound_socket(port);
  ::listen(listener.get(), 8);
  Owner owner;
  Stream stream(loop, owner);
  REQUIRE(stream.connect(socket_address(port)) == 0);
  stream.write("early ");
  stream.write("bytes");
  CHECK(stream.backlog() == 11);
  REQUIRE(run_until(loop, [&] { return owner.connected == 1; }));
  RawSocket peer(loop, UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)));
  REQUIRE(run_until(loop, [&] { return peer.received.size() == 11; }));
  CHECK(peer.received == "early bytes");
  CHECK(stream.backlog() == 0);
}

TEST_CASE_TEMPLATE("the peer's end is told once, and the stream is closed by then", Pair, UnixPair,
                   TcpPair) {
  Loop loop;
  Pair pair(loop);
  REQUIRE(pair.peer);
  bool closed_when_told = false;
  pair.owner.then_ended = [&] { closed_when_told = pair.stream.is_closed(); };
  pair.peer->send("last words");
  pair.peer->end();
  REQUIRE(run_until(loop, [&] { return pair.owner.ended > 0; }));
  run_what_is_there(loop);
  CHECK(pair.owner.received == "last words");
  CHECK(pair.owner.ended == 1);
  CHECK(pair.owner.error == 0);
  CHECK(closed_when_told);
  CHECK(pair.stream.fd() == -1);
}

TEST_CASE("a connection reset by the peer ends with an error") {
  Loop loop;
  TcpPair pair(loop);
  REQUIRE(pair.peer);
  pair.peer->reset();
  REQUIRE(run_until(loop, [&] { return pair.owner.ended > 0; }));
  CHECK(pair.owner.error == UV_ECONNRESET);
  CHECK(pair.stream.is_closed());
}

TEST_CASE("close_reset resets the connection, close ends it in order") {
  Loop loop;
  TcpPair reset(loop), closed(loop);
  REQUIRE(reset.peer);
  REQUIRE(closed.peer);
  reset.stream.close_reset();
  closed.stream.close();
  REQUIRE(run_until(loop, [&] { return reset.peer->gone() && closed.peer->gone(); }));
  CHECK(reset.peer->error() == ECONNRESET);
  CHECK(closed.peer->error() == 0);
  CHECK(closed.peer->ended());
  CHECK(reset.owner.ended == 0);
  CHECK(closed.owner.ended == 0);
}

TEST_CASE("a connection that is refused ends the stream, which can be used again") {
  Loop loop;
  uint16_t port = 0;
  const UniqueFd listener = bound_socket(port);
  Owner owner;
  Stream stream(loop, owner);
  REQUIRE(stream.connect(socket_address(port)) == 0);
  CHECK_FALSE(stream.is_closed());
  REQUIRE(run_until(loop, [&] { return owner.ended > 0; }));
  CHECK(owner.error == UV_ECONNREFUSED);
  CHECK(owner.connected == 0);
  CHECK(stream.is_closed());

  ::listen(listener.get(), 8);
  REQUIRE(stream.connect(socket_address(port)) == 0);
  REQUIRE(run_until(loop, [&] { return owner.connected == 1; }));
}

TEST_CASE("a connection that cannot even be tried is told at once, and the stream stays closed") {
  Loop loop;
  Owner owner;
  Stream stream(loop, owner);
  SocketAddress nowhere;  // of no family
  CHECK(stream.connect(nowhere) < 0);
  CHECK(stream.is_closed());
  loop.run();
  CHECK(owner.ended == 0);
  CHECK(owner.connected == 0);
}

TEST_CASE("a socket that cannot be used is refused, and the stream stays closed") {
  Loop loop;
  Owner owner;
  Stream stream(loop, owner);
  CHECK_FALSE(stream.adopt_unix(UniqueFd()));
  CHECK(stream.is_closed());
  auto [ours, theirs] = socket_pair();
  CHECK(stream.adopt_unix(std::move(ours)));
  CHECK(owner.ended == 0);
}

TEST_CASE("a connection closed while it is being made says nothing more") {
  Loop loop;
  uint16_t port = 0;
  const UniqueFd listener = bound_socket(port);
  ::listen(listener.get(), 8);
  Owner owner;
  Stream stream(loop, owner);
  REQUIRE(stream.connect(socket_address(port)) == 0);
  stream.write("never sent");
  stream.close();
  CHECK(stream.is_closed());
  CHECK(stream.backlog() == 0);
  loop.run();
  CHECK(owner.connected == 0);
  CHECK(owner.ended == 0);
  CHECK(owner.drained == 0);
}

TEST_CASE("closing inside on_bytes stops everything, and the stream can be opened again there") {
  Loop loop;
  UnixPair pair(loop);
  auto [again, again_peer] = socket_pair();
  RawSocket second(loop, std::move(again_peer));
  bool adopted = false;
  pair.owner.then_bytes = [&, again = std::make_shared<UniqueFd>(std::move(again))] {
    if (pair.owner.reads > 1) return;
    pair.stream.close();
    adopted = pair.stream.adopt_unix(std::move(*again)).ok();
  };
  // More than one read takes.
  pair.peer->send(pattern(1024 * 1024));
  pair.peer->end();
  REQUIRE(run_until(loop, [&] { return pair.owner.reads > 0; }));
  run_what_is_there(loop);
  CHECK(adopted);
  CHECK(pair.owner.reads == 1);
  CHECK(pair.owner.ended == 0);

  pair.owner.received.clear();
  second.send("through the second connection");
  REQUIRE(run_until(loop, [&] { return pair.owner.reads == 2; }));
  CHECK(pair.owner.received == "through the second connection");
}

TEST_CASE("closing inside on_connected, on_drained or on_ended is allowed") {
  Loop loop;
  SUBCASE("on_connected") {
    uint16_t port = 0;
    const UniqueFd listener = bound_socket(port);
    ::listen(listener.get(), 8);
    Owner owner;
    Stream stream(loop, owner);
    owner.then_connected = [&] { stream.close(); };
    REQUIRE(stream.connect(socket_address(port)) == 0);
    loop.run();
    CHECK(owner.connected == 1);
    CHECK(stream.is_closed());
    CHECK(owner.ended == 0);
  }
  SUBCASE("on_drained") {
    UnixPair pair(loop);
    pair.owner.then_drained = [&] { pair.stream.close(); };
    pair.stream.write(pattern(kMuch));
    REQUIRE(run_until(loop, [&] { return pair.peer->ended(); }));
    CHECK(pair.peer->received.size() == kMuch);
    CHECK(pair.owner.drained == 1);
  }
  SUBCASE("on_ended") {
    UnixPair pair(loop);
    pair.owner.then_ended = [&] { pair.stream.close(); };
    pair.peer->end();
    REQUIRE(run_until(loop, [&] { return pair.owner.ended == 1; }));
    run_what_is_there(loop);
    CHECK(pair.owner.ended == 1);
  }
}

TEST_CASE("connecting again inside on_ended works") {
  Loop loop;
  uint16_t port = 0;
  const UniqueFd listener = bound_socket(port);
  ::listen(listener.get(), 8);
  TcpPair pair(loop);
  REQUIRE(pair.peer);
  int status = -1;
  pair.owner.then_ended = [&] { status = pair.stream.connect(socket_address(port)); };
  pair.peer->reset();
  REQUIRE(run_until(loop, [&] { return pair.owner.connected == 2; }));
  CHECK(status == 0);
  CHECK(pair.owner.ended == 1);
}

TEST_CASE("a paused stream takes nothing in, and misses nothing") {
  Loop loop;
  UnixPair paused(loop), other(loop);
  paused.stream.pause();
  paused.peer->send("waiting");
  paused.peer->end();
  other.peer->send("x");
  REQUIRE(run_until(loop, [&] { return other.owner.reads > 0; }));
  run_what_is_there(loop);
  CHECK(paused.owner.reads == 0);
  CHECK(paused.owner.ended == 0);

  paused.stream.resume();
  REQUIRE(run_until(loop, [&] { return paused.owner.ended == 1; }));
  CHECK(paused.owner.received == "waiting");
}

TEST_CASE("pausing inside on_bytes takes effect at once") {
  Loop loop;
  UnixPair pair(loop);
  pair.owner.then_bytes = [&] { pair.stream.pause(); };
  pair.peer->send(pattern(1024 * 1024));
  REQUIRE(run_until(loop, [&] { return pair.owner.reads == 1; }));
  run_what_is_there(loop);
  CHECK(pair.owner.reads == 1);
  const size_t before = pair.owner.received.size();
  CHECK(before < 1024 * 1024);
  pair.owner.then_bytes = {};
  pair.stream.resume();
  pair.stream.resume();
  REQUIRE(run_until(loop, [&] { return pair.owner.received.size() == 1024 * 1024; }));
  CHECK(pair.owner.received == pattern(1024 * 1024));
}

TEST_CASE_TEMPLATE("shutdown ends our side behind everything written, and reading goes on", Pair,
                   UnixPair, TcpPair) {
  Loop loop;
  Pair pair(loop);
  REQUIRE(pair.peer);
  pair.stream.write(pattern(kMuch));
  pair.stream.shutdown();
  pair.stream.shutdown();
  REQUIRE(run_until(loop, [&] { return pair.peer->ended(); }));
  CHECK(pair.peer->received == pattern(kMuch));
  CHECK_FALSE(pair.stream.is_closed());
  pair.peer->send("still heard");
  REQUIRE(run_until(loop, [&] { return pair.owner.received == "still heard"; }));
  pair.peer->end();
  REQUIRE(run_until(loop, [&] { return pair.owner.ended == 1; }));
  CHECK(pair.owner.error == 0);
}

TEST_CASE("writing to a peer that is gone raises no signal, and its end is told by reading") {
  Loop loop;
  UnixPair pair(loop);
  pair.peer->close();
  for (int i = 0; i < 3; ++i) {
    pair.stream.write(pattern(kMuch));
  }
  CHECK(pair.stream.backlog() == 0);
  REQUIRE(run_until(loop, [&] { return pair.owner.ended == 1; }));
  CHECK(pair.stream.is_closed());
}

TEST_CASE("a reset is never told as an orderly end") {
  Loop loop;
  TcpPair pair(loop);
  REQUIRE(pair.peer);
  SUBCASE("when it comes alone") {
    pair.peer->reset();
  }
  SUBCASE("when it comes together with bytes") {
    // libuv takes the hang-up behind a short read for an end of file.
    pair.peer->send("bytes");
    pair.peer->reset();
  }
  SUBCASE("when a write meets it first") {
    // The call that finds the reset takes the error away: a read behind it sees an end of file.
    pair.peer->reset();
    pair.stream.write("into the void");
  }
  REQUIRE(run_until(loop, [&] { return pair.owner.ended == 1; }));
  CHECK(pair.owner.error < 0);
  CHECK(pair.stream.is_closed());
}

TEST_CASE("a peer that goes while a backlog is on its way ends the stream once") {
  Loop loop;
  TcpPair pair(loop);
  REQUIRE(pair.peer);
  pair.peer->set_reading(false);
  pair.stream.write(pattern(kMuch));
  run_what_is_there(loop);
  CHECK(pair.stream.backlog() > 0);
  pair.peer->reset();
  REQUIRE(run_until(loop, [&] { return pair.owner.ended > 0; }));
  run_what_is_there(loop);
  CHECK(pair.owner.ended == 1);
  CHECK(pair.owner.drained == 0);
  CHECK(pair.stream.backlog() == 0);
}

TEST_CASE("a peer that goes while a backlog is on its way is told to a paused stream too") {
  // Reading, which would tell it, is off; the write that fails is all there is to go by.
  Loop loop;
  TcpPair pair(loop);
  REQUIRE(pair.peer);
  pair.peer->set_reading(false);
  pair.stream.write(pattern(kMuch));
  pair.stream.pause();
  run_what_is_there(loop);
  REQUIRE(pair.stream.backlog() > 0);
  pair.peer->reset();
  for (int turn = 0; turn < 100 && pair.owner.ended == 0; ++turn) {
    run_what_is_there(loop);
  }
  CHECK(pair.owner.ended == 1);
}

TEST_CASE("a stream may be destroyed with a backlog, a connection under way, or while reading") {
  Loop loop;
  Owner owner;
  {
    UnixPair pair(loop);
    pair.stream.write(pattern(kMuch));
    pair.peer->send("unread");
  }
  {
    uint16_t port = 0;
    const UniqueFd listener = bound_socket(port);
    ::listen(listener.get(), 8);
    Stream stream(loop, owner);
    CHECK(stream.connect(socket_address(port)) == 0);
  }
  loop.run();
  CHECK(owner.connected == 0);
  CHECK(owner.ended == 0);
}

TEST_CASE("connections over TCP do not wait to fill their packets") {
  Loop loop;
  TcpPair pair(loop);
  REQUIRE(pair.peer);
  int on = 0;
  socklen_t length = sizeof on;
  REQUIRE(::getsockopt(pair.stream.fd(), IPPROTO_TCP, TCP_NODELAY, &on, &length) == 0);
  CHECK(on != 0);
}
