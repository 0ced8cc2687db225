// What fetching costs a worker without coordinator and supervisor: the worker's fetcher, with a
// sink that gathers the bodies in memory, or, given a folder, packs them into shards there.
//
// One process, one loop; batches are made here as the coordinator would send them, and given to the
// fetcher four at a time. What it prints is CPU per file, of the process and of user space alone.
//
//     fetch PORT FILES SIZE SEED CONNECTIONS DEPTH [FOLDER]
#include <fcntl.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "net/timer.h"
#include "origin/catalogue.h"
#include "store/tar_sink.h"
#include "worker/fetcher.h"
#include "worker/outbox.h"

namespace {

using namespace gigafetch;

constexpr uint32_t kBatchNames = 1000;
constexpr size_t kBatchesAhead = 4;
constexpr size_t kBufferBytes = 1024 * 1024;

class MemorySink final : public store::Sink {
 public:
  std::optional<FailureClass> refuses(std::string_view) override { return std::nullopt; }
  std::string_view refusal_text(FailureClass) const override { return {}; }
  store::StoreStatus put(store::Lot&, std::string_view name, std::string_view body) override {
    if (buffer_.size() + name.size() + body.size() > kBufferBytes) buffer_.clear();
    buffer_.append(name);
    buffer_.append(body);
    return {};
  }
  store::StoreStatus open(store::Lot&, std::string_view, std::optional<uint64_t>,
                          std::unique_ptr<store::BodyWriter>&) override {
    return store::StoreStatus::file(FailureClass::too_large, "only small bodies are measured");
  }
  void discard(std::string_view) override {}

 private:
  std::string buffer_ = [] {
    std::string buffer;
    buffer.reserve(kBufferBytes);
    return buffer;
  }();
};

class Bench final : private worker::Fetcher::Client, private worker::Outbox::Client {
 public:
  Bench(const worker::Settings& settings, const origin::Catalogue& catalogue, store::Sink& sink)
      : catalogue_(catalogue),
        sink_(sink),
        dialect_(std::move(listing::make_dialect("marker", "")).value()),
        outbox_(sink_, *this),
        fetcher_(loop_, settings, *dialect_, sink_, *this, 0),
        refill_timer_(loop_, [this] { refill(); }) {}

  void run() {
    for (size_t i = 0; i < kBatchesAhead; ++i)
      add_batch();
    loop_.run();
    fetcher_.abandon();
    sink_.finish_run();
  }
  uint64_t stored() const { return stored_; }

 private:
  // As when a frame comes from the coordinator: not inside a connection's callback.
  void refill() {
    for (; wanted_ > 0; --wanted_)
      add_batch();
  }

  void add_batch() {
    if (next_ == catalogue_.files()) return;
    NameList names;
    std::string name;
    while (names.count() < kBatchNames && next_ < catalogue_.files()) {
      name.clear();
      catalogue_.append_name(name, next_++);
      names.append(name);
    }
    ++batches_;
    credits_.insert(++lease_);
    fetcher_.add(outbox_.add({lease_, names.count(), false, {names.count()}, names.bytes()}));
  }

  worker::Part* on_answered(const worker::Task& task, bool stored) override {
    return outbox_.on_answered(task, stored);
  }
  void on_stored(std::span<const worker::FileRun> files) override {
    for (const worker::FileRun& run : files)
      stored_ += run.count;
    outbox_.on_stored(files);
  }
  void on_taken_back(std::span<const worker::Answer>) override { std::exit(1); }
  void on_misframed(worker::Misframing) override { std::exit(1); }
  void send_outcome(wire::Outcome outcome) override {
    if (!outcome.keeps_credit && credits_.erase(outcome.lease) > 0) {
      ++wanted_;
      refill_timer_.start(Millis(0));
    }
    if (outcome.last && --batches_ == 0 && next_ == catalogue_.files()) loop_.stop();
  }
  void on_broken(std::string_view) override { std::exit(1); }
  void on_failed(const worker::Task&, FileFailure failure) override {
    std::fprintf(stderr, "failed: %s\n", failure.text.c_str());
    std::exit(1);
  }
  void on_released(const worker::Task&) override { std::exit(1); }
  void on_pushback() override {}
  void on_store_broken(std::string_view) override {}
  void on_fetcher_drained() override {}

  const origin::Catalogue& catalogue_;
  store::Sink& sink_;
  net::Loop loop_;
  std::unique_ptr<listing::Dialect> dialect_;
  size_t batches_ = 0;  // held
  uint64_t lease_ = 0;
  std::set<uint64_t> credits_;  // leases that count
  worker::Outbox outbox_;
  uint64_t next_ = 0;
  uint64_t stored_ = 0;
  size_t wanted_ = 0;
  worker::Fetcher fetcher_;
  net::Timer refill_timer_;
};

double micros(const timeval& time) {
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7 && argc != 8) {
    std::fprintf(stderr, "usage: fetch PORT FILES SIZE SEED CONNECTIONS DEPTH [FOLDER]\n");
    return 2;
  }
  const origin::Catalogue catalogue(std::strtoull(argv[2], nullptr, 10),
                                    std::strtoull(argv[3], nullptr, 10),
                                    std::strtoull(argv[4], nullptr, 10));
  worker::Settings settings;
  settings.origin.scheme = "http";
  settings.origin.host = "127.0.0.1";
  settings.origin.port = static_cast<uint16_t>(std::atoi(argv[1]));
  settings.api = "marker";
  settings.connections = static_cast<uint32_t>(std::atoi(argv[5]));
  settings.pipeline = static_cast<uint32_t>(std::atoi(argv[6]));
  const int folder_fd = argc == 8 ? ::open(argv[7], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (argc == 8 && folder_fd < 0) {
    std::perror(argv[7]);
    return 1;
  }
  std::unique_ptr<store::Sink> sink;
  if (folder_fd < 0) {
    sink = std::make_unique<MemorySink>();
  } else {
    sink = std::make_unique<store::TarSink>(folder_fd, store::TarSink::Options());
  }
  Bench bench(settings, catalogue, *sink);
  rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  bench.run();
  ::getrusage(RUSAGE_SELF, &after);
  const auto files = static_cast<double>(bench.stored());
  const double user = (micros(after.ru_utime) - micros(before.ru_utime)) / files;
  const double system = (micros(after.ru_stime) - micros(before.ru_stime)) / files;
  std::printf("%.0f files, us of CPU per file: %.3f user + %.3f system = %.3f\n", files, user,
              system, user + system);
  return 0;
}
