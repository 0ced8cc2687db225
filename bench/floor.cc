// The floor: what fetching small files must cost at least with sockets and files as they are.
//
// One thread, one epoll, no libraries: it sends requests, receives answers, and stores each. It
// trusts the origin (the embedded one, with bodies of one size), so that an answer's place in the
// byte stream is known without parsing. Nothing that a real fetcher needs is here: no listing, no
// retries, no checks. What gigafetch costs more is what those cost.
//
//     floor files|packed PORT FILES SIZE SEED CONNECTIONS DEPTH FOLDER
//
// files    creates a file for each, writes it, closes it
// packed   appends a header of 512 bytes (the name, then zeros: less than tar asks for) and the
//          body, padded to 512, for each to FOLDER/packed: one write for 1,000 files
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "loopback.h"
#include "origin/catalogue.h"

namespace {

using gigafetch::bench::connect_loopback;
using gigafetch::bench::die;
using gigafetch::origin::Catalogue;

constexpr size_t kReadBytes = 256 * 1024;

// Creates, writes and closes a file for each body.
class Files {
 public:
  explicit Files(int folder_fd) : folder_fd_(folder_fd) {}

  void store(const std::string& name, std::string_view body) {
    const int fd = ::openat(folder_fd_, name.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (fd < 0 || ::write(fd, body.data(), body.size()) != static_cast<ssize_t>(body.size())) {
      die("store");
    }
    ::close(fd);
  }
  void finish() {}

 private:
  int folder_fd_;
};

// Appends every body to one file, behind its name.
class Packed {
 public:
  explicit Packed(int folder_fd)
      : fd_(::openat(folder_fd, "packed", O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0666)) {
    if (fd_ < 0) die("packed");
  }

  void store(const std::string& name, std::string_view body) {
    const size_t begin = batch_.size();
    batch_ += name;
    batch_.resize(begin + kBlock);
    batch_ += body;
    batch_.resize(begin + kBlock + (body.size() + kBlock - 1) / kBlock * kBlock);
    if (++files_ == kBatchFiles) finish();
  }

  void finish() {
    if (::write(fd_, batch_.data(), batch_.size()) != static_cast<ssize_t>(batch_.size())) {
      die("append");
    }
    batch_.clear();
    files_ = 0;
  }

 private:
  static constexpr size_t kBlock = 512;
  static constexpr size_t kBatchFiles = 1000;

  int fd_;
  std::string batch_;
  size_t files_ = 0;
};

struct Connection {
  int fd = -1;
  std::deque<uint64_t> in_flight;  // indexes of files, oldest first
  std::string partial;             // the front of an answer that is not whole yet
};

template <typename Sink>
class Floor {
 public:
  Floor(uint16_t port, const Catalogue& catalogue, size_t depth, int folder_fd)
      : port_(port), catalogue_(catalogue), depth_(depth), sink_(folder_fd) {}

  void run(size_t connections) {
    epoll_fd_ = ::epoll_create1(0);
    connections_.resize(connections);
    for (size_t i = 0; i < connections; ++i)
      open(connections_[i], i);
    std::vector<epoll_event> events(connections);
    while (stored_ < catalogue_.files()) {
      const int count = ::epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i)
        receive(connections_[events[static_cast<size_t>(i)].data.u64]);
    }
    sink_.finish();
  }

 private:
  void open(Connection& connection, size_t index) {
    connection.fd = connect_loopback(epoll_fd_, port_, index);
    send(connection);
  }

  void send(Connection& connection) {
    requests_.clear();
    while (connection.in_flight.size() < depth_ && next_ < catalogue_.files()) {
      requests_ += "GET /get/";
      catalogue_.append_name(requests_, next_);
      requests_ += " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
      connection.in_flight.push_back(next_++);
    }
    if (requests_.empty()) return;
    if (::send(connection.fd, requests_.data(), requests_.size(), 0) !=
        static_cast<ssize_t>(requests_.size())) {
      die("send");
    }
  }

  void receive(Connection& connection) {
    const ssize_t got = ::recv(connection.fd, buffer_.data(), buffer_.size(), 0);
    if (got <= 0) die("recv");
    std::string_view bytes(buffer_.data(), static_cast<size_t>(got));
    if (answer_bytes_ == 0) {
      answer_bytes_ = bytes.find("\r\n\r\n") + 4 + catalogue_.size();
    }
    if (!connection.partial.empty()) {
      connection.partial += bytes;
      bytes = connection.partial;
    }
    while (bytes.size() >= answer_bytes_) {
      store(connection.in_flight.front(),
            bytes.substr(answer_bytes_ - catalogue_.size(), catalogue_.size()));
      connection.in_flight.pop_front();
      bytes.remove_prefix(answer_bytes_);
    }
    connection.partial = std::string(bytes);
    if (connection.in_flight.size() <= depth_ / 2) send(connection);
  }

  void store(uint64_t index, std::string_view body) {
    name_.clear();
    catalogue_.append_name(name_, index);
    sink_.store(name_, body);
    ++stored_;
  }

  uint16_t port_;
  const Catalogue& catalogue_;
  size_t depth_;
  Sink sink_;
  int epoll_fd_ = -1;
  std::vector<Connection> connections_;
  std::vector<char> buffer_ = std::vector<char>(kReadBytes);
  std::string requests_;
  std::string name_;
  size_t answer_bytes_ = 0;
  uint64_t next_ = 0;
  uint64_t stored_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string_view sink = argc == 9 ? argv[1] : "";
  if (sink != "files" && sink != "packed") {
    std::fprintf(stderr,
                 "usage: floor files|packed PORT FILES SIZE SEED CONNECTIONS DEPTH FOLDER\n");
    return 2;
  }
  const auto number = [&](int i) { return std::strtoull(argv[i], nullptr, 10); };
  const auto port = static_cast<uint16_t>(number(2));
  const Catalogue catalogue(number(3), number(4), number(5));
  const size_t connections = number(6);
  const size_t depth = number(7);
  const int folder_fd = ::open(argv[8], O_RDONLY | O_DIRECTORY);
  if (folder_fd < 0) die(argv[8]);
  if (sink == "files") {
    Floor<Files>(port, catalogue, depth, folder_fd).run(connections);
  } else {
    Floor<Packed>(port, catalogue, depth, folder_fd).run(connections);
  }
  return 0;
}
