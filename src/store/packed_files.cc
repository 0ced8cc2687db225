#include "store/packed_files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/escape.h"
#include "base/unique_fd.h"
#include "store/content_hash.h"
#include "store/regular_file.h"
#include "store/shard_folder.h"

namespace gigafetch::store {
namespace {

// Members of gaps whose places are kept.
constexpr size_t kMaxGapMembers = 1'000'000;
constexpr uint64_t kLooksPerCall = 4096;
// Frames that are kept: those of the batches under way. A longer one has large files.
constexpr size_t kLots = 6;
constexpr size_t kMaxLotBytes = 3 * 1024 * 1024;
// Of the readers that are open, those read last keep their memory: some 2 MiB each.
constexpr size_t kReadersWithMemory = 4;

// A file's bytes in memory, as the kernel pages them in.
class MappedFile {
 public:
  MappedFile(int folder_fd, const std::string& file) {
    const UniqueFd fd = open_regular(folder_fd, file.c_str(), O_RDONLY);
    struct stat there;
    if (!fd || ::fstat(fd.get(), &there) != 0 || there.st_size == 0) return;
    const auto size = static_cast<size_t>(there.st_size);
    void* const at = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (at != MAP_FAILED) bytes_ = {static_cast<const char*>(at), size};
  }
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile() {
    if (!bytes_.empty()) ::munmap(const_cast<char*>(bytes_.data()), bytes_.size());
  }
  std::string_view bytes() const { return bytes_; }

