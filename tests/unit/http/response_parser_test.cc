#include "http/response_parser.h"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "base/temp_folder.h"
#include "http/response_recorder.h"

namespace gigafetch::http {
namespace {

using namespace std::string_literals;

const std::string kOk = "HTTP/1.1 200 OK\r\n";
const std::string kHi = "Content-Length: 2\r\n\r\nhi";
const std::string kChunkedHead = kOk + "Transfer-Encoding: chunked\r\n\r\n";
const std::string kChunkedHi = "\r\n2\r\nhi\r\n0\r\n\r\n";  // behind the last field of a head
const Events kHiEvents = {"head 200 keep length=2", "body hi", "complete keep"};

// The bytes must bring the fault, however they are split, and no response may come out of them.
void check_refused(const std::string& bytes, ResponseFault fault) {
  CAPTURE(printable(bytes, 300));
  const Events events = events_in_every_split(bytes, 3);
  for (const std::string& event : events)
    CHECK_FALSE(event.starts_with("complete"));
  REQUIRE_FALSE(events.empty());
  CHECK(events.back() == fmt::format("fault {}", name_of(fault)));
}

void check_refused_head(const std::string& bytes) {
  check_refused(bytes, ResponseFault::bad_framing);
  CHECK(events_of(bytes, {}, 3, false).size() == 1);
}

// The fault that feeding pieces of `step` bytes brings.
ResponseFault fault_of(std::string_view bytes, size_t step, size_t requests = 1) {
  ResponseRecorder recorder(requests);
  for (; !bytes.empty(); bytes.remove_prefix(std::min(step, bytes.size()))) {
    const ResponseFault fault = recorder.feed(bytes.substr(0, step));
    if (fault != ResponseFault::none) return fault;
  }
  return ResponseFault::none;
}

// Sizes of reads: the smallest, a segment, a loop's buffer, all at once.
const std::vector<size_t> kReadSizes = {1, 100, 1'460, 65'536, SIZE_MAX};

std::string repeated(std::string_view text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i)
    out += text;
  return out;
}

}  // namespace

TEST_CASE("every response fault has a name of its own") {
  std::set<std::string_view> names;
  for (int value = 0; value <= static_cast<int>(ResponseFault::handler_stop); ++value) {
    names.insert(name_of(static_cast<ResponseFault>(value)));
  }
  CHECK(names.size() == static_cast<size_t>(ResponseFault::handler_stop) + 1);
  CHECK(names.count("unknown") == 0);
}

TEST_CASE("a response delimited by its length is read in every split") {
  CHECK(events_in_every_split(kOk + kHi, 1) == kHiEvents);
  CHECK(events_in_every_split(kOk + "Content-Length: 0\r\n\r\n", 1) ==
        Events{"head 200 keep length=0", "complete keep"});
  CHECK(
      events_in_every_split("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n\0\r\n\xFF"s, 1) ==
      Events{"head 404 keep length=4", "body \0\r\n\xFF"s, "complete keep"});
  CHECK(events_in_every_split("HTTP/1.1 200\r\n" + kHi, 1) == kHiEvents);
  CHECK(events_in_every_split("HTTP/1.1 200 \r\n" + kHi, 1) == kHiEvents);
}

TEST_CASE("an empty read inside a response changes nothing") {
  const std::string bytes = kOk + "X: y\r\n" + kHi;
  std::string lost;
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    // In a child: a parser that loses its place reads from address 0.
    const int status = in_child([&] {
      ResponseRecorder recorder(1);
      recorder.feed(std::string_view(bytes).substr(0, cut));
      recorder.parser().feed(std::string_view());
      recorder.feed(std::string_view(bytes).substr(cut));
      return recorder.events() == kHiEvents ? 0 : 1;
    });
    if (status != 0) lost += fmt::format("{} ", cut);
  }
  CHECK(lost == "");
}

TEST_CASE("a chunked response is read in every split") {
  const Events expected = {"head 200 keep", "body hi", "complete keep"};
  CHECK(events_in_every_split(kChunkedHead + "2\r\nhi\r\n0\r\n\r\n", 1) == expected);
  CHECK(events_in_every_split(kChunkedHead + "1\r\nh\r\n001\r\ni\r\n000\r\n\r\n", 1) == expected);
  CHECK(events_in_every_split(kChunkedHead + "2;a;b=c\r\nhi\r\n0;f\r\n\r\n", 1) == expected);
  CHECK(events_in_every_split(kChunkedHead + "A\r\n0123\r\n6789\r\n0\r\n\r\n", 1) ==
        Events{"head 200 keep", "body 0123\r\n6789", "complete keep"});
  CHECK(events_in_every_split(kOk + "transfer-ENCODING:Chunked\r\n" + kChunkedHi, 1) == expected);
  CHECK(events_in_every_split(kChunkedHead + "0\r\n\r\n", 1) ==
        Events{"head 200 keep", "complete keep"});
}

