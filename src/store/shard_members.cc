#include "store/shard_members.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/unique_fd.h"
#include "store/content_hash.h"
#include "store/regular_file.h"
#include "store/shard_reader.h"

namespace gigafetch::store {
namespace {

// An archive that ends further from the shard's end than this ends too early, perhaps.
constexpr uint64_t kNearEnd = kTarEndBytes;

// Where a member begins, by the index, and the hash of its name where that is known.
struct Signpost {
  MemberPlace place;
  std::optional<uint32_t> hash;
};

// The index of a shard, run by run as it is needed.
class Signposts {
 public:
  Signposts(int output_fd, const CountedShard& shard)
      : fd_(open_regular(output_fd, index_file_of(shard.name.id).c_str(), O_RDONLY)),
        shard_end_(shard.end) {}

  // The first member that stands behind `place`; nullopt when none is known. Where a run ends,
  // there may be one that no run has.
  std::optional<Signpost> behind(const MemberPlace& place) {
    for (;;) {
      const auto found = std::upper_bound(
          members_.begin(), members_.end(), place,
          [](const MemberPlace& wanted, const IndexedMember& each) { return wanted < each.place; });
      if (found != members_.end()) return Signpost{found->place, found->hash};
      if (place < run_end_) return Signpost{run_end_, std::nullopt};
      if (!load_next_run()) return std::nullopt;
    }
  }

  // Whether a run that was needed so far covers this byte of the shard.
  bool cover(uint64_t offset) const {
    return std::any_of(covered_.begin(), covered_.end(), [offset](const Range& range) {
      return range.begin <= offset && offset < range.end;
    });
  }

 private:
  struct Range {
    uint64_t begin = 0;
    uint64_t end = 0;
  };

  bool load_next_run() {
    members_.clear();
    run_end_ = {};
    while (fd_) {
      buffer_.resize(IndexRun::kMaxBytes);
      const ssize_t got =
          ::pread(fd_.get(), buffer_.data(), buffer_.size(), static_cast<off_t>(next_run_));
      if (got < 0 && errno == EINTR) continue;
      const std::string_view bytes(buffer_.data(), static_cast<size_t>(std::max<ssize_t>(got, 0)));
      std::string_view rest = bytes;
      const std::optional<IndexRun> run = IndexRun::take(rest);
      if (!run) break;
      next_run_ += bytes.size() - rest.size();
      const uint64_t next = covered_.empty() ? 0 : covered_.back().end;
      if (run->begin() < next || run->end() > shard_end_ || !run->intact()) continue;
      if (!covered_.empty() && next == run->begin()) {
        covered_.back().end = run->end();
      } else {
        covered_.push_back({run->begin(), run->end()});
      }
      members_ = run->members();
      run_end_ = run->end() < shard_end_ ? MemberPlace{run->end(), 0} : MemberPlace();
      return true;
    }
    fd_.reset();
    buffer_ = {};
    return false;
  }

  UniqueFd fd_;
  uint64_t shard_end_;
  uint64_t next_run_ = 0;  // offset in the index
  std::string buffer_;
  std::vector<IndexedMember> members_;  // of the run loaded last
  MemberPlace run_end_;                 // its own; none where the shard ends
  std::vector<Range> covered_;
};

class Walk {
 public:
  Walk(int output_fd, const CountedShard& shard, Layout layout, Bodies bodies,
       const MemberHooks& hooks)
      : output_fd_(output_fd), shard_(shard), layout_(layout), bodies_(bodies), hooks_(hooks) {}

  Result<void> run() {
    Result<void> told = read_from({}, std::nullopt);
    while (told && !over_) {
      const std::optional<Signpost> next = next_signpost();
      tell_damage();
      if (!next) return {};
      last_ = next->place;
      told = read_from(next->place, next->hash);
    }
    tell_damage();
    return told;
  }

 private:
  // Behind damage to a frame nothing else of it can be read.
  std::optional<Signpost> next_signpost() {
    if (!signposts_) signposts_.emplace(output_fd_, shard_);
    return signposts_->behind({last_.offset, shard_.name.compressed ? UINT64_MAX : last_.skip});
  }

