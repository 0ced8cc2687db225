// What the coordinator costs a name, from page bytes to batch frame to STORED.
//
//     coordinator FOLDER [--names N] [--page N] [--batch N] [--workers N] [--rounds N] [--shuffled]
//                 [--json]
//
// Runs the real coordinator as the supervisor does: in a process of its own, with its ledger in
// FOLDER (an empty one a round, made and removed here), its lister on a TCP connection and its
// workers on the Unix socket. The origin sends pages that were made before; the workers answer
// each batch at once with all of it stored. They are other processes, on another processor where
// there is one: what is printed is the CPU time of the coordinator's process alone, the kernel's
// part of it included. The names are those of the embedded origin, in their order or, within a
// page, in none. One line a round, the median last.
#include <fcntl.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "base/exit_status.h"
#include "base/random.h"
#include "base/unique_fd.h"
#include "base/unix_socket.h"
#include "coordinator/coordinator.h"
#include "origin/catalogue.h"
#include "store/ledger.h"
#include "wire/messages.h"

using namespace gigafetch;

namespace {

constexpr uint64_t kRunId = 1;
constexpr uint64_t kSeed = 1;
constexpr uint64_t kBodyBytes = 100;
// So many bytes of different pages are sent in turn: no cache of a processor's holds them.
constexpr uint64_t kPagesBytes = 16 << 20;
constexpr size_t kReadBytes = 256 * 1024;

struct Options {
  std::string folder;
  uint64_t names = 10'000'000;
  uint64_t page = 10'000;
  uint32_t batch = 1000;
  uint32_t workers = 16;
  uint64_t rounds = 5;
  bool shuffled = false;
  bool json = false;
};

struct Cost {
  double user = 0;  // seconds
  double system = 0;
  double wall = 0;
};

[[noreturn]] void die(const std::string& what) {
  fmt::print(stderr, "coordinator bench: {}\n", what);
  std::exit(1);
}

template <typename T>
T must(Result<T> result) {
  if (!result) die(result.failure().text);
  return std::move(result).value();
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

// The process that is measured has the first processor, all others have the second.
void pin(bool measured) {
  cpu_set_t allowed, wanted;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  CPU_ZERO(&wanted);
  int skip = measured ? 0 : 1;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed) && skip-- == 0) CPU_SET(cpu, &wanted);
  }
  ::sched_setaffinity(0, sizeof wanted, &wanted);
}

pid_t fork_role(bool measured, const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid < 0) die("cannot fork");
  if (pid > 0) return pid;
  pin(measured);
  ::_exit(body());
}

// --- the origin ---

class Origin {
 public:
  explicit Origin(const Options& options)
      : options_(options), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_.get(), generic, length) != 0 || ::listen(listener_.get(), 1) != 0 ||
        ::getsockname(listener_.get(), generic, &length) != 0) {
      die("cannot listen");
    }
    port_ = ntohs(address.sin_port);
    make_pages();
  }

  uint16_t port() const { return port_; }

  // Serves one connection to its end.
  int serve() const {
    const UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const int on = 1;
    ::setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    std::string request(4096, '\0');
    for (;;) {
      const ssize_t got = ::recv(connection.get(), request.data(), request.size(), 0);
      if (got <= 0) return 0;
      const std::string_view text(request.data(), static_cast<size_t>(got));
      if (!text.ends_with("\r\n\r\n")) return 1;  // a request is one piece
      if (!send_page(connection.get(), index_in(text))) return 0;
    }
  }

 private:
  void make_pages() {
    const origin::Catalogue catalogue(options_.names, kBodyBytes, kSeed);
    const uint64_t pages = (options_.names + options_.page - 1) / options_.page;
    uint64_t bytes = 0;
    for (uint64_t at = 0; at < pages && bytes < kPagesBytes; ++at) {
      std::string page = "{\"FileNames\":[";
      for (const uint64_t index : indexes_of(at * options_.page)) {
        page += page.back() == '[' ? "\"" : ",\"";
        catalogue.append_name(page, index);
        page += '"';
      }
      page += ']';
      bytes += page.size();
      pages_.push_back(std::move(page));
    }
  }
  std::vector<uint64_t> indexes_of(uint64_t begin) const {
    std::vector<uint64_t> indexes(std::min(options_.page, options_.names - begin));
    std::iota(indexes.begin(), indexes.end(), begin);
    Random random(begin);
    for (size_t i = indexes.size(); options_.shuffled && i > 1; --i)
      std::swap(indexes[i - 1], indexes[random.below(i)]);
    return indexes;
  }
  static uint64_t index_in(std::string_view request) {
    const size_t at = request.find("next-marker=n");
    uint64_t index = 0;
    if (at != request.npos) std::from_chars(request.data() + at + 13, request.end(), index);
    return index;
  }
  bool send_page(int fd, uint64_t index) const {
    const std::string& names = pages_[index / options_.page % pages_.size()];
    const uint64_t next = index + options_.page;
    const std::string tail =
        next < options_.names ? fmt::format(",\"NextMarker\":\"n{}\"}}", next) : "}";
    const std::string head = fmt::format(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        names.size() + tail.size());
    return ::send(fd, head.data(), head.size(), MSG_NOSIGNAL | MSG_MORE) > 0 &&
           send_all(fd, names) && send_all(fd, tail);
  }

  const Options& options_;
  UniqueFd listener_;
  uint16_t port_ = 0;
  std::vector<std::string> pages_;
};