TEST_CASE("the fields that matter are known by their whole name in any case, and trimmed") {
  const std::string fields =
      "CONTENT-encoding: \t gzip \t \r\nContent-Type:text/plain; charset=x\r\nLocation: /a b\r\n"
      "Retry-After: 7\r\nX-Location: /no\r\nLocationX: /no\r\nLocatio: /no\r\nContent-Typf: no\r\n"
      "Content-Encoding-And-A-Name-Longer-Than-Any: no\r\n";
  CHECK(events_in_every_split(kOk + fields + kHi, 1) ==
        Events{"head 200 keep length=2 encoding='gzip' type='text/plain; charset=x' "
               "location='/a b' retry='7'",
               "body hi", "complete keep"});
}

TEST_CASE("no field is carried from one response to the next") {
  const std::string first =
      "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Encoding: gzip\r\nLocation: "
      "/a\r\nContent-Type: t\r\n" +
      kHi;
  const std::string interim = "HTTP/1.1 103 Hints\r\nLocation: /b\r\nRetry-After: 8\r\n\r\n";
  CHECK(events_in_every_split(first + interim + kOk + kHi, 2) ==
        Events{"head 503 keep length=2 encoding='gzip' type='t' location='/a' retry='7'", "body hi",
               "complete keep", "head 200 keep length=2", "body hi", "complete keep"});
}

TEST_CASE("the values of a repeated Retry-After are not run together") {
  const Events events =
      events_in_every_split(kOk + "Retry-After: 1\r\nRetry-After: 20\r\n" + kHi, 1);
  CHECK(events[0].find("retry='120'") == std::string::npos);
}

TEST_CASE("an interim response is not taken for the answer") {
  CHECK(events_in_every_split("HTTP/1.1 100 Continue\r\n\r\n" + kOk + kHi, 1) == kHiEvents);
  CHECK(events_in_every_split(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 C\r\n\r\n" + kOk + kHi,
            1) == kHiEvents);
  CHECK(events_in_every_split("HTTP/1.1 199 Odd\r\nContent-Length: 0\r\n\r\n" + kOk + kHi, 1) ==
        kHiEvents);
}

TEST_CASE("an interim response alone answers nothing") {
  CHECK(events_in_every_split("HTTP/1.1 100 Continue\r\n\r\n", 1, true).empty());
}

TEST_CASE("16 interim responses before a response are skipped, a 17th is refused") {
  const std::string interim = "HTTP/1.1 102 P\r\n\r\n";
  const std::string most = repeated(interim, kMaxInterimResponses) + kOk + kHi;
  CHECK(events_of(most, {}, 1, false) == kHiEvents);
  CHECK(events_of(most + most + most, {}, 3, false).size() == 3 * kHiEvents.size());
  check_refused(interim + most, ResponseFault::head_limit);
}

TEST_CASE("a switch of protocols is refused") {
  check_refused_head(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n" + kOk +
      kHi);
  check_refused_head("HTTP/1.1 101 Switching Protocols\r\n\r\n" + kOk + kHi);
}

TEST_CASE("an offer to upgrade changes nothing") {
  CHECK(events_in_every_split(kOk + "Upgrade: h2c\r\nConnection: upgrade\r\n" + kHi, 1) ==
        kHiEvents);
}

TEST_CASE("a status without a body is followed at once by the next response") {
  for (const std::string& status : Strings{"204", "304"}) {
    for (const std::string& fields : Strings{"", "Content-Length: 0\r\n"}) {
      const Events events =
          events_in_every_split("HTTP/1.1 " + status + " x\r\n" + fields + "\r\n" + kOk + kHi, 2);
      REQUIRE(events.size() == 5);
      CHECK(events[0].starts_with("head " + status + " keep"));
      CHECK(Events(events.begin() + 2, events.end()) == kHiEvents);
    }
  }
}

TEST_CASE("a status without a body that announces one is refused") {
  for (const std::string& status : Strings{"100", "103", "204", "304"}) {
    check_refused_head("HTTP/1.1 " + status + " x\r\n" + kHi + kOk + kHi);
    check_refused_head("HTTP/1.1 " + status + " x\r\nTransfer-Encoding: chunked\r\n" + kChunkedHi);
  }
}

TEST_CASE("a status outside 100 to 599 is refused") {
  for (const std::string& line :
       Strings{"HTTP/1.1  200 OK", "HTTP/1.1 0 x", "HTTP/1.1 00 x", "HTTP/1.1 99 x",
               "HTTP/1.1 099 x", "HTTP/1.1 600 x", "HTTP/1.1 999 x", "HTTP/1.1 1000 x",
               "HTTP/1.1 2000 OK", "HTTP/1.1 20 OK", "HTTP/1.1 -200 OK", "HTTP/1.1 4294967496 OK",
               "HTTP/1.1 200OK", "HTTP/1.1 OK", "HTTP/1.1", "HTTP/1.1 2 00 OK"}) {
    check_refused_head(line + "\r\n" + kHi);
    check_refused_head(line + "\r\nX: y\r\n\r\n" + kOk + kHi);
  }
}

