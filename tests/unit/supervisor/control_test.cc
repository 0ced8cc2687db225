#include "supervisor/control.h"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <string>
#include <vector>

using namespace gigafetch;
using namespace gigafetch::supervisor;

namespace {

// Notes what was said.
struct Notes final : Control::Listener {
  void on_figures(const Figures& figures) override { stored.push_back(figures.stored); }
  void on_done(const wire::Done& done) override { text = done.text; }
  void on_kill_worker(const wire::KillWorker& kill) override { killed.push_back(kill.pid); }
  std::vector<uint64_t> stored;
  std::vector<uint32_t> killed;
  std::string text;
};

struct Pair {
  Pair() { reopen(); }
  void reopen() {
    Result<UniqueFd> opened = control.open();
    REQUIRE(opened);
    end = std::move(opened).value();
  }
  void say(const std::string& bytes) {
    REQUIRE(::send(end.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }
  Control control;
  UniqueFd end;
  Notes notes;
};

template <typename Message>
std::string frame_of(const Message& message) {
  std::string frame;
  wire::append(frame, message);
  return frame;
}

std::string figures_frame(uint64_t stored) {
  Figures figures;
  figures.stored = stored;
  return frame_of(figures);
}

}  // namespace

TEST_CASE("what the coordinator says arrives in order") {
  Pair pair;
  CHECK(pair.control.read(pair.notes) == Control::Heard::nothing);
  pair.say(figures_frame(1) + frame_of(wire::KillWorker{3, 77}) + figures_frame(2) +
           frame_of(wire::Done{1, "why"}));
  CHECK(pair.control.read(pair.notes) == Control::Heard::something);
  CHECK(pair.notes.stored == std::vector<uint64_t>{1, 2});
  CHECK(pair.notes.killed == std::vector<uint32_t>{77});
  CHECK(pair.notes.text == "why");
}

TEST_CASE("half a message is nothing yet, and nothing of it comes over to the next coordinator") {
  Pair pair;
  const std::string frame = figures_frame(5);
  pair.say(frame.substr(0, 20));
  CHECK(pair.control.read(pair.notes) == Control::Heard::nothing);
  SUBCASE("it is heard when the rest arrives") {
    pair.say(frame.substr(20));
    CHECK(pair.control.read(pair.notes) == Control::Heard::something);
    CHECK(pair.notes.stored == std::vector<uint64_t>{5});
  }
  SUBCASE("a fresh pair begins afresh") {
    pair.reopen();
    pair.say(figures_frame(6));
    CHECK(pair.control.read(pair.notes) == Control::Heard::something);
    CHECK(pair.notes.stored == std::vector<uint64_t>{6});
  }
}

TEST_CASE("last words are heard, then the closed socket is let go and stays silent") {
  Pair pair;
  pair.say(figures_frame(9));
  pair.end.reset();
  CHECK(pair.control.read(pair.notes) == Control::Heard::something);
  CHECK(pair.notes.stored == std::vector<uint64_t>{9});
  CHECK(pair.control.fd() == -1);
  CHECK(pair.control.read(pair.notes) == Control::Heard::nothing);
  pair.control.tell_drain();  // to nobody
}

TEST_CASE("what is no message of a coordinator is rubbish") {
  Pair pair;
  SUBCASE("not a frame") {
    pair.say("HTTP/1.1 200 OK\r\n\r\n");
  }
  SUBCASE("a worker's message") {
    pair.say(frame_of(wire::Fatal{"no"}));
  }
  SUBCASE("figures that are short") {
    std::string frame;
    wire::append_empty(frame, wire::MessageType::figures);
    pair.say(frame);
  }
  CHECK(pair.control.read(pair.notes) == Control::Heard::rubbish);
}

TEST_CASE("a coordinator that does not read blocks nobody") {
  Pair pair;
  for (uint32_t i = 0; i < 100'000; ++i)
    pair.control.tell(wire::WorkerReaped{i, i});
  CHECK(pair.control.fd() >= 0);
}

TEST_CASE("what is told arrives") {
  Pair pair;
  pair.control.tell(wire::WorkerReaped{2, 99});
  pair.control.tell_drain();
  std::string bytes(1024, '\0');
  const ssize_t got = ::recv(pair.end.get(), bytes.data(), bytes.size(), 0);
  REQUIRE(got > 0);
  wire::FrameReader reader;
  reader.feed(std::string_view(bytes).substr(0, static_cast<size_t>(got)));
  wire::Frame frame;
  REQUIRE(reader.next(frame) == wire::FrameReader::Status::frame);
  CHECK(wire::parse_worker_reaped(frame.payload).value().pid == 99);
  REQUIRE(reader.next(frame) == wire::FrameReader::Status::frame);
  CHECK(frame.type == wire::MessageType::drain);
}