 private:
  std::string_view bytes_;
};

Result<uint64_t> size_of(int folder_fd, const std::string& file) {
  struct stat there;
  if (::fstatat(folder_fd, file.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error(errno, fmt::format("cannot examine the shard '{}'", file));
  }
  return static_cast<uint64_t>(there.st_size);
}

}  // namespace

Result<std::vector<CountedShard>> counted_shards(int output_fd, const ShardEnds& ends) {
  std::vector<CountedShard> shards;
  std::set<ShardId> met;
  const auto look = [&](const std::string& file, const ShardId& id,
                        const std::optional<ShardName>& name) -> Result<void> {
    const auto open = ends.open().find(id);
    const bool is_open = open != ends.open().end() && open->second > 0;
    if (!name || (!is_open && !ends.is_finished(id))) return {};
    if (!met.insert(id).second) return two_of_one(id);
    Result<uint64_t> size = size_of(output_fd, file);
    if (!size) return std::move(size).failure();
    if (is_open && *size < open->second) {
      return error(ErrorCode::malformed, "the shard '{}' has {} bytes, and {} were stored in it",
                   file, *size, open->second);
    }
    shards.push_back({*name, is_open ? open->second : *size, ends.epoch_of(id.number)});
    return {};
  };
  if (Result<void> walked = for_shard_files(output_fd, look); !walked) {
    return std::move(walked).failure();
  }
  for (const auto& [id, end] : ends.open()) {
    if (end > 0 && !met.contains(id)) {
      return error(ErrorCode::malformed,
                   "the shard '{}' (or .zst) is gone, and {} bytes were stored in it",
                   file_of({id, false}), end);
    }
  }
  std::sort(shards.begin(), shards.end(),
            [](const CountedShard& a, const CountedShard& b) { return a.name.id < b.name.id; });
  return shards;
}

struct PackedFiles::Shard {
  CountedShard counted;
  MappedFile index;
  std::vector<IndexRun> runs;
  std::optional<std::vector<Gap>> gaps;  // that the runs leave, once they are asked for
};

PackedFiles::PackedFiles(int output_fd, Layout layout)
    : output_fd_(output_fd), layout_(layout), with_memory_(std::make_unique<Readers>()) {}
PackedFiles::PackedFiles(PackedFiles&&) noexcept = default;
PackedFiles& PackedFiles::operator=(PackedFiles&&) noexcept = default;
PackedFiles::~PackedFiles() = default;

Result<PackedFiles> PackedFiles::open(int output_fd, const ShardEnds& ends, Layout layout) {
  Result<std::vector<CountedShard>> counted = counted_shards(output_fd, ends);
  if (!counted) return std::move(counted).failure();
  PackedFiles files(output_fd, layout);
  for (const CountedShard& each : *counted) {
    Shard shard{each, MappedFile(output_fd, index_file_of(each.name.id)), {}, {}};
    std::string_view rest = shard.index.bytes();
    while (const std::optional<IndexRun> run = IndexRun::take(rest))
      shard.runs.push_back(*run);
    files.shards_.push_back(std::move(shard));
  }
  return files;
}

Result<PackedFiles> PackedFiles::open(int output_fd, const ShardEnds& ends, Layout layout,
                                      const MemberTable& table) {
  Result<std::vector<CountedShard>> counted = counted_shards(output_fd, ends);
  if (!counted) return std::move(counted).failure();
  PackedFiles files(output_fd, layout);
  files.table_ = &table;
  for (const CountedShard& each : *counted)
    files.shards_.push_back(Shard{each, MappedFile(), {}, {}});
  const auto same = [](const Shard& shard, const ShardId& id) {
    return shard.counted.name.id == id;
  };
  if (!std::ranges::equal(files.shards_, table.shards(), same)) {
    return error(ErrorCode::malformed, "the shards have changed while they were read");
  }
  return files;
}

// Unpacks a frame, unless it is kept. Null when it is broken or long, and when all that are kept
// are in use: a reader takes less memory then.
std::shared_ptr<const PackedFiles::Lot> PackedFiles::lot_at(const Place& frame) {
  const auto kept = std::find_if(lots_.begin(), lots_.end(), [&](const auto& lot) {
    return lot->frame.shard == frame.shard && lot->frame.at == frame.at;
  });
  if (kept != lots_.end()) {
    std::rotate(kept, kept + 1, lots_.end());
    return lots_.back();
  }
  std::string bytes;
  if (lots_.size() >= kLots) {
    const auto free = std::find_if(lots_.begin(), lots_.end(),
                                   [](const auto& lot) { return lot.use_count() == 1; });
    if (free == lots_.end()) return nullptr;
    // Memory taken anew for each, in the sizes that they happen to have, would tear the heap.
    bytes = std::move((*free)->bytes);
    lots_.erase(free);
  }
  const CountedShard& shard = shards_[frame.shard].counted;
  Result<ShardReader> reader =
      ShardReader::open(output_fd_, shard.name, frame.at.offset, shard.end);
  if (!reader) return nullptr;
  bytes.reserve(kMaxLotBytes);
  Result<bool> whole = reader->read_frame(bytes, kMaxLotBytes);
  if (!whole || !*whole) return nullptr;
  lots_.push_back(std::make_shared<Lot>(Lot{frame, std::move(bytes)}));
  return lots_.back();
}

// nullopt where the lot does not hold the member whole: a reader may know more.
Result<std::optional<PackedFiles::Found>> PackedFiles::try_lot(const Place& place,
                                                               std::string_view path) {
  std::shared_ptr<const Lot> lot = lot_at({place.shard, {place.at.offset, 0}});
  if (lot == nullptr || place.at.skip >= lot->bytes.size()) return std::optional<Found>();
  const std::string_view bytes = std::string_view(lot->bytes).substr(place.at.skip);
  TarMember member;
  if (parse_tar_header(bytes, member) != TarParse::member || member.path != path ||
      bytes.size() - member.header_bytes < member.size) {
    return std::optional<Found>();
  }
  Found found;
  found.body = bytes.substr(member.header_bytes, member.size);
  found.lot = std::move(lot);
  found.mtime = member.mtime;
  return std::optional(std::move(found));
}

Result<std::optional<PackedFiles::Found>> PackedFiles::try_place(const Place& place,
                                                                 std::string_view path) {
  const CountedShard& shard = shards_[place.shard].counted;
  if (place.at.offset >= shard.end) return std::optional<Found>();
  if (table_ != nullptr && shard.name.compressed) {
    Result<std::optional<Found>> found = try_lot(place, path);
    if (!found || *found) return found;
  }
  Result<ShardReader> reader =
      ShardReader::open(output_fd_, shard.name, place.at.offset, shard.end);
  if (!reader) return std::move(reader).failure();
  // What is no member there is an index that is wrong: it is not to be relied on.
  if (!reader->skip(place.at.skip)) return std::optional<Found>();
  Result<std::optional<TarMember>> member = reader->next();
  if (!member || !*member || (*member)->path != path) return std::optional<Found>();
  return std::optional(Found{nullptr, {}, std::move(*reader), (*member)->mtime});
}

void PackedFiles::look_up() {
  if (on_look_ && ++looks_ % kLooksPerCall == 0) on_look_();
}

Result<std::optional<PackedFiles::Found>> PackedFiles::look_through(size_t shard, uint64_t begin,
                                                                    uint64_t end,
                                                                    std::string_view path) {
  Result<ShardReader> reader =
      ShardReader::open(output_fd_, shards_[shard].counted.name, begin, end);
  if (!reader) return std::move(reader).failure();
  for (;;) {
    look_up();
    Result<std::optional<TarMember>> member = reader->next();
    if (!member) return std::move(member).failure();
    if (!*member) return std::optional<Found>();
    if ((*member)->path != path) continue;
    return std::optional(Found{nullptr, {}, std::move(*reader), (*member)->mtime});
  }
}

class PackedFiles::Reader final : public BodyReader {
 public:
  Reader(ShardReader shard, Readers& with_memory)
      : shard_(std::move(shard)), with_memory_(with_memory) {}
  ~Reader() override { std::erase(with_memory_, this); }

