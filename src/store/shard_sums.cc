#include "store/shard_sums.h"

#include "store/content_hash.h"
#include "store/shard_reader.h"

namespace gigafetch::store {
namespace {

constexpr uint64_t kMembersPerCall = 4096;

// The hash of the member's body, in one step when it comes in one piece.
Result<Hash128> hash_body(ShardReader& reader, std::string_view name, uint64_t size) {
  Result<std::string_view> piece = reader.body();
  if (!piece) return std::move(piece).failure();
  if (piece->size() == size) return content_hash(name, *piece);
  ContentHasher hasher(name);
  while (!piece->empty()) {
    hasher.update(*piece);
    piece = reader.body();
    if (!piece) return std::move(piece).failure();
  }
  return hasher.value();
}

}  // namespace

void ShardSums::add(const ShardSums& other) {
  names.add_sum(other.names.sum, other.names.count);
  content = content + other.content;
  bytes += other.bytes;
  strangers += other.strangers;
}

Result<ShardSums> sum_shard(int output_fd, const CountedShard& shard, Layout layout,
                            const std::function<void(const ShardSums&)>& on_read) {
  ShardSums sums;
  Result<ShardReader> reader = ShardReader::open(output_fd, shard.name, 0, shard.end);
  if (!reader) return std::move(reader).failure();
  for (;;) {
    Result<std::optional<TarMember>> member = reader->next();
    if (!member) return std::move(member).failure();
    if (!*member) return sums;
    const std::optional<std::string> name = name_of_path(layout, (*member)->path, PathLimits::none);
    if (!name) {
      ++sums.strangers;
      continue;
    }
    Result<Hash128> content = hash_body(*reader, *name, (*member)->size);
    if (!content) return std::move(content).failure();
    sums.names.add(hash_of_name(*name));
    sums.content = sums.content + *content;
    sums.bytes += (*member)->size;
    if (sums.names.count % kMembersPerCall == 0) on_read(sums);
  }
}

Result<void> for_members(
    int output_fd, const CountedShard& shard, Layout layout,
    const std::function<Result<void>(std::string_view path,
                                     const std::optional<std::string>& name)>& on_member) {
  Result<ShardReader> reader = ShardReader::open(output_fd, shard.name, 0, shard.end);
  if (!reader) return std::move(reader).failure();
  for (;;) {
    Result<std::optional<TarMember>> member = reader->next();
    if (!member) return std::move(member).failure();
    if (!*member) return {};
    const std::string& path = (*member)->path;
    Result<void> taken = on_member(path, name_of_path(layout, path, PathLimits::none));
    if (!taken) return taken;
  }
}

}  // namespace gigafetch::store
