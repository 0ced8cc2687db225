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

ShardSums sum_shard(int output_fd, const CountedShard& shard, Layout layout, NameSums& names,
                    const std::function<void(const ShardSums&)>& on_read,
                    const std::function<void(const Error&)>& on_damage) {
  ShardSums sums;
  MemberHooks hooks;
  hooks.on_damage = [&](const Error& why, bool) { on_damage(why); };
  hooks.on_member = [&](const ShardMember& member) -> Result<void> {
    if (!member.name) {
      ++sums.strangers;
      return {};
    }
    const Hash128 name = hash_of_name(*member.name);
    if (!member.damage.empty()) {
      names.spoil(name);
      return {};
    }
    names.add(name);
    sums.names.add(name);
    sums.content = sums.content + member.content;
    sums.bytes += member.size;
    if (sums.names.count % kMembersPerCall == 0) on_read(sums);
    return {};
  };
  // Only hooks fail.
  (void)for_members(output_fd, shard, layout, Bodies::read, hooks);
  return sums;
}

}  // namespace gigafetch::store