  StoreStatus read(std::string_view& piece) override {
    take_memory();
    Result<std::string_view> next = shard_.body();
    if (!next) return unreadable(next.failure());
    piece = *next;
    return {};
  }

  void give_back(size_t bytes) override { shard_.give_back(bytes); }

  // Of one file: the others can be read all the same.
  static StoreStatus unreadable(const Error& why) {
    return StoreStatus::file(FailureClass::different, why.text);
  }

  // Before any use of the shard: that of the reader used longest ago is let go of.
  void take_memory() {
    if (!with_memory_.empty() && with_memory_.back() == this) return;
    std::erase(with_memory_, this);
    if (with_memory_.size() >= kReadersWithMemory) {
      with_memory_.front()->shard_.release();
      with_memory_.erase(with_memory_.begin());
    }
    with_memory_.push_back(this);
  }

 private:
  ShardReader shard_;
  Readers& with_memory_;
};

class PackedFiles::LotReader final : public BodyReader {
 public:
  LotReader(std::shared_ptr<const Lot> lot, std::string_view body)
      : lot_(std::move(lot)), left_(body) {}

  StoreStatus read(std::string_view& piece) override {
    piece = last_ = std::exchange(left_, {});
    return {};
  }
  void give_back(size_t bytes) override {
    if (bytes > 0) left_ = last_.substr(last_.size() - bytes);
  }

