#include "coordinator/list_names.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <vector>

#include "net/http_server.h"

using namespace gigafetch;
using namespace gigafetch::coordinator;

namespace {

using Names = std::vector<std::string>;

// A listing of three pages in a child process, since list_names runs a loop of its own.
class Origin {
 public:
  Origin() {
    Result<UniqueFd> listening = net::listen_tcp("127.0.0.1", port_);
    if (!listening) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      struct Pages final : net::HttpServer::Handler {
        net::AfterReply on_request(const http::Request& request, std::string& out) override {
          std::string body = "{\"FileNames\":[\"e\",\"" + std::string(5000, 'x') + "\"]}";
          if (request.target == "/list") {
            body = "{\"FileNames\":[\"a\",\"b\",\"a\"],\"NextMarker\":\"2\"}";
          } else if (request.target == "/list?next-marker=2") {
            body = "{\"FileNames\":[\"c\",\"d\",\"a\"],\"NextMarker\":\"3\"}";
          }
          out += "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
                 body;
          return net::AfterReply::keep;
        }
      } pages;
      net::Loop loop;
      net::HttpServer server(loop, pages, Millis(0));
      if (server.serve(std::move(listening).value())) loop.run();
      ::_exit(1);
    }
  }
  ~Origin() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  ListingSettings settings() const {
    ListingSettings settings;
    settings.origin.scheme = "http";
    settings.origin.host = "127.0.0.1";
    settings.origin.port = port_;
    settings.api = "marker";
    return settings;
  }

 private:
  uint16_t port_ = 0;
  pid_t pid_ = -1;
};

struct Listed {
  Names names;
  Result<void> result;
};
Listed list(const Origin& origin, const Filter& filter, uint64_t limit) {
  Listed listed;
  listed.result = list_names(origin.settings(), filter, limit, [&](std::string_view name) {
    listed.names.emplace_back(name);
    return Result<void>();
  });
  return listed;
}

const std::string kLong(5000, 'x');

}  // namespace

TEST_CASE("every name is given in the order of the listing, once per page") {
  const Origin origin;
  const Listed listed = list(origin, {}, UINT64_MAX);
  CHECK(listed.result);
  CHECK(listed.names == Names{"a", "b", "c", "d", "a", "e", kLong});
}

TEST_CASE("names left out by the filter are not given") {
  const Origin origin;
  const Listed listed = list(origin, {{"[a-d]"}, {"b"}}, UINT64_MAX);
  CHECK(listed.result);
  CHECK(listed.names == Names{"a", "c", "d", "a"});
}

TEST_CASE("the listing ends at the limit") {
  const Origin origin;
  for (uint64_t limit = 0; limit <= 9; ++limit) {
    CAPTURE(limit);
    const Listed listed = list(origin, {}, limit);
    CHECK(listed.result);
    // The third name is a duplicate of the first: listed, but not given.
    const size_t expected = limit < 3 ? limit : std::min<uint64_t>(limit - 1, 7);
    CHECK(listed.names.size() == expected);
  }
}

TEST_CASE("an error of the receiver ends the listing with that error") {
  const Origin origin;
  Names names;
  const Result<void> result =
      list_names(origin.settings(), {}, UINT64_MAX, [&](std::string_view name) -> Result<void> {
        names.emplace_back(name);
        if (name == "c") return error(ErrorCode::no_space, "the pipe is gone");
        return {};
      });
  REQUIRE_FALSE(result);
  CHECK(result.failure().code == ErrorCode::no_space);
  CHECK(result.failure().text.find("the pipe is gone") != std::string::npos);
  CHECK(names == Names{"a", "b", "c"});
}

TEST_CASE("an unknown dialect is wrong usage") {
  ListingSettings settings;
  settings.api = "morse";
  const Result<void> result =
      list_names(settings, {}, UINT64_MAX, [](std::string_view) { return Result<void>(); });
  REQUIRE_FALSE(result);
  CHECK(result.failure().code == ErrorCode::usage);
}
