#include "store/compare_sink.h"

#include <fmt/core.h>

#include <algorithm>
#include <string>

#include "base/escape.h"

namespace gigafetch::store {

class CompareSink::Comparer final : public BodyWriter {
 public:
  Comparer(std::unique_ptr<BodyReader> reader, std::string path)
      : reader_(std::move(reader)), path_(std::move(path)) {}

  StoreStatus append(std::string_view piece) override {
    while (!piece.empty()) {
      if (StoreStatus status = read(); !status.ok()) return status;
      if (stored_.empty()) return different("it is shorter than the origin's", offset_);
      const size_t size = std::min(piece.size(), stored_.size());
      const std::string_view here = stored_.substr(0, size), there = piece.substr(0, size);
      if (here != there) {
        const auto unequal =
            std::mismatch(here.begin(), here.end(), there.begin()).first - here.begin();
        return different("its bytes differ", offset_ + static_cast<uint64_t>(unequal));
      }
      offset_ += size;
      piece.remove_prefix(size);
      stored_.remove_prefix(size);
    }
    reader_->give_back(stored_.size());
    stored_ = {};
    return {};
  }

  StoreStatus close() override {
    if (StoreStatus status = read(); !status.ok()) return status;
    if (!stored_.empty()) return different("it is longer than the origin's", offset_);
    return {};
  }

 private:
  // Makes the next stored bytes available, if there are any.
  StoreStatus read() { return stored_.empty() ? reader_->read(stored_) : StoreStatus(); }

  StoreStatus different(std::string_view how, uint64_t offset) const {
    return StoreStatus::file(FailureClass::different, fmt::format("'{}': {} from byte {} on",
                                                                  printable(path_), how, offset));
  }

  std::unique_ptr<BodyReader> reader_;
  std::string path_;
  std::string_view stored_;  // read, and not compared yet
  uint64_t offset_ = 0;
};

std::optional<FailureClass> CompareSink::refuses(std::string_view name) {
  return stored_->refuses(name);
}

std::string_view CompareSink::refusal_text(FailureClass refusal) const {
  return stored_->refusal_text(refusal);
}

StoreStatus CompareSink::open(Lot&, std::string_view name, std::optional<uint64_t>,
                              std::unique_ptr<BodyWriter>& writer) {
  std::unique_ptr<BodyReader> reader;
  if (StoreStatus status = stored_->open(name, reader); !status.ok()) return status;
  writer = std::make_unique<Comparer>(std::move(reader), stored_->path());
  return {};
}

StoreStatus CompareSink::put(Lot& lot, std::string_view name, std::string_view body) {
  std::unique_ptr<BodyWriter> comparer;
  if (StoreStatus status = open(lot, name, std::nullopt, comparer); !status.ok()) return status;
  if (StoreStatus status = comparer->append(body); !status.ok()) return status;
  return comparer->close();
}

}  // namespace gigafetch::store
