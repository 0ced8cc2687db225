#include "cli/packed_difference.h"

#include <array>
#include <atomic>
#include <optional>

#include "base/escape.h"
#include "base/name_list.h"
#include "cli/children.h"
#include "coordinator/list_names.h"
#include "store/shard_members.h"
#include "store/shard_reader.h"

namespace gigafetch::cli {
namespace {

using store::MemberJoin;

// Listings that may be another one each time before all names are gathered from one.
constexpr int kAttempts = 2;

// The lister's.
struct Listed {
  std::atomic<uint64_t> names;
  std::array<uint64_t, store::NameSums::kRanges> sums;
  SharedError failure;
};

// One reader's.
struct Read {
  std::atomic<uint64_t> members;
  uint64_t bytes;  // of members in ranges that are the same
  store::Hash128 content;
  SharedError failure;
};

struct Common {
  std::atomic<size_t> next_shard;
};

// The status of a process: others need not go on when it has failed.
int ended(const Result<void>& result, SharedError& failure) {
  if (!result) failure.set(result.failure());
  return result ? 0 : 1;
}

class Comparison {
 public:
  Comparison(const supervisor::Job& job, const StoredNames& stored, const PackedSums& found,
             supervisor::Observer& observer)
      : job_(job), stored_(stored), found_(found), observer_(observer), start_(monotonic_now()) {}

  Result<PackedDifference> run(store::DeadLetters* findings) {
    if (Result<void> listed = list(nullptr); !listed) return std::move(listed).failure();
    for (int attempt = 0;; ++attempt) {
      ranges_.mark_different(found_.names, store::NameSums((*listed_)->sums));
      if (attempt == kAttempts) ranges_.mark_all();
      Result<MemberJoin> join = MemberJoin::create(job_.state_fd);
      if (!join) return std::move(join).failure();
      if (Result<void> gathered = list(&*join); !gathered) return std::move(gathered).failure();
      store::NameRanges now = ranges_;
      now.mark_different(found_.names, store::NameSums((*listed_)->sums));
      if (now == ranges_) return compare(*join, findings);
    }
  }

 private:
  // Lists; with `join`, gathers what it is to compare from the listing and the shards.
  Result<void> list(MemberJoin* join) {
    Result<Shared<Listed>> listed = Shared<Listed>::make();
    if (!listed) return std::move(listed).failure();
    listed_.emplace(std::move(*listed));
    reads_.clear();
    std::vector<Child> children = {
        {"gigafetch:list", [&] { return ended(list_names(join), (*listed_)->failure); }}};
    if (Result<void> added = join != nullptr ? add_readers(*join, children) : Result<void>();
        !added) {
      return added;
    }
    const Result<void> run = run_children(
        children, [this] { show(); }, all_.accounts);
    if (std::optional<Error> failure = (*listed_)->failure.get()) return *std::move(failure);
    for (const Shared<Read>& read : reads_)
      if (std::optional<Error> failure = read->failure.get()) return *std::move(failure);
    return run;
  }

  Result<void> add_readers(MemberJoin& join, std::vector<Child>& children) {
    Result<Shared<Common>> common = Shared<Common>::make();
    if (!common) return std::move(common).failure();
    common_.emplace(std::move(*common));
    for (size_t i = 0; i < std::min<size_t>(job_.workers, stored_.shards().size()); ++i) {
      Result<Shared<Read>> read = Shared<Read>::make();
      if (!read) return std::move(read).failure();
      reads_.push_back(std::move(*read));
      children.push_back({"gigafetch:read", [this, &join, i] {
                            return ended(read_shards(join, *reads_[i]), reads_[i]->failure);
                          }});
    }
    return {};
  }

  // In the lister's process.
  Result<void> list_names(MemberJoin* join) {
    Listed& listed = **listed_;
    uint64_t names = 0;
    const auto take = [&](std::string_view name) -> Result<void> {
      // Longer ones were told when they were counted.
      if (name.size() > kMaxNameBytes) return {};
      const store::Hash128 hash = store::hash_of_name(name);
      listed.sums[store::NameSums::range_of(hash)] += hash.low;
      listed.names.store(++names, std::memory_order_relaxed);
      return join != nullptr && ranges_.has(hash) ? join->add_listed(hash, name) : Result<void>();
    };
    Result<void> done = coordinator::list_names(job_.coordinator.listing, job_.coordinator.filter,
                                                UINT64_MAX, take);
    return done && join != nullptr ? join->flush() : done;
  }