 private:
  std::shared_ptr<const Lot> lot_;
  std::string_view left_;
  std::string_view last_;
};

std::optional<FailureClass> PackedFiles::refuses(std::string_view name) {
  return path_of_name(layout_, name, path_, PathLimits::none);
}

std::string_view PackedFiles::refusal_text(FailureClass refusal) const {
  return store::refusal_text(layout_, refusal);
}

StoreStatus PackedFiles::open(std::string_view name, std::unique_ptr<BodyReader>& reader) {
  if (const auto refused = refuses(name)) {
    return StoreStatus::file(*refused, std::string(refusal_text(*refused)));
  }
  Result<std::optional<Found>> found = find(name);
  if (!found) return Reader::unreadable(found.failure());
  if (!*found) {
    return StoreStatus::file(FailureClass::missing,
                             fmt::format("'{}' is in no shard", printable(name)));
  }
  if ((*found)->lot != nullptr) {
    reader = std::make_unique<LotReader>(std::move((*found)->lot), (*found)->body);
    return {};
  }
  auto made = std::make_unique<Reader>(std::move(*(*found)->reader), *with_memory_);
  made->take_memory();
  reader = std::move(made);
  return {};
}

StoreStatus PackedFiles::hash(std::string_view name, uint64_t& bytes, Hash128& content,
                              const std::function<void()>& on_read) {
  std::unique_ptr<BodyReader> reader;
  if (StoreStatus status = open(name, reader); !status.ok()) return status;
  ContentHasher hasher(name);
  std::string_view piece;
  bytes = 0;
  do {
    if (StoreStatus status = reader->read(piece); !status.ok()) return status;
    hasher.update(piece);
    bytes += piece.size();
    if (on_read) on_read();
  } while (!piece.empty());
  content = hasher.value();
  return {};
}

Result<std::optional<PackedFiles::Found>> PackedFiles::find(std::string_view name) {
  std::string path;
  if (path_of_name(layout_, name, path, PathLimits::none)) return std::optional<Found>();
  if (table_ != nullptr) return find_in_table(name, path);
  const uint32_t hash = index_hash(name);
  std::optional<Found> last;
  std::pair<size_t, uint64_t> last_stored;
  for (size_t i = 0; i < shards_.size(); ++i) {
    for (const IndexRun& run : shards_[i].runs) {
      for (const MemberPlace& at : run.find(hash)) {
        Result<std::optional<Found>> found = try_place({i, at}, path);
        if (!found) return std::move(found).failure();
        if (!*found) continue;
        const std::pair stored(shards_[i].counted.epoch, (*found)->mtime);
        if (last && stored < last_stored) continue;
        last.emplace(std::move(**found));
        last_stored = stored;
      }
    }
  }
  if (last) return last;
  // Where one shard is damaged, another may still have it.
  Result<std::optional<Found>> none = std::optional<Found>();
  for (size_t i = 0; i < shards_.size(); ++i) {
    for (Gap& gap : gaps_of(shards_[i])) {
      Result<std::optional<Found>> found = look_in(i, gap, name, path);
      if (found && *found) return found;
      if (!found && none) none = std::move(found).failure();
    }
  }
  return none;
}

Result<std::optional<PackedFiles::Found>> PackedFiles::find_in_table(std::string_view name,
                                                                     std::string_view path) {
  Result<std::vector<MemberSpot>> spots = table_->find(hash_of_name(name));
  if (!spots) return std::move(spots).failure();
  std::optional<Found> last;
  std::pair<size_t, uint64_t> last_stored;
  for (const MemberSpot& spot : *spots) {
    look_up();
    Result<std::optional<Found>> found = try_place({spot.shard, spot.place}, path);
    if (!found) return found;
    if (!*found) continue;
    const std::pair stored(shards_[spot.shard].counted.epoch, (*found)->mtime);
    if (last && stored < last_stored) continue;
    last = std::move(*found);
    last_stored = stored;
  }
  if (!last && table_->lost()) return *table_->lost();
  return last;
}

Result<std::optional<PackedFiles::Found>> PackedFiles::look_in(size_t shard, Gap& gap,
                                                               std::string_view name,
                                                               std::string_view path) {
  if (gap.state == Gap::State::unread) read_gap(shard, gap);
  if (gap.state == Gap::State::too_many) return look_through(shard, gap.begin, gap.end, path);
  const uint32_t hash = index_hash(name);
  auto member =
      std::lower_bound(gap.members.begin(), gap.members.end(), hash,
                       [](const auto& each, uint32_t wanted) { return each.first < wanted; });
  for (; member != gap.members.end() && member->first == hash; ++member) {
    Result<std::optional<Found>> found = try_place({shard, member->second}, path);
    if (!found) return std::move(found).failure();
    if (*found) return found;
  }
  if (!gap.damage) return gap.damage.failure();
  return std::optional<Found>();
}

void PackedFiles::read_gap(size_t shard, Gap& gap) {
  const auto tell = [&](ShardReader& reader, const TarMember& member) {
    const std::optional<std::string> name = name_of_path(layout_, member.path, PathLimits::none);
    if (name) gap.members.emplace_back(index_hash(*name), reader.place());
  };
  gap.state = Gap::State::read;
  Result<ShardReader> reader =
      ShardReader::open(output_fd_, shards_[shard].counted.name, gap.begin, gap.end);
  if (!reader) {
    gap.damage = std::move(reader).failure();
    return;
  }
  for (;;) {
    look_up();
    Result<std::optional<TarMember>> member = reader->next();
    if (!member) gap.damage = std::move(member).failure();
    if (!member || !*member) break;
    tell(*reader, **member);
    if (gap_members_ + gap.members.size() <= kMaxGapMembers) continue;
    gap.state = Gap::State::too_many;
    gap.members = {};
    return;
  }
  gap_members_ += gap.members.size();
  std::stable_sort(gap.members.begin(), gap.members.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
}

// What no good run covers.
std::vector<PackedFiles::Gap>& PackedFiles::gaps_of(Shard& shard) {
  if (shard.gaps) return *shard.gaps;
  std::vector<Gap>& gaps = shard.gaps.emplace();
  uint64_t next = 0;
  for (const IndexRun& run : shard.runs) {
    if (run.begin() < next || run.end() > shard.counted.end || !run.intact()) continue;
    if (next < run.begin()) gaps.push_back(Gap{next, run.begin()});
    next = run.end();
  }
  if (next < shard.counted.end) gaps.push_back(Gap{next, shard.counted.end});
  return gaps;
}

}  // namespace gigafetch::store