TEST_CASE("what is not HTTP/1.0 or HTTP/1.1 is refused") {
  for (const std::string& line :
       Strings{"HTTP/0.9 200 OK", "HTTP/1.2 200 OK", "HTTP/2.0 200 OK", "HTTP/2 200",
               "HTTP/1.1200 OK", "http/1.1 200 OK", "ICY 200 OK", "RTSP/1.0 200 OK", "<html>",
               " HTTP/1.1 200 OK", "\x16\x03\x01", "GET / HTTP/1.1"}) {
    check_refused_head(line + "\r\n" + kHi);
  }
}

TEST_CASE("two lengths are refused, also when they agree") {
  for (const std::string& fields :
       Strings{"Content-Length: 2\r\nContent-Length: 2\r\n",
               "Content-Length: 2\r\nContent-Length: 20\r\n",
               "Content-Length: 2\r\nX: y\r\ncontent-length: 2\r\n", "Content-Length: 2, 2\r\n",
               "Content-Length: 2 2\r\n", "Content-Length: 2\r\n 0\r\n",
               "Content-Length: 2\r\n \r\n"}) {
    check_refused_head(kOk + fields + "\r\nhi");
  }
}

TEST_CASE("a length that is not a plain number is refused") {
  for (const std::string& value : Strings{"", " ", "+2", "-2", "0x2", "2a", "2.0", "\"2\"", "2;",
                                          "18446744073709551616", "99999999999999999999999"}) {
    check_refused_head(kOk + "Content-Length: " + value + "\r\n\r\nhi");
  }
  CHECK(events_in_every_split(kOk + "Content-Length: 18446744073709551615\r\n\r\n", 1) ==
        Events{"head 200 keep length=18446744073709551615"});
}

TEST_CASE("a length together with a transfer coding is refused") {
  const std::string length = "Content-Length: 12\r\n";
  for (const std::string& coding :
       Strings{"Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip\r\n",
               "Transfer-Encoding: identity\r\n", "Transfer-Encoding:\r\n chunked\r\n",
               "transfer-encoding:\r\n gzip\r\n"}) {
    check_refused_head(kOk + length + coding + kChunkedHi);
    check_refused_head(kOk + coding + length + kChunkedHi);
  }
}

TEST_CASE("a transfer coding other than plain chunked is refused") {
  for (const std::string& value :
       Strings{"gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "chunked;q=1",
               "identity", "chunked,", ",chunked", "xchunked", "chunkedx", "x chunked",
               "\"chunked\"", "chunke", "chunked\x0B",
               "\x0B"
               "chunked"}) {
    check_refused_head(kOk + "Transfer-Encoding: " + value + "\r\n" + kChunkedHi);
  }
  for (const std::string& second : Strings{"chunked", "gzip", "identity", ""}) {
    check_refused_head(kOk + "Transfer-Encoding: chunked\r\nTransfer-Encoding: " + second + "\r\n" +
                       kChunkedHi);
    check_refused_head(kOk + "Transfer-Encoding: " + second + "\r\nTransfer-Encoding: chunked\r\n" +
                       kChunkedHi);
  }
  check_refused_head("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n" + kChunkedHi);
}

TEST_CASE("an empty transfer coding is refused, with a length and without") {
  const std::string length = "Content-Length: 12\r\n";
  for (const std::string& value : Strings{"", " ", "\r\n ", "\r\n\t\r\n "}) {
    const std::string coding = "Transfer-Encoding:" + value + "\r\n";
    check_refused_head(kOk + coding + kChunkedHi);
    check_refused_head(kOk + length + coding + kChunkedHi);
    check_refused_head(kOk + coding + length + kChunkedHi);
  }
}

TEST_CASE("a folded transfer coding is refused") {
  for (const std::string& value :
       Strings{"\r\n chunked", "\r\n\tchunked", " \r\n chunked", "chunked\r\n ", " chunked\r\n\t",
               " chunked\r\n x", " chunk\r\n ed", " chunked,\r\n gzip", " gzip,\r\n chunked",
               "\r\n \r\n chunked"}) {
    check_refused_head(kOk + "Transfer-Encoding:" + value + "\r\n" + kChunkedHi);
    check_refused_head(kOk + "X: y\r\nTransfer-Encoding:" + value + "\r\nZ: z\r\n" + kChunkedHi);
  }
}

TEST_CASE("a lone carriage return or line feed does not hide a field") {
  for (const std::string& field : Strings{"Transfer-Encoding: chunked", "Content-Length: 0"}) {
    for (const std::string& trick :
         Strings{"X:\r", "X: y\r", "X: \r", "X\r", "X:\n\r", "X:\r\r\n", "X: y\r\r\n", "X: y\n\r",
                 "X\r\n", " ", "\t", "X y: z\r\n", "X: y\0\r\n"s}) {
      check_refused_head(kOk + trick + field + "\r\n" + kChunkedHi);
    }
  }
  check_refused_head(kOk + "Transfer-Encoding : chunked\r\n" + kChunkedHi);
  check_refused_head(kOk + "Content-Length : 2\r\n\r\nhi");
  check_refused_head(kOk + "Content-Length: 2\n\nhi");
}

