#include "http/request_parser.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/escape.h"
#include "base/temp_folder.h"
#include "http/string_list.h"

namespace gigafetch::http {
namespace {

class Recorder : private RequestParser::Handler {
 public:
  Recorder() : parser_(*this) {}

  RequestParser& parser() { return parser_; }

  bool feed(std::string_view bytes) {
    // A copy of its own size: a target that still points into earlier bytes shows.
    const std::unique_ptr<char[]> piece(new char[bytes.empty() ? 1 : bytes.size()]);
    bytes.copy(piece.get(), bytes.size());
    const bool taken = parser_.feed(std::string_view(piece.get(), bytes.size()));
    if (!taken && !refused_) requests_.push_back("refused");
    refused_ = refused_ || !taken;
    return taken;
  }
  const Strings& requests() const { return requests_; }

 private:
  bool on_request(const Request& request) override {
    requests_.push_back(fmt::format("{} {} {}", request.is_get ? "GET" : "other", request.target,
                                    request.keep_alive ? "keep" : "close"));
    return true;
  }

  Strings requests_;
  bool refused_ = false;
  RequestParser parser_;
};

using Requests = Strings;

Requests fed_in(std::string_view bytes, size_t step) {
  Recorder recorder;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(step, bytes.size()))) {
    if (!recorder.feed(bytes.substr(0, step))) break;
  }
  return recorder.requests();
}

// The requests in `bytes`, having checked every split in two, and byte by byte.
Requests requests_of(std::string_view bytes) {
  CAPTURE(printable(bytes, 300));
  const Requests whole = fed_in(bytes, SIZE_MAX);
  CHECK(fed_in(bytes, 1) == whole);
  CHECK(fed_in(bytes, 3) == whole);
  size_t different = 0;
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    Recorder recorder;
    if (recorder.feed(bytes.substr(0, cut))) recorder.feed(bytes.substr(cut));
    different += recorder.requests() != whole;
  }
  CHECK(different == 0);
  return whole;
}

}  // namespace

TEST_CASE("a request's target comes out whole in every split") {
  CHECK(
      requests_of("GET /list?next-marker=a%20b HTTP/1.1\r\nHost: h:80\r\nUser-Agent: x\r\n\r\n") ==
      Requests{"GET /list?next-marker=a%20b keep"});
  CHECK(requests_of("GET / HTTP/1.1\r\nHost: h\r\n\r\n") == Requests{"GET / keep"});
}

TEST_CASE("pipelined requests come out one by one, in their order, in every split") {
  std::string bytes;
  Requests expected;
  for (const std::string& target :
       Strings{"/get/a", "/", "/get/a-much-longer-name", "/list", "/get/b"}) {
    bytes += "GET " + target + " HTTP/1.1\r\nHost: h\r\nAccept-Encoding: identity\r\n\r\n";
    expected.push_back("GET " + target + " keep");
  }
  CHECK(requests_of(bytes) == expected);
}

TEST_CASE("an empty read inside a request changes nothing") {
  const std::string request = "GET /get/a HTTP/1.1\r\nHost: h\r\n\r\n";
  std::string lost;
  for (size_t cut = 0; cut <= request.size(); ++cut) {
    // In a child: a parser that loses its place reads from address 0.
    const int status = in_child([&] {
      Recorder recorder;
      recorder.feed(std::string_view(request).substr(0, cut));
      recorder.parser().feed(std::string_view());
      recorder.feed(std::string_view(request).substr(cut));
      return recorder.requests() == Requests{"GET /get/a keep"} ? 0 : 1;
    });
    if (status != 0) lost += fmt::format("{} ", cut);
  }
  CHECK(lost == "");
}

TEST_CASE("a request that is not whole is not answered") {
  const std::string request = "GET /get/a HTTP/1.1\r\nHost: h\r\n\r\n";
  for (size_t cut = 0; cut < request.size(); ++cut) {
    CHECK(requests_of(request.substr(0, cut)).empty());
  }
}

TEST_CASE("whether the client wants to stay is told") {
  CHECK(requests_of("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n") ==
        Requests{"GET /a close"});
  CHECK(requests_of("GET /a HTTP/1.0\r\n\r\n") == Requests{"GET /a close"});
  CHECK(requests_of("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n") ==
        Requests{"GET /a keep"});
}