// --- a worker ---

// What the workers of a whole run would say of the batch.
void append_stored(std::string& out, const wire::BatchView& batch, wire::WorkerCounters& counters) {
  counters.requests += batch.count;
  counters.responses += batch.count;
  counters.received += batch.count * kBodyBytes;
  wire::Outcome outcome;
  outcome.lease = batch.lease;
  outcome.count = batch.count;
  outcome.last = true;
  outcome.counters = counters;
  outcome.stored = {{0, batch.count}};
  for (uint32_t i = 0; i < batch.segments.size(); ++i)
    outcome.contents.push_back({i, kBodyBytes * batch.segments[i], batch.lease, i});
  wire::append(out, outcome);
}

int work(int state_fd, uint32_t index) {
  const UniqueFd socket = must(connect_in_folder(state_fd, "socket"));
  std::string out, in(kReadBytes, '\0');
  wire::append(out, wire::Hello{kRunId, index, static_cast<uint32_t>(::getpid())});
  wire::FrameReader reader;
  wire::WorkerCounters counters;
  for (;;) {
    if (!send_all(socket.get(), out)) return 1;
    out.clear();
    const ssize_t got = ::recv(socket.get(), in.data(), in.size(), 0);
    if (got <= 0) return 0;
    reader.feed(std::string_view(in).substr(0, static_cast<size_t>(got)));
    wire::Frame frame;
    while (reader.next(frame) == wire::FrameReader::Status::frame) {
      if (frame.type == wire::MessageType::stop) return 0;
      if (frame.type != wire::MessageType::batch) continue;
      append_stored(out, must(wire::parse_batch(frame.payload)), counters);
    }
  }
}

// --- the coordinator ---

Cost used_since(std::chrono::steady_clock::time_point begin) {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return {seconds(usage.ru_utime), seconds(usage.ru_stime),
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count()};
}

int coordinate(const Options& options, uint16_t port, const coordinator::Place& place,
               int result_fd) {
  coordinator::Settings settings;
  settings.listing.origin.scheme = "http";
  settings.listing.origin.host = "127.0.0.1";
  settings.listing.origin.port = port;
  settings.listing.api = "marker";
  settings.workers = options.workers;
  settings.batch_names = options.batch;
  const auto begin = std::chrono::steady_clock::now();
  const int status = coordinator::run_coordinator(settings, place);
  const Cost cost = used_since(begin);
  return ::write(result_fd, &cost, sizeof cost) == sizeof cost ? status : 1;
}

// Reads what the supervisor is told, to the end: then everything must be stored.
void await_done(int control_fd, uint64_t names) {
  wire::FrameReader reader;
  wire::Frame frame;
  Figures figures;
  std::string in(kReadBytes, '\0');
  for (;;) {
    const ssize_t got = ::recv(control_fd, in.data(), in.size(), 0);
    if (got <= 0) die("the coordinator is gone");
    reader.feed(std::string_view(in).substr(0, static_cast<size_t>(got)));
    while (reader.next(frame) == wire::FrameReader::Status::frame) {
      if (frame.type == wire::MessageType::figures)
        figures = must(wire::parse_figures(frame.payload));
      if (frame.type != wire::MessageType::done) continue;
      const wire::Done done = must(wire::parse_done(frame.payload));
      if (done.exit != static_cast<uint8_t>(ExitStatus::complete)) die(done.text);
      if (figures.stored != names) die(fmt::format("{} of {} stored", figures.stored, names));
      return;
    }
  }
}