TEST_CASE("a bad chunk is refused") {
  for (const std::string& chunks :
       Strings{"\r\nhi\r\n0\r\n\r\n", "g\r\nhi\r\n", "0x2\r\nhi\r\n", "-2\r\nhi\r\n",
               "+2\r\nhi\r\n", " 2\r\nhi\r\n", "2 \r\nhi\r\n", "2 ;a\r\nhi\r\n", "2\nhi\r\n",
               "2\rXhi\r\n", "2;\nhi\r\n", "2;a\nhi\r\n", "2;\x01\r\nhi\r\n",
               "FFFFFFFFFFFFFFFFF\r\nhi", "10000000000000000\r\nhi"}) {
    check_refused(kChunkedHead + chunks, ResponseFault::bad_framing);
    CHECK(events_of(kChunkedHead + chunks, {}, 3, false).size() == 2);
  }
  for (const std::string& chunks :
       Strings{"2\r\nhiX", "2\r\nhi0\r\n\r\n", "2\r\nhi\n0\r\n\r\n", "1\r\nhi\r\n0\r\n\r\n",
               "2\r\nhi\rX0\r\n\r\n", "2\r\nhi\r\n0\n\n",
               "2\r\nhi\r\n0\r\nX"
               "\r\n\r\n"}) {
    check_refused(kChunkedHead + chunks, ResponseFault::bad_framing);
  }
}

TEST_CASE("a trailer does not change what the head said") {
  const std::string trailer =
      "X: y\r\nContent-Encoding: gzip\r\nLocation: /x\r\nRetry-After: 9\r\nContent-Type: t\r\n"
      "Content-Length: 7\r\n";
  CHECK(events_in_every_split(
            kOk +
                "Content-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n" +
                trailer + "\r\n" + kOk + kHi,
            2) == Events{"head 200 keep encoding='identity'", "body hi", "complete keep",
                         "head 200 keep length=2", "body hi", "complete keep"});
}

TEST_CASE("a trailer about the connection or the framing ends the connection, and never keeps it") {
  for (const std::string& trailer : Strings{"Connection: close\r\n", "Transfer-Encoding: gzip\r\n",
                                            "Transfer-Encoding: x, y\r\n"}) {
    CAPTURE(trailer);
    CHECK(events_in_every_split(kChunkedHead + "2\r\nhi\r\n0\r\n" + trailer + "\r\n", 2) ==
          Events{"head 200 keep", "body hi", "complete close", "fault handler-stop"});
  }
  CHECK(events_in_every_split(kOk + "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                                    "2\r\nhi\r\n0\r\nConnection: keep-alive\r\n\r\n",
                              2) ==
        Events{"head 200 close", "body hi", "complete close", "fault handler-stop"});
}

TEST_CASE("bytes behind the last expected response are stray, or a surplus response") {
  for (const std::string& behind : Strings{" ", "\0"s, "hi", "\r\nhi", "H", kOk + kHi, kOk,
                                           "\r\n" + kOk, "HTTP/1.1 100 C\r\n\r\n"s}) {
    const bool surplus = behind.find('H') != behind.npos;
    const std::string fault = surplus ? "fault surplus" : "fault stray-bytes";
    Events expected = kHiEvents;
    expected.push_back(fault);
    CHECK(events_in_every_split(kOk + kHi + behind, 1) == expected);
    expected = {"head 200 keep", "body hi", "complete keep", fault};
    CHECK(events_in_every_split(kChunkedHead + "2\r\nhi\r\n0\r\n\r\n" + behind, 1) == expected);
    expected = {"head 204 keep", "complete keep", fault};
    CHECK(events_in_every_split("HTTP/1.1 204 x\r\n\r\n" + behind, 1) == expected);
  }
}

TEST_CASE("line ends behind a response are skipped, up to a number") {
  for (const std::string& ends : Strings{"\r\n", "\n", "\r", "\r\n\r\n", std::string(16, '\n')}) {
    CHECK(events_in_every_split(kOk + kHi + ends, 1) == kHiEvents);
    Events twice = kHiEvents;
    twice.insert(twice.end(), kHiEvents.begin(), kHiEvents.end());
    CHECK(events_in_every_split(kOk + kHi + ends + kOk + kHi, 2) == twice);
  }
  Events expected = kHiEvents;
  expected.push_back("fault stray-bytes");
  CHECK(events_in_every_split(kOk + kHi + std::string(17, '\n'), 1) == expected);
  // Behind each of many, one asked for after the other.
  ResponseRecorder recorder(1);
  for (int i = 0; i < 20; ++i) {
    CHECK(recorder.feed(kOk + kHi + "\r\n") == ResponseFault::none);
    recorder.ask();
  }
}

TEST_CASE("a fault tells whether what it is about begins a response") {
  const auto no_head = [](std::string_view bytes) {
    ResponseRecorder recorder(2);
    recorder.feed(kOk + kHi);
    CHECK(recorder.feed(bytes) != ResponseFault::none);
    return recorder.parser().at_no_head();
  };
  CHECK(no_head("xyz"));
  CHECK(no_head("TTP/1.1 200 OK\r\n"));
  CHECK(no_head("HTT HTTP/1.1 200 OK\r\n"));
  CHECK_FALSE(no_head("HTTP/1.1 2x0 OK\r\n"));
  CHECK_FALSE(no_head("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"));
}

