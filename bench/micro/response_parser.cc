// What a response costs to parse, as the embedded origin and as nginx answer, by the number of
// responses that arrive with one read.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <string>

#include "http/response_parser.h"

namespace gigafetch::http {
namespace {

const std::string kBody(100, 'f');
const std::string kOrigin =
    "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\n" +
    kBody;
const std::string kNginx =
    "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n"
    "Content-Type: application/octet-stream\r\nContent-Length: 100\r\n"
    "Last-Modified: Sat, 21 Nov 2026 09:00:00 GMT\r\nConnection: keep-alive\r\n"
    "ETag: \"66e15a8c-64\"\r\nAccept-Ranges: bytes\r\n\r\n" +
    kBody;

class Count final : public ResponseParser::Handler {
 public:
  bool on_head(const ResponseHead& head) override { return head.status == 200; }
  bool on_body(std::string_view piece) override {
    bytes += piece.size();
    return true;
  }
  ResponseParser::Next on_complete(bool) override {
    ++responses;
    return ResponseParser::Next::more;
  }
  size_t responses = 0;
  size_t bytes = 0;
};

void parse(benchmark::State& state, const std::string& response) {
  std::string read;
  for (int64_t i = 0; i < state.range(0); ++i)
    read += response;
  Count count;
  ResponseParser parser(count);
  for (auto _ : state) {
    if (parser.feed(read) != ResponseFault::none) return state.SkipWithError("refused");
  }
  if (count.bytes != count.responses * kBody.size()) state.SkipWithError("bytes lost");
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.SetLabel("response");
}
BENCHMARK_CAPTURE(parse, origin, kOrigin)->Name("response_parser/origin")->Arg(1)->Arg(16)->Arg(64);
BENCHMARK_CAPTURE(parse, nginx, kNginx)->Name("response_parser/nginx")->Arg(1)->Arg(16)->Arg(64);

}  // namespace
}  // namespace gigafetch::http