TEST_CASE("another method is told apart, and its body is not taken for a request") {
  for (const std::string& method : Strings{"HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}) {
    CHECK(requests_of(method + " /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n") ==
          Requests{"other /a keep"});
  }
  CHECK(requests_of(
            "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 21\r\n\r\nGET /no HTTP/1.1\r\n\r\n"
            "GGET /b HTTP/1.1\r\nHost: h\r\n\r\n")[0] == "other /a keep");
  CHECK(requests_of(
            "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\nGET /no HTTP/1.1\r\n\r\n"
            "GET /b HTTP/1.1\r\nHost: h\r\n\r\n") == Requests{"other /a keep", "GET /b keep"});
  CHECK(requests_of(
            "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            "GET /b HTTP/1.1\r\nHost: h\r\n\r\n") == Requests{"other /a keep", "GET /b keep"});
}

TEST_CASE("what is no HTTP request is refused, and nothing behind it is read") {
  for (const std::string& garbage :
       Strings{"garbage\r\n\r\n", "\x16\x03\x01\x02", "GET\r\n\r\n", "GET /a HTTP/9.9\r\n\r\n",
               "get /a HTTP/1.1\r\n\r\n", "GET /a b HTTP/1.1\r\n\r\n",
               "GET /a HTTP/1.1\r\nno colon\r\n\r\n", "GET /a HTTP/1.1\r\nX: y\rZ: z\r\n\r\n",
               "GET /\x01 HTTP/1.1\r\n\r\n",
               "POST /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
               "POST /a HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx"}) {
    CAPTURE(printable(garbage));
    const std::string request = "GET /first HTTP/1.1\r\nHost: h\r\n\r\n";
    CHECK(requests_of(garbage + request) == Requests{"refused"});
    CHECK(requests_of(request + garbage + request) == Requests{"GET /first keep", "refused"});
    Recorder recorder;
    CHECK_FALSE(recorder.feed(garbage));
    CHECK_FALSE(recorder.feed(request));
    CHECK(recorder.requests() == Requests{"refused"});
  }
}

TEST_CASE("a request behind the announced last one is refused") {
  const std::string last = "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
  CHECK(requests_of(last + last) == Requests{"GET /a close", "refused"});
}

// Byte by byte every request goes through llhttp; whole, one that repeats the head before it may
// not.
TEST_CASE("a request like the one before it is read as llhttp reads it, whatever byte is changed") {
  const std::string plain = "GET /get/a?b=%20 HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n";
  CHECK(fed_in(plain + plain + plain, SIZE_MAX) == Requests(3, "GET /get/a?b=%20 keep"));
  std::string different;
  size_t taken = 0;
  const auto compare = [&](const std::string& changed) {
    const std::string bytes = plain + changed + plain;
    const Requests whole = fed_in(bytes, SIZE_MAX);
    taken += whole.size() == 3 && whole[2] == "GET /get/a?b=%20 keep" ? 1 : 0;
    if (whole != fed_in(bytes, 1)) different += printable(changed, 100) + "\n";
  };
  for (size_t at = 0; at < plain.size(); ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = plain;
      changed[at] = static_cast<char>(byte);
      compare(changed);
      std::string longer = plain;
      longer.insert(at, 1, static_cast<char>(byte));
      compare(longer);
    }
    std::string shorter = plain;
    shorter.erase(at, 1);
    compare(shorter);
    compare(plain.substr(at));
  }
  CHECK(different == "");
  CHECK(taken > 1000);
}

TEST_CASE("heads that differ may follow each other in any order") {
  const Strings requests{
      "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET /b HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET /c?d#e HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET  /f HTTP/1.1\r\nHost: h\r\n\r\n",
      "\r\nGET /g HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET http://h/i HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET /j HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
      "GET /k HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
      "GET /l HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
      "GET /m HTTP/1.1\r\nContent-Length: 3\r\n\r\nGET",
      "GET /n HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
      "GET /o HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
      "HEAD /p HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET /" + std::string(2'000, 'q') + " HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET /r HTTP/1.1\r\nX: " + std::string(6'000, 'x') + "\r\n\r\n",
      "GET /s\r\n\r\n",
      "GET /t##u HTTP/1.1\r\nHost: h\r\n\r\n"};
  for (const std::string& first : requests) {
    for (const std::string& second : requests) {
      for (const std::string& third : requests) {
        const std::string bytes = first + second + second + third + first;
        const Requests read = fed_in(bytes, 1);
        CAPTURE(printable(bytes, 300));
        CHECK(fed_in(bytes, SIZE_MAX) == read);
        CHECK(fed_in(bytes, 61) == read);
      }
    }
  }
}

TEST_CASE("what repeats a request inside of another one is no request, in every split") {
  const std::string plain = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
  CHECK(requests_of(plain +
                    fmt::format("POST /b HTTP/1.1\r\nContent-Length: {}\r\n\r\n", plain.size()) +
                    plain + plain) == Requests{"GET /a keep", "other /b keep", "GET /a keep"});
  CHECK(requests_of(plain + "GET /c HTTP/1.1\r\nX: " + plain + plain) ==
        Requests{"GET /a keep", "GET /c keep", "GET /a keep"});
}

TEST_CASE("repeated requests behind the announced last one are refused") {
  const std::string plain = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
  const std::string last = "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
  CHECK(requests_of(plain + plain + last + plain) ==
        Requests{"GET /a keep", "GET /a keep", "GET /a close", "refused"});
}

TEST_CASE("an offer to upgrade is passed over") {
  const std::string request =
      "GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
      "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
  CHECK(requests_of(request + request) == Requests{"GET /a keep", "GET /a keep"});
}

TEST_CASE("a head over the limit is refused however it is split") {
  const std::string big(70'000, 'x');
  for (const std::string& head :
       Strings{"GET /" + big, "GET / HTTP/1.1\r\nX: " + big, "GET / HTTP/1.1\r\n" + big}) {
    for (const size_t step : {size_t{1}, size_t{1'460}, SIZE_MAX}) {
      CAPTURE(step);
      CHECK(fed_in(head + ": y\r\n\r\n", step) == Requests{"refused"});
    }
  }
}

TEST_CASE("endless white space in a head is refused") {
  CHECK(fed_in("GET / HTTP/1.1\r\nX:" + std::string(1'000'000, ' '), 1'460) == Requests{"refused"});
}

TEST_CASE("a long head below the limit is taken however it is split") {
  const std::string target = "/" + std::string(30'000, 't');
  const std::string request =
      "GET " + target + " HTTP/1.1\r\nX: " + std::string(30'000, 'x') + "\r\n\r\n";
  for (const size_t step : {size_t{1}, size_t{1'460}, SIZE_MAX}) {
    CAPTURE(step);
    CHECK(fed_in(request + request, step) ==
          Requests{"GET " + target + " keep", "GET " + target + " keep"});
  }
}

TEST_CASE("an endless body is refused") {
  const std::string start = "POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n";
  CHECK(fed_in(start + std::string(70'000, 'x'), 1'460) == Requests{"refused"});
}

namespace {

// Takes one request at a time.
struct Reluctant : RequestParser::Handler {
  bool on_request(const Request& request) override {
    targets.emplace_back(request.target);
    return false;
  }
  Strings targets;
};

}  // namespace

TEST_CASE("a handler that wants no more gets one request at each resume, however they are split") {
  const std::string bytes =
      "GET /a HTTP/1.1\r\nHost: h\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
      "GET /c HTTP/1.1\r\n\r\nGET /d HTTP/1.1\r\nHost: h\r\n\r\n";
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    CAPTURE(cut);
    Reluctant handler;
    RequestParser parser(handler);
    CHECK(parser.feed(std::string_view(bytes).substr(0, cut)));
    CHECK(handler.targets.size() <= 1);
    CHECK(parser.feed(std::string_view(bytes).substr(cut)));
    for (size_t resumes = 0; parser.holding() && resumes < 10; ++resumes) {
      const size_t before = handler.targets.size();
      CHECK(parser.resume());
      CHECK(handler.targets.size() <= before + 1);
    }
    CHECK(handler.targets == Strings{"/a", "/b", "/c", "/d"});
    CHECK_FALSE(parser.holding());
    CHECK(parser.resume());
  }
}

TEST_CASE("a handler that wants no more gets repeated requests one by one as well") {
  std::string bytes;
  Strings expected;
  for (const char* target : {"/a", "/b", "/c", "/d", "/e"}) {
    bytes += fmt::format("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", target);
    expected.emplace_back(target);
  }
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    CAPTURE(cut);
    Reluctant handler;
    RequestParser parser(handler);
    CHECK(parser.feed(std::string_view(bytes).substr(0, cut)));
    CHECK(parser.feed(std::string_view(bytes).substr(cut)));
    for (size_t resumes = 0; parser.holding() && resumes < 10; ++resumes) {
      const size_t before = handler.targets.size();
      CHECK(parser.resume());
      CHECK(handler.targets.size() <= before + 1);
    }
    CHECK(handler.targets == expected);
  }
}

TEST_CASE("what is no request is refused when its turn comes") {
  Reluctant handler;
  RequestParser parser(handler);
  CHECK(parser.feed("GET /a HTTP/1.1\r\n\r\nnonsense\r\n\r\n"));
  CHECK(parser.holding());
  CHECK_FALSE(parser.resume());
  CHECK(handler.targets == Strings{"/a"});
}

}  // namespace gigafetch::http
