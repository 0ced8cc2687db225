// Batches and sinks for the tests of the worker.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/name_list.h"
#include "store/sink.h"
#include "worker/batch.h"

namespace gigafetch::testing {

// The names are one segment when `segments` does not say how many names each has.
inline std::unique_ptr<worker::Batch> batch_of(const std::vector<std::string>& names,
                                               uint64_t lease = 1,
                                               std::vector<uint32_t> segments = {}) {
  NameList list;
  for (const std::string& name : names)
    list.append(name);
  if (segments.empty()) segments = {list.count()};
  return std::make_unique<worker::Batch>(
      wire::BatchView{lease, list.count(), false, std::move(segments), list.bytes()});
}

// One whose names have been released by a worker that waited for them.
inline std::unique_ptr<worker::Batch> patient_batch_of(const std::vector<std::string>& names) {
  NameList list;
  for (const std::string& name : names)
    list.append(name);
  return std::make_unique<worker::Batch>(
      wire::BatchView{1, list.count(), true, {list.count()}, list.bytes()});
}

// How many names the ranges hold.
inline uint32_t names_in(const std::vector<wire::Outcome::Range>& ranges) {
  uint32_t count = 0;
  for (const wire::Outcome::Range& range : ranges)
    count += range.count;
  return count;
}

// "f0", "f1", ...
inline std::vector<std::string> numbered(size_t count) {
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i)
    names.push_back("f" + std::to_string(i));
  return names;
}

// Keeps files in memory, fails where the test says so, and writes down what was asked of it.
class FakeSink final : public store::Sink {
 public:
  std::map<std::string, std::string> files;  // whole ones
  std::set<std::string> discarded;
  std::vector<std::string>* log = nullptr;  // "put a", "open a", "append a", "close a", "abort a"
  std::set<std::string> refused;
  // The status of an operation on a name; ok when it says nothing.
  std::function<store::StoreStatus(const std::string& operation, const std::string& name)> status;
  int open_writers = 0;

  std::optional<FailureClass> refuses(std::string_view name) override {
    if (refused.contains(std::string(name))) return FailureClass::bad_name;
    return std::nullopt;
  }
  std::string_view refusal_text(FailureClass) const override { return "refused by the test"; }

  store::StoreStatus put(store::Lot&, std::string_view name, std::string_view body) override {
    store::StoreStatus result = note("put", std::string(name));
    if (result.ok()) files[std::string(name)] = body;
    return result;
  }
  store::StoreStatus open(store::Lot&, std::string_view name, std::optional<uint64_t>,
                          std::unique_ptr<store::BodyWriter>& writer) override {
    store::StoreStatus result = note("open", std::string(name));
    if (result.ok()) writer = std::make_unique<Writer>(*this, std::string(name));
    return result;
  }
  void discard(std::string_view name) override { discarded.insert(std::string(name)); }

 private:
  class Writer final : public store::BodyWriter {
   public:
    Writer(FakeSink& sink, std::string name) : sink_(sink), name_(std::move(name)) {
      ++sink_.open_writers;
    }
    ~Writer() override {
      --sink_.open_writers;
      if (!closed_) (void)sink_.note("abort", name_);
    }
    store::StoreStatus append(std::string_view piece) override {
      body_ += piece;
      return sink_.note("append", name_);
    }
    store::StoreStatus close() override {
      store::StoreStatus result = sink_.note("close", name_);
      closed_ = result.ok();
      if (closed_) sink_.files[name_] = body_;
      return result;
    }

   private:
    FakeSink& sink_;
    std::string name_;
    std::string body_;
    bool closed_ = false;
  };

  store::StoreStatus note(const std::string& operation, const std::string& name) {
    if (log != nullptr) log->push_back(operation + " " + name);
    return status ? status(operation, name) : store::StoreStatus();
  }
};

inline store::StoreStatus file_status() {
  return store::StoreStatus::file(FailureClass::name_conflict, "in the way");
}
inline store::StoreStatus busy_status() {
  return store::StoreStatus::of_errno(EMFILE, "create", "x");
}
inline store::StoreStatus run_status() {
  return store::StoreStatus::of_errno(ENOSPC, "write", "x");
}

}  // namespace gigafetch::testing