TEST_CASE("bytes behind an announced close are not read") {
  for (const std::string& rest : Strings{"x"s, "\r\n"s, kOk + kHi}) {
    CHECK(events_in_every_split(kOk + "Connection: close\r\n" + kHi + rest, 3) ==
          Events{"head 200 close length=2", "body hi", "complete close", "fault handler-stop"});
  }
}

TEST_CASE("whether the connection stays is told with head and end") {
  const auto told = [](const std::string& start) {
    return events_in_every_split(start + kHi, 1)[0].substr(0, 15);
  };
  CHECK(told(kOk) == "head 200 keep l");
  CHECK(told(kOk + "Connection: keep-alive\r\n") == "head 200 keep l");
  CHECK(told(kOk + "connection: CLOSE\r\n") == "head 200 close ");
  CHECK(told(kOk + "Connection: keep-alive, close\r\n") == "head 200 close ");
  CHECK(told(kOk + "Connection: x ,close, y\r\n") == "head 200 close ");
  CHECK(told(kOk + "Connection: close\r\nConnection: keep-alive\r\n") == "head 200 close ");
  CHECK(told(kOk + "Connection:\r\n close\r\n") == "head 200 close ");
  CHECK(told(kOk + "Connection: closed\r\n") == "head 200 keep l");
  CHECK(told("HTTP/1.0 200 OK\r\n") == "head 200 close ");
  CHECK(told("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n") == "head 200 keep l");
  CHECK(told("HTTP/1.0 200 OK\r\nConnection: close\r\n") == "head 200 close ");
}

TEST_CASE("a body that only the end of the connection delimits is completed by the end") {
  for (const std::string& start : Strings{kOk, kOk + "Connection: keep-alive\r\n",
                                          "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"s}) {
    const std::string bytes = start + "\r\nall the rest, " + kOk;
    Events expected = {"head 200 close", "body all the rest, " + kOk};
    CHECK(events_in_every_split(bytes, 2) == expected);
    expected.push_back("complete close");
    expected.push_back("fault handler-stop");
    CHECK(events_in_every_split(bytes, 2, true) == expected);
  }
  CHECK(events_in_every_split(kOk + "\r\n", 1, true) ==
        Events{"head 200 close", "complete close", "fault handler-stop"});
}

TEST_CASE("an end before the first byte or behind a response is no fault") {
  CHECK(events_of("", {}, 1, true).empty());
  CHECK(events_of(kOk + kHi, {}, 1, true) == kHiEvents);
  CHECK(events_of(kOk + kHi, {}, 2, true) == kHiEvents);
}

TEST_CASE("a response cut off at any byte is truncated, and never complete") {
  const std::vector<std::string> responses = {
      kOk + kHi,
      kChunkedHead + "2;x=y\r\nhi\r\n1\r\n!\r\n0\r\nTrailer: t\r\n\r\n",
      "HTTP/1.1 204 x\r\nA: b\r\n\r\n",
      "HTTP/1.0 404 x\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
  };
  for (const std::string& response : responses) {
    for (size_t cut = 1; cut < response.size(); ++cut) {
      CAPTURE(printable(response.substr(0, cut)));
      const Events events = events_in_every_split(response.substr(0, cut), 1, true);
      CHECK(events.back() == "fault truncated");
      for (const std::string& event : events)
        CHECK_FALSE(event.starts_with("complete"));
    }
  }
}

TEST_CASE("three pipelined responses cut anywhere keep their bodies with their requests") {
  const std::vector<std::string> responses = {
      kOk + "Content-Length: 5\r\n\r\nfirst",
      "HTTP/1.1 100 Continue\r\n\r\n" + kChunkedHead + "3\r\nsec\r\n3\r\nond\r\n0\r\nX: y\r\n\r\n",
      "HTTP/1.1 404 Gone\r\nContent-Length: 5\r\n\r\nthird",
  };
  const std::vector<Events> expected = {
      {"head 200 keep length=5", "body first", "complete keep"},
      {"head 200 keep", "body second", "complete keep"},
      {"head 404 keep length=5", "body third", "complete keep"},
  };
  const std::string all = responses[0] + responses[1] + responses[2];
  Events all_expected;
  for (const Events& events : expected) {
    all_expected.insert(all_expected.end(), events.begin(), events.end());
  }
  CHECK(events_in_every_split(all, 3) == all_expected);

  for (size_t cut = 0; cut <= all.size(); ++cut) {
    CAPTURE(cut);
    size_t whole = 0, begin = 0;
    while (whole < 3 && begin + responses[whole].size() <= cut)
      begin += responses[whole++].size();
    Events kept;
    for (size_t i = 0; i < whole; ++i)
      kept.insert(kept.end(), expected[i].begin(), expected[i].end());
    // Cut off: the whole ones come out, in their places, and no other.
    for (const size_t step : {size_t{1}, SIZE_MAX}) {
      ResponseRecorder recorder(3);
      std::string_view rest = std::string_view(all).substr(0, cut);
      for (; !rest.empty(); rest.remove_prefix(std::min(step, rest.size()))) {
        REQUIRE(recorder.feed(rest.substr(0, step)) == ResponseFault::none);
      }
      CHECK(recorder.complete() == whole);
      const bool interim_only = whole == 1 && cut - begin == 25;
      const bool inside = cut > begin && !interim_only;
      CHECK(recorder.parser().in_response() == inside);
      CHECK(recorder.finish() == (inside ? ResponseFault::truncated : ResponseFault::none));
      CHECK(recorder.complete() == whole);
      CHECK(Events(recorder.events().begin(),
                   recorder.events().begin() + static_cast<std::ptrdiff_t>(kept.size())) == kept);
    }
  }
}

