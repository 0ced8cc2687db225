#include "store/member_join.h"

#include <algorithm>
#include <optional>
#include <span>
#include <tuple>

#include "base/byte_order.h"
#include "base/varint.h"

namespace gigafetch::store {
namespace {

enum class Kind : uint8_t { listed, whole, damaged, stranger };

// As it is written: the hash, the kind, then what the kind has.
struct Record {
  Hash128 hash;
  Kind kind = Kind::listed;
  std::string_view text;  // the listed name; the damage
  uint64_t mtime = 0;
  MemberJoin::Spot spot;
  uint64_t size = 0;
  Hash128 content;
};

void put_hash(std::string& out, const Hash128& hash) {
  put_le<uint64_t>(out, hash.low);
  put_le<uint64_t>(out, hash.high);
}

Hash128 take_hash(VarintReader& reader) {
  const uint64_t low = reader.take_u64();
  return {low, reader.take_u64()};
}

// Takes a record off the front; nullopt when there is no whole one.
std::optional<Record> take_record(std::string_view& bytes) {
  VarintReader reader(bytes);
  Record record;
  record.hash = take_hash(reader);
  record.kind = static_cast<Kind>(reader.take_up_to(static_cast<uint64_t>(Kind::stranger)));
  if (record.kind != Kind::listed) {
    record.mtime = reader.take();
    record.spot.shard = reader.take();
    record.spot.place = {reader.take(), reader.take()};
  }
  if (record.kind == Kind::listed || record.kind == Kind::damaged) record.text = reader.take_text();
  if (record.kind == Kind::whole) {
    record.size = reader.take();
    record.content = take_hash(reader);
  }
  if (!reader.ok()) return std::nullopt;
  bytes.remove_prefix(bytes.size() - reader.left());
  return record;
}

void add_example(std::vector<MemberJoin::Spot>& examples, const MemberJoin::Spot& spot) {
  examples.insert(std::upper_bound(examples.begin(), examples.end(), spot), spot);
  if (examples.size() > MemberJoin::kMaxExamples) examples.pop_back();
}

// All records of one hash: the listed ones, the strangers, then the members as they were stored.
Result<void> compare(std::span<const Record> records, const MemberJoin::Hooks& hooks,
                     MemberJoin::Report& report) {
  const auto of_kind = [&](Kind kind) {
    return static_cast<size_t>(std::count_if(records.begin(), records.end(),
                                             [=](const auto& r) { return r.kind == kind; }));
  };
  const size_t listed = of_kind(Kind::listed), strangers = of_kind(Kind::stranger);
  for (const Record& stranger : records.subspan(listed, strangers))
    add_example(report.examples, stranger.spot);
  report.strangers += strangers;
  const std::span<const Record> members = records.subspan(listed + strangers);
  report.again += members.size() - std::min(members.size(), std::max<size_t>(listed, 1));
  if (members.empty()) {
    report.missing += listed;
    for (const Record& name : records.first(listed))
      if (Result<void> told = hooks.on_missing(name.text); !told) return told;
    return {};
  }
  const Record& last = members.back();
  if (listed == 0) {
    ++report.extra;
    add_example(report.examples, last.spot);
  } else if (last.kind == Kind::damaged) {
    report.different += listed;
    for (const Record& name : records.first(listed))
      if (Result<void> told = hooks.on_different(name.text, last.text); !told) return told;
  } else {
    // Each mention was stored by itself, if there are as many.
    const bool each = members.size() == listed && of_kind(Kind::damaged) == 0;
    for (size_t i = 0; i < listed; ++i) {
      const Record& member = each ? members[i] : last;
      report.bytes += member.size;
      report.content = report.content + member.content;
    }
  }
  return {};
}

size_t record_size(std::string_view bytes) {
  std::string_view rest = bytes;
  return take_record(rest) ? bytes.size() - rest.size() : 0;
}

// A part of all records: with what points into it some 15 MiB.
Result<void> compare_all(std::string_view bytes, const MemberJoin::Hooks& hooks,
                         MemberJoin::Report& report) {
  struct At {
    Hash128 hash;
    const char* record = nullptr;
  };
  std::vector<At> all;
  for (std::string_view rest = bytes; !rest.empty();) {
    const char* const begin = rest.data();
    const std::optional<Record> record = take_record(rest);
    if (!record) return TemporaryFile::spoilt();
    all.push_back({record->hash, begin});
  }
  std::sort(all.begin(), all.end(), [](const At& a, const At& b) { return a.hash < b.hash; });
  std::vector<Record> group;
  for (auto from = all.begin(); from != all.end();) {
    group.clear();
    const Hash128 hash = from->hash;
    for (; from != all.end() && from->hash == hash; ++from) {
      std::string_view rest = bytes.substr(static_cast<size_t>(from->record - bytes.data()));
      group.push_back(*take_record(rest));
    }
    const auto order = [&](const Record& record) {
      const int rank = record.kind == Kind::listed ? 0 : record.kind == Kind::stranger ? 1 : 2;
      const uint64_t shard = record.spot.shard;
      const size_t epoch = shard < hooks.epochs.size() ? hooks.epochs[shard] : 0;
      return std::tuple(rank, epoch, record.mtime, record.spot);
    };
    std::sort(group.begin(), group.end(),
              [&](const Record& a, const Record& b) { return order(a) < order(b); });
    if (Result<void> compared = compare(group, hooks, report); !compared) return compared;
  }
  return {};
}

}  // namespace

Result<MemberJoin> MemberJoin::create(int folder_fd) {
  Result<Partitions> records = Partitions::create(folder_fd, record_size);
  if (!records) return std::move(records).failure();
  return MemberJoin(std::move(*records));
}

Result<void> MemberJoin::flush() {
  return records_.flush();
}

Result<void> MemberJoin::add_listed(const Hash128& hash, std::string_view name) {
  record_.clear();
  put_hash(record_, hash);
  put_varint(record_, static_cast<uint64_t>(Kind::listed));
  put_sized(record_, name);
  return records_.add(record_);
}

Result<void> MemberJoin::add_member(const Hash128& hash, const ShardMember& member,
                                    uint64_t shard) {
  const Kind kind = !member.name             ? Kind::stranger
                    : !member.damage.empty() ? Kind::damaged
                                             : Kind::whole;
  record_.clear();
  put_hash(record_, hash);
  put_varint(record_, static_cast<uint64_t>(kind));
  for (const uint64_t field : {member.mtime, shard, member.place.offset, member.place.skip})
    put_varint(record_, field);
  if (kind == Kind::damaged) put_sized(record_, member.damage);
  if (kind == Kind::whole) {
    put_varint(record_, member.size);
    put_hash(record_, member.content);
  }
  return records_.add(record_);
}

Result<MemberJoin::Report> MemberJoin::finish(const Hooks& hooks) {
  Report report;
  Result<void> done =
      records_.finish([&](const std::string& part) { return compare_all(part, hooks, report); });
  if (!done) return std::move(done).failure();
  return report;
}

}  // namespace gigafetch::store
