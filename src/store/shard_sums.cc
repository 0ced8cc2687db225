#include "store/shard_sums.h"

namespace gigafetch::store {
namespace {

constexpr uint64_t kMembersPerCall = 4096;

}  // namespace

void ShardSums::add(const ShardSums& other) {
  names.add_sum(other.names.sum, other.names.count);
  content = content + other.content;
  bytes += other.bytes;
  strangers += other.strangers;
}

Result<ShardSums> sum_shard(int output_fd, const CountedShard& shard, Layout layout,
                            NameSums& names, const SumHooks& hooks) {
  ShardSums sums;
  const bool on_name = static_cast<bool>(hooks.on_name);
  const auto add = [&](const ShardMember& member) -> Result<void> {
    if (!member.name) {
      ++sums.strangers;
      return {};
    }
    const Hash128 name = hash_of_name(*member.name);
    if (member.damage.empty()) {
      names.add(name);
      sums.names.add(name);
      sums.content = sums.content + member.content;
      sums.bytes += member.size;
      if (sums.names.count % kMembersPerCall == 0) hooks.on_read(sums);
    } else {
      names.spoil(name);
    }
    return on_name ? hooks.on_name(member, name) : Result<void>();
  };
  Result<void> read = for_members(output_fd, shard, layout, Bodies::read, {add, hooks.on_damage});
  if (!read) return std::move(read).failure();
  return sums;
}

}  // namespace gigafetch::store
