// What the tests of packed output share: files put into shards, and what is told of them.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/temp_folder.h"
#include "store/shard_ends.h"
#include "store/shard_reader.h"
#include "store/tar_sink.h"

namespace gigafetch::store {

// Path and body of each member, in order.
using Members = std::vector<std::pair<std::string, std::string>>;

inline TarSink::Options tar_options(int zstd_level = 0) {
  TarSink::Options options;
  options.zstd_level = zstd_level;
  options.gather_bytes = 0;  // what comes in pieces is streamed
  return options;
}

// Commits the lot, proves it, and gives what may be told then.
inline StoreStatus commit_lot(TarSink& sink, Lot& lot, std::vector<ShardEnd>& told) {
  told.clear();
  Receipt receipt = 0, streamed = 0;
  StoreStatus status = sink.commit(lot, receipt);
  if (status.ok()) status = sink.commit_streamed(lot, streamed);
  if (!status.ok()) return status;
  for (const Receipt each : {receipt, streamed}) {
    if (each != 0) sink.prove(each);
  }
  for (Tellable tellable; status.ok() && sink.take_tellable(tellable, status);)
    told.push_back(tellable.end);
  return status;
}

// As a worker uses it: what is committed is proven and told at once, and the ends of the shards are
// kept.
class Packer {
 public:
  Packer(const TempFolder& out, const TarSink::Options& options)
      : sink(out.fd(), options), worker_(options.worker) {}

  void put(Lot& lot, std::string_view name, std::string_view body) {
    const StoreStatus status = sink.put(lot, name, body);
    CHECK(status.text() == "");
    REQUIRE(status.ok());
  }
  std::unique_ptr<BodyWriter> open(Lot& lot, std::string_view name,
                                   std::optional<uint64_t> size = std::nullopt) {
    std::unique_ptr<BodyWriter> writer;
    const StoreStatus status = sink.open(lot, name, size, writer);
    CHECK(status.text() == "");
    REQUIRE(writer != nullptr);
    return writer;
  }
  void stream(Lot& lot, std::string_view name, std::string_view body,
              std::optional<uint64_t> size = std::nullopt, size_t piece = 10'000) {
    const std::unique_ptr<BodyWriter> writer = open(lot, name, size);
    for (; !body.empty(); body.remove_prefix(std::min(piece, body.size())))
      REQUIRE(writer->append(body.substr(0, piece)).ok());
    REQUIRE(writer->close().ok());
    streamed(lot);
  }
  // A streamed file of the lot is whole: it is committed, and proven with the lot.
  void streamed(Lot& lot) {
    Receipt receipt = 0;
    REQUIRE(sink.commit_streamed(lot, receipt).ok());
    if (receipt != 0) unproven_[&lot].push_back(receipt);
  }
  // What is told of the lot.
  std::vector<ShardEnd> commit(Lot& lot) {
    std::vector<ShardEnd> told;
    StoreStatus status = commit_lot(sink, lot, told);
    CHECK(status.text() == "");
    REQUIRE(status.ok());
    for (const Receipt receipt : std::exchange(unproven_[&lot], {}))
      sink.prove(receipt);
    for (Tellable tellable; sink.take_tellable(tellable, status);)
      told.push_back(tellable.end);
    REQUIRE(status.ok());
    for (const ShardEnd& end : told) {
      CHECK(end.worker == worker_);
      CHECK(ends.add(end));
    }
    return told;
  }
  // A batch of small files.
  std::vector<ShardEnd> store(const Members& files) {
    Lot lot;
    for (const auto& [name, body] : files)
      put(lot, name, body);
    return commit(lot);
  }

  TarSink sink;
  ShardEnds ends;

 private:
  uint32_t worker_;
  std::map<const Lot*, std::vector<Receipt>> unproven_;
};

// The members of a shard up to `end`; what it says when it is damaged, as the last one,
// "(damaged)".
inline Members members_of(int output_fd, const ShardName& name, uint64_t end = UINT64_MAX,
                          uint64_t begin = 0) {
  Members members;
  Result<ShardReader> reader = ShardReader::open(output_fd, name, begin, end);
  REQUIRE(reader.ok());
  for (;;) {
    Result<std::optional<TarMember>> member = reader->next();
    if (!member) return members.emplace_back("(damaged)", member.failure().text), members;
    if (!*member) return members;
    std::string body;
    for (;;) {
      Result<std::string_view> piece = reader->body();
      if (!piece) return members.emplace_back("(damaged)", piece.failure().text), members;
      if (piece->empty()) break;
      body += *piece;
    }
    CHECK(body.size() == (*member)->size);
    members.emplace_back((*member)->path, std::move(body));
  }
}

inline std::set<std::string> files_in(const TempFolder& folder) {
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    files.insert(entry.path().filename().string());
  return files;
}

inline ShardName shard_name(uint32_t worker, uint32_t number, bool compressed = false) {
  return {{worker, number}, compressed};
}

}  // namespace gigafetch::store
