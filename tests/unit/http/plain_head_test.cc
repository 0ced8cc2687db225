#include "http/plain_head.h"

#include <doctest/doctest.h>

#include <string>

#include "http/response_recorder.h"

namespace gigafetch::http {
namespace {

const std::string kStart = "HTTP/1.1 200 OK\r\n";
const std::string kHead =
    kStart + "Content-Type: text/plain\r\nContent-Length: 12\r\nETag: \"5f-1\"\r\n\r\n";
const std::string kBody = "hello, world";

bool is_plain(const std::string& fields) {
  PlainHead head;
  return read_plain_head(kStart + fields + "\r\n", head);
}

// The length that is read, or -1 when the head is none that is known.
int64_t length_read(PlainHeadReader& reader, const std::string& bytes) {
  PlainHead head;
  if (!reader.read(bytes, head)) return -1;
  CHECK(head.size == bytes.find("\r\n\r\n") + 4);
  return static_cast<int64_t>(head.length);
}

// Whether the response behind an ordinary one gives the same events when it comes whole, read here,
// and byte by byte, read by llhttp.
bool gives_the_same(const std::string& response) {
  const std::string bytes = kHead + kBody + response;
  const size_t begin = kHead.size() + kBody.size();
  std::vector<size_t> cuts = every(1, bytes.size());
  cuts.erase(cuts.begin(), cuts.begin() + static_cast<ptrdiff_t>(begin) - 1);
  return events_of(bytes, {}, 3, true) == events_of(bytes, cuts, 3, true);
}

}  // namespace

TEST_CASE("an ordinary head is read whole") {
  PlainHead head;
  const std::string whole = kHead + kBody;  // the head views it
  REQUIRE(read_plain_head(whole, head));
  CHECK(head.size == kHead.size());
  CHECK(head.length == 12);
  CHECK(head.content_type == "text/plain");
  const std::string untyped = kStart + "content-LENGTH: 0\r\nX:y\r\n\r\n";
  REQUIRE(read_plain_head(untyped, head));
  CHECK(head.length == 0);
  CHECK(head.content_type.empty());
  const std::string blanks = kStart + "Content-Length: 0\r\nContent-Type:  a; b  \r\n\r\n";
  REQUIRE(read_plain_head(blanks, head));
  CHECK(head.content_type == "a; b");
}

TEST_CASE("fields that mean nothing to the framing are passed over") {
  for (const char* fields : {"Content-Length: 5\r\nConnection: keep-alive\r\n",
                             "Server: a/1.2 (b; c)\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n"
                             "Content-Length: 5\r\nKeep-Alive: timeout=5\r\nX_a-1: \"~\"\r\n",
                             "content-type:text/plain; charset=x  \r\nContent-Length:5\r\n"}) {
    CHECK_MESSAGE(is_plain(fields), fields);
  }
}

TEST_CASE("a head that is cut off anywhere is not read") {
  for (size_t size = 0; size < kHead.size(); ++size) {
    PlainHead head;
    CHECK_FALSE(read_plain_head(std::string_view(kHead).substr(0, size), head));
  }
}

TEST_CASE("every other head is left to llhttp") {
  const std::string length = "Content-Length: 5\r\n";
  for (const std::string& fields : Strings{"",
                                           "X: y\r\n",
                                           length + length,
                                           length + "content-length: 5\r\n",
                                           "Content-Length: \r\n",
                                           "Content-Length: 5 \r\n",
                                           "Content-Length:  5\r\n",
                                           "Content-Length: +5\r\n",
                                           "Content-Length: 5, 5\r\n",
                                           "Content-Length: 5a\r\n",
                                           "Content-Length: 1234567890123456789\r\n",
                                           length + "Transfer-Encoding: chunked\r\n",
                                           length + "transfer-encoding: identity\r\n",
                                           length + "Content-Encoding: gzip\r\n",
                                           length + "Connection: close\r\n",
                                           length + "Connection: Keep-Alive, close\r\n",
                                           length + "Proxy-Connection: close\r\n",
                                           length + "Upgrade: h2c\r\n",
                                           length + "Location: /\r\n",
                                           length + "Retry-After: 1\r\n",
                                           length + "Content-Type: a\r\nContent-Type: b\r\n",
                                           length + "X : y\r\n",
                                           length + "X\r\n",
                                           length + ": y\r\n",
                                           length + "X:\r\n",
                                           length + "X: \r\n",
                                           length + "X: y\r\n z\r\n",
                                           length + "X: y\tz\r\n",
                                           length + "X: \x80\r\n",
                                           length + "X: \x7F\r\n",
                                           length + "X: y\rz\r\n",
                                           length + "X: y\nZ: z\r\n",
                                           length + " X: y\r\n",
                                           length + "X(: y\r\n"}) {
    CHECK_FALSE_MESSAGE(is_plain(fields), printable(fields));
  }
  PlainHead head;
  for (const std::string& start :
       Strings{"HTTP/1.1 200 \r\n", "HTTP/1.1 200 ok\r\n", "HTTP/1.0 200 OK\r\n",
               "HTTP/1.1 201 OK\r\n", "HTTP/1.1 404 Not Found\r\n", "\r\nHTTP/1.1 200 OK\r\n"}) {
    CHECK_FALSE_MESSAGE(read_plain_head(start + length + "\r\n", head), printable(start));
  }
}

TEST_CASE("a head with as many fields and bytes as may be is read, and no larger one") {
  const std::string length = "Content-Length: 5\r\n";
  std::string fields = length;
  for (uint32_t i = 1; i < kMaxHeadFields; ++i)
    fields += "X: y\r\n";
  CHECK(is_plain(fields));
  CHECK_FALSE(is_plain(fields + "X: y\r\n"));
  const size_t rest = kMaxHeadBytes - (kStart + length + "X: \r\n\r\n").size();
  CHECK(is_plain(length + "X: " + std::string(rest, 'y') + "\r\n"));
  CHECK_FALSE(is_plain(length + "X: " + std::string(rest + 1, 'y') + "\r\n"));
}

TEST_CASE("heads that differ in the length alone are read one after the other") {
  PlainHeadReader reader;
  const auto head_of = [](const std::string& length) {
    return kStart + "Content-Type: a\r\nContent-Length: " + length + "\r\nX: y\r\n\r\n";
  };
  for (const int64_t length : {12, 7, 123456, 0, 7}) {
    CHECK(length_read(reader, head_of(std::to_string(length))) == length);
  }
  CHECK(length_read(reader, head_of("007")) == 7);
  CHECK(length_read(reader, head_of("123456789012345678")) == 123456789012345678);
  for (const char* length : {"", "1234567890123456789", "7 ", "7a", "-7", "7\r\nContent-Length: 7"})
    CHECK_MESSAGE(length_read(reader, head_of(length)) == -1, length);
  const std::string whole = head_of("12");
  for (size_t size = 0; size < whole.size(); ++size)
    CHECK(length_read(reader, whole.substr(0, size)) == -1);
  CHECK(length_read(reader, whole) == 12);
}

TEST_CASE("a type that was remembered is that of the head that was read") {
  PlainHeadReader reader;
  PlainHead head;
  for (const char* type : {"a/b", "a/b", "text/plain", "a/b"}) {
    for (const char* length : {"1", "23"}) {
      std::string bytes =
          kStart + "Content-Length: " + length + "\r\nContent-Type: " + type + "\r\n\r\n";
      REQUIRE(reader.read(bytes, head));
      CHECK(head.content_type == type);
      CHECK(head.length == std::stoul(length));
    }
  }
}

TEST_CASE("a head too long to be remembered is read all the same") {
  PlainHeadReader reader;
  const std::string fields = "X: " + std::string(5000, 'y') + "\r\n";
  for (const char* length : {"1", "2"}) {
    CHECK(length_read(reader, kStart + "Content-Length: " + length + "\r\n" + fields + "\r\n") ==
          std::stol(length));
  }
  CHECK(length_read(reader, kHead) == 12);
}

TEST_CASE("whatever byte of an ordinary head is another, the response is what llhttp makes of it") {
  std::string different;
  for (size_t at = 0; at < kHead.size(); ++at) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      std::string head = kHead;
      head[at] = static_cast<char>(byte);
      if (!gives_the_same(head + kBody)) different += fmt::format("{}={} ", at, byte);
    }
  }
  CHECK(different == "");
}