  // In a reader's process: takes shards until none is left.
  Result<void> read_shards(MemberJoin& join, Read& read) {
    const std::vector<store::CountedShard>& shards = stored_.shards();
    for (size_t at; (at = (*common_)->next_shard.fetch_add(1)) < shards.size();) {
      store::MemberHooks hooks;
      hooks.on_member = [&](const store::ShardMember& member) {
        return take_member(join, read, member, at);
      };
      hooks.on_damage = [](const Error&, bool) {};  // told when they were summed
      Result<void> done = store::for_members(job_.output_fd, shards[at], stored_.layout(),
                                             store::Bodies::read, hooks);
      if (!done) return done;
    }
    return join.flush();
  }

  Result<void> take_member(MemberJoin& join, Read& read, const store::ShardMember& member,
                           size_t shard) {
    read.members.store(read.members.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    const store::Hash128 hash = store::hash_of_name(member.name ? *member.name : member.path);
    if (!member.name || ranges_.has(hash)) return join.add_member(hash, member, shard);
    // It was whole when the ranges were found.
    if (!member.damage.empty()) return error(ErrorCode::io, "{}", member.damage);
    read.bytes += member.size;
    read.content = read.content + member.content;
    return {};
  }

  void show() {
    Figures figures;
    figures.listed = (*listed_)->names.load();
    for (const Shared<Read>& read : reads_)
      figures.fetched = figures.stored += read->members.load();
    observer_.on_figures(figures, seconds_between(start_, monotonic_now()));
  }

  Result<PackedDifference> compare(MemberJoin& join, store::DeadLetters* findings) {
    std::string path;
    const auto add = [&](std::string_view name, FailureClass cause, std::string text) {
      ++(is_rejection(cause) ? all_.rejected : all_.failed);
      if (findings == nullptr) return Result<void>();
      return findings->add(name, FileFailure{cause, 0, 0, std::move(text)});
    };
    MemberJoin::Hooks hooks;
    for (const store::CountedShard& shard : stored_.shards())
      hooks.epochs.push_back(shard.epoch);
    hooks.on_missing = [&](std::string_view name) {
      if (const auto refused =
              path_of_name(stored_.layout(), name, path, store::PathLimits::none)) {
        return add(name, *refused, std::string(refusal_text(stored_.layout(), *refused)));
      }
      // It may be in what nobody knows the loss of.
      if (found_.lost) return add(name, FailureClass::different, *found_.lost);
      return add(name, FailureClass::missing, fmt::format("'{}' is in no shard", printable(name)));
    };
    hooks.on_different = [&](std::string_view name, std::string_view damage) {
      return add(name, FailureClass::different, std::string(damage));
    };
    Result<MemberJoin::Report> report = join.finish(hooks);
    if (!report) return std::move(report).failure();
    if (Result<void> flushed = findings != nullptr ? findings->flush() : Result<void>(); !flushed)
      return std::move(flushed).failure();
    all_.listed = (*listed_)->names.load();
    all_.bytes = report->bytes;
    all_.content = report->content;
    for (const Shared<Read>& read : reads_) {
      all_.bytes += read->bytes;
      all_.content = all_.content + read->content;
    }
    all_.extra = report->extra + report->strangers;
    all_.again = report->again;
    for (const MemberJoin::Spot& spot : report->examples)
      all_.examples.push_back(path_at(spot));
    return std::move(all_);
  }

  std::string path_at(const MemberJoin::Spot& spot) const {
    const store::CountedShard& shard = stored_.shards()[spot.shard];
    Result<store::ShardReader> reader =
        store::ShardReader::open(job_.output_fd, shard.name, spot.place.offset, shard.end);
    if (!reader || !reader->skip(spot.place.skip)) return "(cannot be read again)";
    Result<std::optional<store::TarMember>> member = reader->next();
    return member && *member ? (*member)->path : "(cannot be read again)";
  }

  const supervisor::Job& job_;
  const StoredNames& stored_;
  const PackedSums& found_;
  supervisor::Observer& observer_;
  const TimePoint start_;
  store::NameRanges ranges_;  // to be compared name by name
  std::optional<Shared<Listed>> listed_;
  std::optional<Shared<Common>> common_;
  std::vector<Shared<Read>> reads_;
  PackedDifference all_;
};

}  // namespace

Result<PackedDifference> find_difference(const supervisor::Job& job, const StoredNames& stored,
                                         const PackedSums& found, store::DeadLetters* findings,
                                         supervisor::Observer& observer) {
  return Comparison(job, stored, found, observer).run(findings);
}

}  // namespace gigafetch::cli