  // Reads on from there until the shard's end or the next damage, which is then `damage_`. With
  // `hash`, only where the first member has a name of that hash.
  Result<void> read_from(const MemberPlace& from, std::optional<uint32_t> hash) {
    Result<ShardReader> reader =
        ShardReader::open(output_fd_, shard_.name, from.offset, shard_.end);
    if (!reader) return over_ = true, damaged(reader.failure(), from.offset);
    if (Result<void> skipped = reader->skip(from.skip); !skipped) {
      return damaged(skipped.failure(), reader->consumed());
    }
    for (;;) {
      Result<std::optional<TarMember>> header = reader->next();
      if (!header) return damaged(header.failure(), reader->consumed());
      if (!*header) return ended(reader->consumed());
      member_.path = std::move((*header)->path);
      member_.name = name_of_path(layout_, member_.path, PathLimits::none);
      if (hash && (!member_.name || index_hash(*member_.name) != *hash)) return led_astray(from);
      hash.reset();
      told_ = false;
      last_ = member_.place = reader->place();
      member_.size = (*header)->size;
      member_.mtime = (*header)->mtime;
      Result<void> read =
          bodies_ == Bodies::read && member_.name ? hash_body(*reader) : Result<void>();
      member_.damage = read ? std::string() : read.failure().text;
      if (Result<void> taken = hooks_.on_member(member_); !taken) return over_ = true, taken;
      if (!read) return damaged(read.failure(), reader->consumed());
    }
  }

  // The index is of another shard: nothing of it is to be believed.
  Result<void> led_astray(const MemberPlace& at) {
    over_ = astray_ = true;
    return damaged(error(ErrorCode::malformed,
                         "the index of the shard '{}' is that of another one: what stands behind "
                         "byte {} cannot be told",
                         file_of(shard_.name), at.offset),
                   at.offset);
  }

  Result<void> hash_body(ShardReader& reader) {
    Result<std::string_view> piece = reader.body();
    if (!piece) return std::move(piece).failure();
    if (piece->size() == member_.size) {
      member_.content = content_hash(*member_.name, *piece);
      return {};
    }
    ContentHasher hasher(*member_.name);
    while (!piece->empty()) {
      hasher.update(*piece);
      piece = reader.body();
      if (!piece) return std::move(piece).failure();
    }
    member_.content = hasher.value();
    return {};
  }

  Result<void> damaged(const Error& why, uint64_t at) {
    if (!damage_) damage_ = Damage{why, at};
    return {};
  }

  // Zeros may stand over members; the index knows.
  Result<void> ended(uint64_t at) {
    over_ = shard_.end - std::min(at, shard_.end) <= kNearEnd || !next_signpost();
    if (over_) return {};
    return damaged(error(ErrorCode::malformed,
                         "the shard '{}' is damaged before byte {}: an end stands before members",
                         file_of(shard_.name), at),
                   at);
  }

  // Once for all that is lost up to the next member; twice where an index covers the first of it
  // only.
  void tell_damage() {
    if (damage_) {
      const bool covered = !astray_ && signposts_ && signposts_->cover(damage_->at);
      if (!told_ || (told_covered_ && !covered)) {
        hooks_.on_damage(damage_->why, covered);
        told_covered_ = covered;
      }
      told_ = true;
    }
    damage_.reset();
  }

  const int output_fd_;
  const CountedShard& shard_;
  const Layout layout_;
  const Bodies bodies_;
  const MemberHooks& hooks_;
  struct Damage {
    Error why;
    uint64_t at = 0;  // in the file
  };
  std::optional<Damage> damage_;  // met, and not told yet
  bool told_ = false;             // of damage, since the last member
  bool told_covered_ = false;     // of none but such that the index covers
  bool over_ = false;
  bool astray_ = false;  // the index has proved wrong
  MemberPlace last_;     // of the last member, or where one should have been
  std::optional<Signposts> signposts_;
  ShardMember member_;
};

}  // namespace

Result<void> for_members(int output_fd, const CountedShard& shard, Layout layout, Bodies bodies,
                         const MemberHooks& hooks) {
  return Walk(output_fd, shard, layout, bodies, hooks).run();
}

}  // namespace gigafetch::store