Cost run_round(const Options& options, const Origin& origin) {
  const std::string folder = options.folder + "/round";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directory(folder);
  const UniqueFd state(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  must(store::Ledger::create(state.get(), {"http://h", "marker", "files", "tree", {}, {}}));
  UniqueFd listener = must(listen_in_folder(state.get(), "socket"));
  int control[2], result[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) != 0 ||
      ::pipe2(result, O_CLOEXEC) != 0) {
    die("no sockets");
  }
  UniqueFd ours(control[0]), theirs(control[1]), reading(result[0]), writing(result[1]);

  std::vector<pid_t> others;
  others.push_back(fork_role(false, [&] { return origin.serve(); }));
  const pid_t coordinator = fork_role(true, [&] {
    ours.reset();
    coordinator::Place place;
    place.run_id = kRunId;
    place.state_fd = place.output_fd = state.get();
    place.listen_fd = listener.release();
    place.control_fd = theirs.release();
    return coordinate(options, origin.port(), place, writing.get());
  });
  theirs.reset();
  for (uint32_t i = 0; i < options.workers; ++i) {
    others.push_back(fork_role(false, [&] {
      ours.reset();
      return work(state.get(), i);
    }));
  }
  await_done(ours.get(), options.names);
  ours.reset();
  Cost cost;
  if (::read(reading.get(), &cost, sizeof cost) != sizeof cost)
    die("the coordinator gave no times");
  ::waitpid(coordinator, nullptr, 0);
  for (const pid_t pid : others)
    ::waitpid(pid, nullptr, 0);
  std::filesystem::remove_all(folder);
  return cost;
}

// --- the table ---

void print(const Options& options, const Cost& cost, std::string_view what) {
  const auto names = static_cast<double>(options.names);
  const double user = cost.user * 1e6 / names, system = cost.system * 1e6 / names;
  if (options.json) {
    fmt::print(R"({{"round":"{}","names":{},"page":{},"batch":{},"workers":{},)"
               R"("cpu_us":{:.5f},"user_us":{:.5f},"system_us":{:.5f},"names_per_s":{:.0f}}})"
               "\n",
               what, options.names, options.page, options.batch, options.workers, user + system,
               user, system, names / cost.wall);
  } else {
    fmt::print(
        "{:>6}: {} names a page: {:.4f} us of CPU a name ({:.4f} user, {:.4f} system), "
        "{:.0f} names/s\n",
        what, options.page, user + system, user, system, names / cost.wall);
  }
  std::fflush(stdout);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--shuffled") {
      options.shuffled = true;
    } else if (argument == "--json") {
      options.json = true;
    } else if (!argument.starts_with("--")) {
      options.folder = argument;
    } else if (i + 1 < argc) {
      const uint64_t value = std::strtoull(argv[++i], nullptr, 10);
      if (value == 0) die("numbers are at least 1");
      if (argument == "--names") options.names = value;
      if (argument == "--page") options.page = value;
      if (argument == "--batch") options.batch = static_cast<uint32_t>(value);
      if (argument == "--workers") options.workers = static_cast<uint32_t>(value);
      if (argument == "--rounds") options.rounds = value;
    }
  }
  if (options.folder.empty()) {
    die("usage: coordinator FOLDER [--names N] [--page N] [--batch N] [--workers N] [--rounds N] "
        "[--shuffled] [--json]");
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  const Origin origin(options);
  std::vector<Cost> costs;
  for (uint64_t round = 1; round <= options.rounds; ++round) {
    costs.push_back(run_round(options, origin));
    print(options, costs.back(), fmt::format("{}", round));
  }
  std::sort(costs.begin(), costs.end(),
            [](const Cost& a, const Cost& b) { return a.user + a.system < b.user + b.system; });
  print(options, costs[costs.size() / 2], "median");
  return 0;
}