TEST_CASE(
    "a byte lost or added between pipelined responses never moves a body to another request") {
  const std::string all = kOk + "Content-Length: 5\r\n\r\nfirst" + kOk +
                          "Content-Length: 6\r\n\r\nsecond" + kOk +
                          "Content-Length: 5\r\n\r\nthird";
  const std::string bodies[3] = {"body first", "body second", "body third"};
  const size_t body_begin = kOk.size() + 21;
  for (size_t at = body_begin; at < all.size(); ++at) {
    for (const std::string& damaged : Strings{all.substr(0, at) + all.substr(at + 1),
                                              all.substr(0, at) + "X" + all.substr(at)}) {
      const Events events = events_of(damaged, {}, 3, false);
      size_t response = 0;
      for (size_t i = 0; i < events.size(); ++i) {
        if (!events[i].starts_with("body ") || i + 1 == events.size() ||
            events[i + 1] != "complete keep")
          continue;
        // A byte inside a body may be wrong, but no body is another's.
        for (size_t other = 0; other < 3; ++other) {
          if (other != response) CHECK(events[i] != bodies[other]);
        }
        ++response;
      }
    }
  }
}

TEST_CASE("a handler that wants no more is asked nothing more") {
  const std::string bytes = kOk + kHi + kChunkedHead + "2\r\nhi\r\n0\r\n\r\n" + kOk + kHi;
  Events first = kHiEvents;
  ResponseRecorder::Orders orders;
  orders.stop_at_complete = 0;
  first.push_back("fault handler-stop");
  CHECK(events_in_every_split(bytes, 3, false, orders) == first);
  CHECK(events_in_every_split(bytes, 3, true, orders) == first);

  orders = {};
  orders.stop_at_head = 1;
  first = kHiEvents;
  first.insert(first.end(), {"head 200 keep", "fault handler-stop"});
  CHECK(events_in_every_split(bytes, 3, true, orders) == first);

  orders = {};
  orders.stop_at_body = 1;
  first = kHiEvents;
  first.insert(first.end(), {"head 200 keep", "body refused", "fault handler-stop"});
  CHECK(events_in_every_split(bytes, 3, true, orders) == first);
}

TEST_CASE("a handler may refuse a head without a body, and a body that the end delimits") {
  ResponseRecorder::Orders orders;
  orders.stop_at_head = 0;
  CHECK(events_in_every_split("HTTP/1.1 204 x\r\n\r\n" + kOk + kHi, 2, false, orders) ==
        Events{"head 204 keep", "fault handler-stop"});
  orders = {};
  orders.stop_at_body = 0;
  CHECK(events_in_every_split(kOk + "\r\nto the end", 2, true, orders) ==
        Events{"head 200 close", "body refused", "fault handler-stop"});
}

