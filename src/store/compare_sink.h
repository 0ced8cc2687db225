// CompareSink: stands in for the sink in `verify --content`. It compares each body with what is
// stored and stores nothing.
#pragma once

#include <memory>

#include "store/sink.h"
#include "store/stored_bodies.h"

namespace gigafetch::store {

class CompareSink final : public Sink {
 public:
  explicit CompareSink(std::unique_ptr<StoredBodies> stored) : stored_(std::move(stored)) {}

  std::optional<FailureClass> refuses(std::string_view name) override;
  std::string_view refusal_text(FailureClass refusal) const override;
  // Ok when the file holds exactly `body`; else Kind::file with missing or different.
  StoreStatus put(Lot& lot, std::string_view name, std::string_view body) override;
  StoreStatus open(Lot& lot, std::string_view name, std::optional<uint64_t> size,
                   std::unique_ptr<BodyWriter>& writer) override;
  void discard(std::string_view) override {}

 private:
  class Comparer;
  std::unique_ptr<StoredBodies> stored_;
};

}  // namespace gigafetch::store
