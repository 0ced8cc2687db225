#include "net/unix_listener.h"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <memory>
#include <vector>

#include "base/temp_folder.h"
#include "base/unix_socket.h"
#include "net/drive.h"
#include "net/raw_socket.h"

using namespace gigafetch;
using namespace gigafetch::net;
using namespace gigafetch::testing;

namespace {

struct Owner : Stream::Handler {
  void on_bytes(std::string_view bytes) override { received += bytes; }
  void on_ended(int) override { ended = true; }
  std::string received;
  bool ended = false;
};

}  // namespace

TEST_CASE("each connection that waits is told and can be accepted") {
  TempFolder folder;
  Result<UniqueFd> listening = listen_in_folder(folder.fd(), "socket");
  REQUIRE(listening);

  Loop loop;
  std::vector<std::unique_ptr<Owner>> owners;
  std::vector<std::unique_ptr<Stream>> streams;
  UnixListener* self = nullptr;
  UnixListener listener(loop, [&] {
    owners.push_back(std::make_unique<Owner>());
    streams.push_back(std::make_unique<Stream>(loop, *owners.back()));
    CHECK(self->accept(*streams.back()));
  });
  self = &listener;
  REQUIRE(listener.open(std::move(listening).value()));

  std::vector<std::unique_ptr<RawSocket>> clients;
  for (int i = 0; i < 5; ++i) {
    Result<UniqueFd> connected = connect_in_folder(folder.fd(), "socket");
    REQUIRE(connected);
    clients.push_back(std::make_unique<RawSocket>(loop, std::move(connected).value()));
    clients.back()->send("client " + std::to_string(i));
  }
  REQUIRE(run_until(loop, [&] {
    size_t told = 0;
    for (const auto& owner : owners)
      told += owner->received.size() == 8 ? 1 : 0;
    return told == 5;
  }));
  CHECK(streams.size() == 5);
  streams[0]->write("answer");
  REQUIRE(run_until(loop, [&] {
    for (const auto& client : clients) {
      if (client->received == "answer") return true;
    }
    return false;
  }));
  clients.clear();
  REQUIRE(run_until(loop, [&] {
    for (const auto& owner : owners) {
      if (!owner->ended) return false;
    }
    return true;
  }));
}

TEST_CASE("connections that came before the listener was opened are told as well") {
  TempFolder folder;
  Result<UniqueFd> listening = listen_in_folder(folder.fd(), "socket");
  REQUIRE(listening);
  Result<UniqueFd> early = connect_in_folder(folder.fd(), "socket");
  REQUIRE(early);
  REQUIRE(::send(early.value().get(), "early", 5, 0) == 5);

  Loop loop;
  Owner owner;
  Stream stream(loop, owner);
  UnixListener* self = nullptr;
  UnixListener listener(loop, [&] { CHECK(self->accept(stream)); });
  self = &listener;
  REQUIRE(listener.open(std::move(listening).value()));
  REQUIRE(run_until(loop, [&] { return owner.received == "early"; }));
}

TEST_CASE("what is no socket is refused") {
  Loop loop;
  UnixListener listener(loop, [] {});
  CHECK_FALSE(listener.open(UniqueFd()));
}

TEST_CASE("a listener that is gone tells nothing") {
  TempFolder folder;
  Result<UniqueFd> listening = listen_in_folder(folder.fd(), "socket");
  REQUIRE(listening);
  Loop loop;
  int told = 0;
  {
    UnixListener listener(loop, [&] { ++told; });
    REQUIRE(listener.open(std::move(listening).value()));
    REQUIRE(connect_in_folder(folder.fd(), "socket"));
  }
  loop.run();
  CHECK(told == 0);
}
