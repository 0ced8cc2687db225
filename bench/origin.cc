// A load client for the embedded origin: as many requests as it can take, and nothing done with the
// answers. One thread, one epoll, requests made beforehand, so that the origin is what is measured.
//
// As wrk does, each connection sends `depth` requests with one write and waits for all their
// answers. The first answers of every connection are compared with the catalogue's, of the others
// only the bytes are counted. With `pages` the files are listed instead: every request is for a
// page, by its marker.
//
//     origin PORT FILES SIZE SEED CONNECTIONS DEPTH SECONDS files|pages PAGE_SIZE
//
// Prints answers, seconds, and its own CPU in seconds.
#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "loopback.h"
#include "origin/catalogue.h"

namespace {

using gigafetch::bench::connect_loopback;
using gigafetch::bench::die;
using gigafetch::origin::Catalogue;
using Clock = std::chrono::steady_clock;

constexpr size_t kReadBytes = 256 * 1024;
constexpr uint64_t kMostRequests = 65'536;

// What is asked for, in turn, and the answers that are due.
class Questions {
 public:
  virtual ~Questions() = default;
  virtual uint64_t count() const = 0;
  virtual std::string target(uint64_t i) const = 0;
  virtual std::string answer(uint64_t i) const = 0;
};

std::string answer_of(const char* type, const std::string& body) {
  return fmt::format("HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{}", type,
                     body.size(), body);
}

class Files final : public Questions {
 public:
  explicit Files(const Catalogue& catalogue) : catalogue_(catalogue) {}
  uint64_t count() const override { return std::min(catalogue_.files(), kMostRequests); }
  std::string target(uint64_t i) const override { return "/get/" + name(i); }
  std::string answer(uint64_t i) const override {
    std::string body;
    catalogue_.append_body(body, name(i), catalogue_.size());
    return answer_of("application/octet-stream", body);
  }

 private:
  std::string name(uint64_t i) const {
    std::string name;
    catalogue_.append_name(name, i);
    return name;
  }
  const Catalogue& catalogue_;
};

class Pages final : public Questions {
 public:
  Pages(const Catalogue& catalogue, uint64_t page_size)
      : catalogue_(catalogue), page_size_(page_size) {}
  uint64_t count() const override {
    return std::min((catalogue_.files() + page_size_ - 1) / page_size_, kMostRequests);
  }
  std::string target(uint64_t i) const override {
    return i == 0 ? "/list" : fmt::format("/list?next-marker=n{}", i * page_size_);
  }
  std::string answer(uint64_t i) const override {
    const uint64_t first = i * page_size_, end = std::min(first + page_size_, catalogue_.files());
    std::string json = "{\"FileNames\":[";
    for (uint64_t index = first; index < end; ++index) {
      json += index == first ? "\"" : ",\"";
      catalogue_.append_name(json, index);
      json += '"';
    }
    json += ']';
    if (end < catalogue_.files()) json += fmt::format(",\"NextMarker\":\"n{}\"", end);
    return answer_of("application/json", json + "}");
  }

 private:
  const Catalogue& catalogue_;
  uint64_t page_size_;
};

struct Connection {
  int fd = -1;
  uint64_t next = 0;     // the question that the next burst begins with
  size_t awaited = 0;    // bytes of answers
  std::string expected;  // the answers to the first burst, and to no other
  std::string compared;  // what has come of them
};

class Client {
 public:
  Client(const Questions& questions, size_t depth)
      : bursts_(std::max<uint64_t>(1, questions.count() / depth)), depth_(depth) {
    for (uint64_t i = 0; i < bursts_ * depth; ++i) {
      const uint64_t question = i % questions.count();
      if (i % depth == 0) {
        begins_.push_back(requests_.size());
        answer_bytes_.push_back(0);
      }
      requests_ += "GET " + questions.target(question) + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
      answer_bytes_.back() += questions.answer(question).size();
    }
    begins_.push_back(requests_.size());
  }

  uint64_t answers() const { return answers_; }

  void open(uint16_t port, size_t connections, const Questions& questions) {
    connections_.resize(connections);
    for (size_t i = 0; i < connections; ++i) {
      Connection& connection = connections_[i];
      connection.next = i * bursts_ / connections;
      for (size_t j = 0; j < depth_; ++j)
        connection.expected += questions.answer((connection.next * depth_ + j) % questions.count());
      connection.fd = connect_loopback(epoll_fd_, port, i);
    }
  }

  void run(Clock::duration time) {
    for (Connection& connection : connections_)
      send(connection);
    std::vector<epoll_event> events(connections_.size());
    const Clock::time_point end = Clock::now() + time;
    while (Clock::now() < end) {
      const int count = ::epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i)
        receive(connections_[events[static_cast<size_t>(i)].data.u64]);
    }
  }

 private:
  void send(Connection& connection) {
    const size_t begin = begins_[connection.next], end = begins_[connection.next + 1];
    if (::send(connection.fd, requests_.data() + begin, end - begin, 0) !=
        static_cast<ssize_t>(end - begin)) {
      die("send");
    }
    connection.awaited = answer_bytes_[connection.next];
    connection.next = (connection.next + 1) % bursts_;
  }

  void receive(Connection& connection) {
    const ssize_t got = ::recv(connection.fd, buffer_.data(), buffer_.size(), 0);
    if (got <= 0) die("recv");
    const size_t bytes = static_cast<size_t>(got);
    if (bytes > connection.awaited) refuse("more than was asked for");
    if (!connection.expected.empty()) connection.compared.append(buffer_.data(), bytes);
    connection.awaited -= bytes;
    if (connection.awaited > 0) return;
    if (connection.compared != connection.expected) refuse("other answers than the catalogue's");
    connection.expected = connection.compared = {};
    answers_ += depth_;
    send(connection);
  }

  [[noreturn]] static void refuse(const char* what) {
    std::fprintf(stderr, "%s\n", what);
    std::exit(1);
  }

  std::string requests_;              // of all bursts, one behind the other
  std::vector<size_t> begins_;        // of each burst, and the end
  std::vector<size_t> answer_bytes_;  // to each burst
  uint64_t bursts_;
  size_t depth_;
  int epoll_fd_ = ::epoll_create1(0);
  std::vector<Connection> connections_;
  std::vector<char> buffer_ = std::vector<char>(kReadBytes);
  uint64_t answers_ = 0;
};

double own_cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

int load(const Questions& questions, uint16_t port, size_t connections, size_t depth, double time) {
  Client client(questions, depth);
  client.open(port, connections, questions);
  const double cpu = own_cpu_seconds();
  const Clock::time_point begin = Clock::now();
  client.run(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(time)));
  const std::chrono::duration<double> took = Clock::now() - begin;
  fmt::print("{} {} {}\n", client.answers(), took.count(), own_cpu_seconds() - cpu);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 10) {
    std::fprintf(stderr,
                 "usage: origin PORT FILES SIZE SEED CONNECTIONS DEPTH SECONDS files|pages "
                 "PAGE_SIZE\n");
    return 2;
  }
  const auto number = [argv](int i) { return std::strtoull(argv[i], nullptr, 10); };
  const Catalogue catalogue(number(2), number(3), number(4));
  const auto port = static_cast<uint16_t>(number(1));
  if (std::string_view(argv[8]) == "pages") {
    return load(Pages(catalogue, number(9)), port, number(5), number(6), std::atof(argv[7]));
  }
  return load(Files(catalogue), port, number(5), number(6), std::atof(argv[7]));
}