TEST_CASE("whatever byte of an ordinary head is missing, twice there or has another before it") {
  std::string different;
  for (size_t at = 0; at < kHead.size(); ++at) {
    std::string head = kHead;
    if (!gives_the_same(head.erase(at, 1) + kBody)) different += fmt::format("{}- ", at);
    for (const char byte : {kHead[at], ' ', '\t', '\r', '\n', ':', '0', '\0', 'x', '\x80'}) {
      head = kHead;
      head.insert(at, 1, byte);
      if (!gives_the_same(head + kBody)) different += fmt::format("{}+{} ", at, int{byte});
    }
  }
  CHECK(different == "");
}

TEST_CASE("whatever field stands in an ordinary head, the response is what llhttp makes of it") {
  std::string different;
  for (const std::string& field : Strings{"Connection: close",
                                          "Connection: keep-alive",
                                          "Connection: Keep-Alive",
                                          "Connection: keep-alive, close",
                                          "Proxy-Connection: close",
                                          "Upgrade: h2c",
                                          "Connection: upgrade",
                                          "Content-Length: 12",
                                          "Content-Length: 13",
                                          "Trailer: X",
                                          "Transfer-Encoding: chunked",
                                          "Transfer-Encoding: gzip",
                                          "TRANSFER-ENCODING: x",
                                          "Content-Encoding: gzip",
                                          "content-encoding: identity",
                                          "Location: /",
                                          "Retry-After: 5",
                                          "Content-Type: b",
                                          "Keep-Alive: timeout=5",
                                          "X: y\r\n z"}) {
    const std::string behind = kHead.substr(0, kHead.size() - 2) + field + "\r\n\r\n";
    const std::string before = kStart + field + "\r\n" + kHead.substr(kStart.size());
    for (const std::string& head : {behind, before}) {
      if (!gives_the_same(head + kBody + kHead + kBody)) different += field + ", ";
    }
  }
  CHECK(different == "");
}

TEST_CASE("an ordinary answer whose end is missing is truncated, and never complete") {
  const std::string bytes = kHead + kBody;
  for (size_t size = kHead.size(); size < bytes.size(); ++size) {
    const Events events = events_of(bytes.substr(0, size), {}, 1, true);
    CHECK(events.front().starts_with("head 200"));
    CHECK(events.back() == "fault truncated");
    for (const std::string& event : events)
      CHECK_FALSE(event.starts_with("complete"));
  }
}

}  // namespace gigafetch::http