TEST_CASE("after a fault every call gives the same fault, and the handler hears nothing") {
  struct Case {
    std::string bytes;
    ResponseFault fault;
    bool ended;
  };
  for (const Case& c :
       {Case{"garbage", ResponseFault::bad_framing, false},
        Case{kOk + "X: " + std::string(40'000, 'x'), ResponseFault::head_limit, false},
        Case{kOk + kHi + "x", ResponseFault::stray_bytes, false},
        Case{kOk + "Content-Length: 3\r\n\r\nhi", ResponseFault::truncated, true},
        Case{kOk + "Connection: close\r\n" + kHi, ResponseFault::handler_stop, false}}) {
    CAPTURE(name_of(c.fault));
    ResponseRecorder recorder(1);
    ResponseParser& parser = recorder.parser();
    CHECK(parser.fault_text().empty());
    CHECK((c.ended ? (parser.feed(c.bytes), parser.finish()) : parser.feed(c.bytes)) == c.fault);
    CHECK_FALSE(parser.fault_text().empty());
    const size_t before = recorder.events().size();
    for (const std::string& more : Strings{""s, "x"s, kOk + kHi}) {
      CHECK(parser.feed(more) == c.fault);
      CHECK(parser.finish() == c.fault);
    }
    CHECK(recorder.events().size() == before);
  }
}

TEST_CASE("a reset parser reads a new connection from its first byte") {
  for (const std::string& before :
       Strings{"garbage"s, kOk, kOk + "Content-Encoding: gz",
               kOk + "X: " + std::string(40'000, 'x'), kOk + "Content-Length: 9\r\n\r\nhi",
               kChunkedHead + "5\r\nhi", kOk + "Connection: close\r\n" + kHi + "x",
               kOk + "\r\nto the end", repeated("HTTP/1.1 100 C\r\n\r\n", 16),
               kOk + repeated("X: y\r\n", 100), kOk + "Transfer-Encoding:\r\n chunk"}) {
    CAPTURE(printable(before));
    ResponseRecorder recorder(2);
    recorder.parser().feed(before);
    recorder.parser().reset();
    CHECK_FALSE(recorder.parser().in_response());
    CHECK(recorder.parser().fault_text().empty());
    const size_t begin = recorder.events().size();
    CHECK(recorder.parser().feed("HTTP/1.1 100 C\r\n\r\n" + kOk + "Transfer-Encoding: chunked\r\n" +
                                 kChunkedHi) == ResponseFault::none);
    CHECK(Events(recorder.events().begin() + static_cast<std::ptrdiff_t>(begin),
                 recorder.events().end()) == Events{"head 200 keep", "body hi", "complete keep"});
  }
}

TEST_CASE("a head below the limit is taken however it is split") {
  const std::string head = kOk + "X: " + std::string(31 * 1024, 'x') + "\r\n";
  for (const size_t step : kReadSizes) {
    CAPTURE(step);
    CHECK(fault_of(head + kHi, step) == ResponseFault::none);
  }
}

TEST_CASE("a head over the limit is refused however it is split and wherever its bytes are") {
  const size_t over = 40 * 1024;
  const std::string spaces(over, ' ');
  const std::string end = "\r\n" + kHi;
  const std::vector<std::pair<std::string, std::string>> responses = {
      {"a value", kOk + "X: " + std::string(over, 'x') + end},
      {"a name", kOk + std::string(over, 'x') + ": y" + end},
      {"the reason", "HTTP/1.1 200 " + std::string(over, 'x') + end},
      {"fields", kOk + repeated("X: " + std::string(600, 'x') + "\r\n", over / 600) + kHi},
      {"a folded value", kOk + "X: y\r\n" + repeated(" z\r\n", over) + kHi},
      {"white space behind a value", kOk + "X: y" + spaces + end},
      {"white space behind the length", kOk + "Content-Length: 2" + spaces + "\r\n\r\nhi"},
      {"white space before a value", kOk + "X:" + spaces + "y" + end},
      {"white space before the length", kOk + "Content-Length:" + spaces + "2\r\n\r\nhi"},
      {"empty folds", kOk + "X:" + repeated("\r\n ", over / 3) + "y" + end},
  };
  for (const auto& response : responses) {
    CAPTURE(response.first);
    for (const size_t step : kReadSizes) {
      CAPTURE(step);
      CHECK(fault_of(response.second, step) == ResponseFault::head_limit);
    }
  }
}

TEST_CASE("the limit is exact: no split moves it by a byte, and no later fault hides it") {
  const auto faults = [](const std::string& bytes) {
    std::set<ResponseFault> found;
    for (const size_t step :
         {size_t{1}, kMaxHeadBytes - 1, kMaxHeadBytes, kMaxHeadBytes + 1, SIZE_MAX})
      found.insert(fault_of(bytes, step, 2));
    return found;
  };
  using Faults = std::set<ResponseFault>;
  const std::string first = kOk + "Content-Length: 0\r\n\r\n";
  const std::string start = kOk + "Content-Length: 2\r\n";
  const std::string last_space = start + "X:" + std::string(kMaxHeadBytes - start.size() - 6, ' ');
  for (const std::string& before : Strings{"", first}) {
    CAPTURE(before);
    CHECK(faults(before + last_space + "\r\n\r\nhi") == Faults{ResponseFault::none});
    CHECK(faults(before + last_space + " \r\n\r\nhi") == Faults{ResponseFault::head_limit});
    CHECK(faults(before + kOk + std::string(kMaxHeadBytes, 'x') + "\x01") ==
          Faults{ResponseFault::head_limit});
    CHECK(faults(before + kOk + std::string(kMaxHeadBytes - kOk.size() - 1, 'x') + "\x01") ==
          Faults{ResponseFault::bad_framing});
  }
  const std::string chunk = kChunkedHead + "2\r\nhi\r\n";
  const std::string zeros(kMaxHeadBytes - 5, '0');  // less the line ends around, and the size
  CHECK(faults(chunk + zeros + "2\r\nhi") == Faults{ResponseFault::none});
  CHECK(faults(chunk + zeros + "02\r\nhi") == Faults{ResponseFault::head_limit});
}

TEST_CASE("the limit is for one head, not for a connection") {
  const std::string response = kOk + "X: " + std::string(20'000, 'x') + "\r\n" + kHi;
  for (const size_t step : {size_t{1'460}, SIZE_MAX}) {
    CHECK(fault_of(repeated(response, 10), step, 10) == ResponseFault::none);
  }
}

TEST_CASE("100 fields are taken, one more is refused") {
  const std::string most = kOk + repeated("X: y\r\n", kMaxHeadFields - 1);
  CHECK(events_in_every_split(most + kHi, 1) == kHiEvents);
  check_refused(most + "X: y\r\n" + kHi, ResponseFault::head_limit);
  // The name that would be one too many is no name: the same fault wherever it is cut.
  check_refused(most + "X: y\r\nAbc\r\n" + kHi, ResponseFault::bad_framing);
}

TEST_CASE("endless trailers are refused") {
  const std::string start = kChunkedHead + "2\r\nhi\r\n0\r\n";
  for (const size_t step : kReadSizes) {
    CAPTURE(step);
    CHECK(fault_of(start + repeated("X: y\r\n", 200), step) == ResponseFault::head_limit);
    CHECK(fault_of(start + "X: " + std::string(40'000, 'x'), step) == ResponseFault::head_limit);
  }
}

TEST_CASE("an endless chunk extension is refused") {
  for (const std::string& extension :
       Strings{";" + std::string(40'000, 'x'), ";x=" + std::string(40'000, 'y')}) {
    for (const size_t step : kReadSizes) {
      CAPTURE(step);
      CHECK(fault_of(kChunkedHead + "2" + extension, step) == ResponseFault::head_limit);
    }
  }
  // llhttp refuses lists of valued extensions and quoted values as such.
  for (const std::string& extension :
       Strings{repeated(";x=y", 20'000), ";x=\"" + std::string(40'000, 'y')}) {
    CHECK(fault_of(kChunkedHead + "2" + extension, 1'460) != ResponseFault::none);
  }
}

// Bytes that show up nowhere, and would keep a request waiting for ever without a stall.
TEST_CASE("endless bytes that carry nothing are refused") {
  const size_t endless = 1'000'000;
  for (const auto& endless_bytes : std::vector<std::pair<std::string, std::string>>{
           {"line ends before a response", repeated("\r\n", endless / 2)},
           {"zeros of a chunk size", kChunkedHead + std::string(endless, '0')},
           {"white space in a trailer", kChunkedHead + "0\r\nX:" + std::string(endless, ' ')}}) {
    CAPTURE(endless_bytes.first);
    CHECK(fault_of(endless_bytes.second, 1'460) != ResponseFault::none);
  }
}

TEST_CASE("a body of many small chunks is not taken for an endless head") {
  const std::string bytes = kChunkedHead + repeated("1\r\nx\r\n", 50'000) + "0\r\n\r\n";
  for (const size_t step : kReadSizes)
    CHECK(fault_of(bytes, step) == ResponseFault::none);
}

TEST_CASE("small extensions of many chunks are not taken for one endless one") {
  const std::string bytes = kChunkedHead + repeated("1;x=y\r\nx\r\n", 20'000) + "0\r\n\r\n";
  for (const size_t step : kReadSizes) {
    CAPTURE(step);
    CHECK(fault_of(bytes, step) == ResponseFault::none);
  }
}

TEST_CASE("damaged responses give the same events however they are split") {
  const std::vector<std::string> pieces = {"HTTP/1.1 200 OK\r\n",
                                           "HTTP/1.0 204 x\r\n",
                                           "HTTP/1.1 100 C\r\n\r\n",
                                           "Content-Length: 2\r\n",
                                           "Content-Length: 0\r\n",
                                           "Transfer-Encoding: chunked\r\n",
                                           "Transfer-Encoding: gzip\r\n",
                                           "Connection: close\r\n",
                                           "Connection: keep-alive\r\n",
                                           "\r\n",
                                           "\r",
                                           "\n",
                                           " ",
                                           "\t",
                                           "hi",
                                           "2\r\nhi\r\n",
                                           "0\r\n\r\n",
                                           "0\r\n",
                                           ";x=y",
                                           "X: y\r\n",
                                           "X:",
                                           "\0"s,
                                           "\xFF",
                                           ":",
                                           "1"};
  Random random(10);
  size_t completed = 0;
  for (int i = 0; i < 40'000; ++i) {
    std::string bytes = random.below(2) == 0 ? kOk : "";
    for (uint64_t count = random.below(12); count > 0; --count)
      bytes += pieces[random.below(pieces.size())];
    if (random.below(3) == 0) bytes = kOk + kHi + bytes;
    const bool ended = random.below(2) == 0;
    const Events whole = events_of(bytes, {}, 3, ended);
    for (const std::string& event : whole)
      completed += event.starts_with("complete");
    const Events by_byte = events_of(bytes, every(1, bytes.size()), 3, ended);
    const Events in_two = events_of(bytes, {random.below(bytes.size() + 1)}, 3, ended);
    if (by_byte != whole || in_two != whole) {
      CAPTURE(printable(bytes));
      CHECK(by_byte == whole);
      CHECK(in_two == whole);
      break;
    }
  }
  CHECK(completed > 10'000);
}

}  // namespace gigafetch::http
