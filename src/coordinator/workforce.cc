#include "coordinator/workforce.h"

#include <algorithm>
#include <fstream>

#include "base/log.h"

namespace gigafetch::coordinator {
namespace {

// A worker speaks once a second, whatever the origin does.
constexpr Millis kSilence{10'000};
constexpr Millis kSilenceSweep{1'000};
// Different ones of a run.
constexpr size_t kMostWarnings = 100;

// Whether the process waits for a device and cannot be interrupted (proc(5), state D): it is slow,
// not hung, and could not be killed either.
bool waits_for_device(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string stat;
  std::getline(file, stat);
  const size_t name_end = stat.rfind(") ");  // the name itself may hold anything
  return name_end != stat.npos && stat.substr(name_end + 2, 1) == "D";
}

}  // namespace

Workforce::Workforce(net::Loop& loop, uint64_t run_id, Client& client)
    : loop_(loop),
      run_id_(run_id),
      client_(client),
      listener_(loop, [this] { accept(); }),
      reaper_(loop,
              [this] { std::erase_if(links_, [](const auto& link) { return link->ended(); }); }),
      silence_(loop, kSilenceSweep, [this](TimePoint since) { check_silence(since); }) {}

Result<void> Workforce::open(UniqueFd listen_fd) {
  return listener_.open(std::move(listen_fd));
}

void Workforce::accept() {
  auto link = std::make_unique<WorkerLink>(loop_, static_cast<WorkerLink::Client&>(*this),
                                           next_holder_++, spare_);
  if (listener_.accept(link->stream())) links_.push_back(std::move(link));
}

void Workforce::drain() {
  draining_ = true;
  for (WorkerLink* link : links())
    link->send_empty(wire::MessageType::drain);
}

void Workforce::stop() {
  stopped_ = true;
  for (const auto& link : links_)
    link->send_empty(wire::MessageType::stop);
}

uint64_t Workforce::requests() const {
  uint64_t sum = of_gone_.requests;
  for (const auto& [holder, counters] : counters_)
    sum += counters.requests;
  return sum;
}

uint64_t Workforce::retries() const {
  uint64_t sum = of_gone_.retries;
  for (const auto& [holder, counters] : counters_)
    sum += counters.retries;
  return sum;
}

bool Workforce::on_hello(WorkerLink& link, const wire::Hello& hello) {
  const auto pid = static_cast<pid_t>(hello.pid);
  // A worker may have died, and been reaped, before its greeting was read.
  if (hello.run_id != run_id_ || !link.is_peer(pid) || reaped_.contains(pid)) return false;
  log_debug("worker {} (pid {}) is here", hello.worker, hello.pid);
  at_work_.push_back(&link);
  if (stopped_) {
    link.send_empty(wire::MessageType::stop);
  } else if (draining_) {
    link.send_empty(wire::MessageType::drain);
  } else {
    if (pipelining_ != wire::Pipelining()) link.send(pipelining_);
    client_.on_worker(link);
  }
  return true;
}

void Workforce::take_counters(HolderId holder, const wire::WorkerCounters& counters) {
  wire::WorkerCounters& last = counters_[holder];
  const wire::WorkerCounters before = std::exchange(last, counters);
  client_.on_counters(before, counters);
}

void Workforce::on_outcome(WorkerLink& link, wire::Outcome outcome) {
  if (stopped_) return;
  take_counters(link.holder(), outcome.counters);
  client_.on_outcome(link, outcome);
}

void Workforce::on_pulse(WorkerLink& link, wire::Pulse pulse) {
  if (stopped_) return;
  take_counters(link.holder(), pulse.counters);
  client_.on_pulse(pulse);
}

// What the deepest pipelines show counts. A limit that is none any more is found out at once, by
// whoever is told of it.
void Workforce::on_pipelining(WorkerLink&, const wire::Pipelining& found) {
  if (stopped_) return;
  if (found.borne > pipelining_.borne) pipelining_.breaks = 0;
  if (found.borne >= pipelining_.borne) {
    pipelining_.borne = found.borne;
    pipelining_.breaks = std::max(pipelining_.breaks, found.breaks);
  }
  if (found.per_connection > 0) pipelining_.per_connection = found.per_connection;
  client_.on_pipelining(pipelining_);
}

void Workforce::on_fatal(WorkerLink& link, const wire::Fatal& fatal) {
  if (!stopped_) client_.on_fatal(link, fatal.text);
}

void Workforce::on_warning(WorkerLink&, const wire::Warning& warning) {
  const bool is_news = warned_.size() < kMostWarnings && warned_.insert(warning.text).second;
  if (is_news && !stopped_) client_.on_warning(warning.text);
}

void Workforce::on_read_end() {
  if (!stopped_) client_.on_read_end();
}

void Workforce::on_link_ended(WorkerLink& link, const std::string& why) {
  std::erase(at_work_, &link);
  reaper_.start(Millis(0));
  if (!link.greeted() || stopped_) return;
  if (!why.empty()) {
    log_error("worker {} (pid {}) is ended: {}", link.worker(), link.pid(), why);
    client_.kill(link);
  }
  if (reaped_.erase(link.pid()) > 0) {
    gone(link.holder());
  } else {
    orphaned_[link.pid()] = link.holder();
  }
}

void Workforce::on_reaped(pid_t pid) {
  if (const auto orphan = orphaned_.find(pid); orphan != orphaned_.end()) {
    const HolderId holder = orphan->second;
    orphaned_.erase(orphan);
    return gone(holder);
  }
  reaped_.insert(pid);
}

void Workforce::gone(HolderId holder) {
  const wire::WorkerCounters& last = counters_[holder];
  of_gone_.requests += last.requests;
  of_gone_.retries += last.retries;
  counters_.erase(holder);
  client_.on_gone(holder);
}

void Workforce::check_silence(TimePoint since) {
  const std::vector<WorkerLink*> links = at_work_;  // refuse() takes them out
  for (WorkerLink* link : links) {
    if (link->heard() + kSilence > since || waits_for_device(link->pid())) continue;
    link->refuse(fmt::format("it has not said a word for {} s", kSilence / Millis(1000)));
  }
}

}  // namespace gigafetch::coordinator
