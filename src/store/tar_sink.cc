#include "store/tar_sink.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <functional>
#include <utility>

#include "base/escape.h"
#include "store/shard_reader.h"

namespace gigafetch::store {
namespace {

// A lot with so much in it is committed before its batch is done; and so is any, while all of them
// hold so much together. One of many small files sooner: its bytes are then still in the
// processor's cache when they are appended, and what is told of them is shared by enough files. Not
// where each commit is a sync, or a frame that compresses the better the longer it is.
constexpr size_t kLotBytes = 2 * 1024 * 1024;
constexpr size_t kSmallLotBytes = 256 * 1024;
constexpr size_t kSmallLotFiles = 250;
constexpr size_t kWorthCommitting = 64 * 1024;
constexpr size_t kAllLotsBytes = 8 * 1024 * 1024;
// Shards that wait for a commit to be proven, at most.
constexpr size_t kMostAside = 16;
// Files in pieces are gathered while all of them that are not whole have come to less than this.
constexpr size_t kAllComing = 4 * 1024 * 1024;
// Pieces of a streamed file become a frame when they have come to so much.
constexpr size_t kStreamFrame = 64 * 1024;
constexpr size_t kSpareBuffers = 4;

std::string end_of_archive() {
  return std::string(kTarEndBytes, '\0');
}

}  // namespace

// A file that arrives in pieces: gathered as long as there is room, streamed from then on.
class TarSink::Writer final : public BodyWriter {
 public:
  Writer(TarSink& sink, Lot& lot, std::string_view name, std::optional<uint64_t> announced)
      : sink_(sink), lot_(lot), name_(name), path_(sink.path_), announced_(announced.value_or(0)) {}

  ~Writer() override {
    sink_.coming_ -= gathered_.size();
    if (stream_ == nullptr || closed_) return;
    stream_->pending.clear();
    // A shard that cannot be cut takes no further file.
    stream_->busy = !stream_->file->cut(begin_).ok();
  }

  StoreStatus append(std::string_view piece) override {
    size_ += piece.size();
    if (stream_ == nullptr && has_room(piece.size())) {
      gathered_ += piece;
      sink_.coming_ += piece.size();
      return {};
    }
    if (stream_ == nullptr) {
      if (StoreStatus status = start_stream(); !status.ok()) return status;
    }
    return stream(piece);
  }

  StoreStatus close() override {
    if (stream_ == nullptr) return sink_.put(lot_, name_, gathered_);
    append_tar_padding(stream_->pending, size_);
    if (StoreStatus status = write_pending(); !status.ok()) return status;
    if (size_ != announced_) {
      const std::string header = header_of(size_);
      if (StoreStatus status = stream_->file->overwrite(begin_, header); !status.ok()) {
        return status;
      }
    }
    closed_ = true;
    lot_.streamed = stream_->file->end(false);
    return {};
  }

 private:
  bool has_room(size_t more) const {
    return std::max(announced_, size_) <= sink_.options_.gather_bytes &&
           sink_.coming_ + more <= kAllComing;
  }

  StoreStatus start_stream() {
    if (StoreStatus status = sink_.take_stream(stream_); !status.ok()) return status;
    sink_.update_time();
    begin_ = stream_->file->size();
    stream_->entry_hash = index_hash(name_);
    stream_->entry_begin = begin_;
    StoreStatus status = stream_->file->append(header_of(announced_));
    if (status.ok()) status = stream(gathered_);
    sink_.coming_ -= gathered_.size();
    gathered_ = {};
    return status;
  }

  std::string header_of(uint64_t size) const {
    std::string header;
    sink_.headers_.append_extended(header, path_, size);
    return sink_.compressor_ ? stored_frame(header) : header;
  }

  StoreStatus stream(std::string_view piece) {
    if (!sink_.compressor_) return stream_->file->append(piece);
    stream_->pending += piece;
    return stream_->pending.size() < kStreamFrame ? StoreStatus() : write_pending();
  }

  StoreStatus write_pending() {
    if (stream_->pending.empty()) return {};
    const StoreStatus status = stream_->file->append(sink_.packed(stream_->pending));
    stream_->pending.clear();
    return status;
  }

  TarSink& sink_;
  Lot& lot_;
  std::string name_, path_;
  uint64_t announced_;  // size that the header has; 0: not known
  uint64_t size_ = 0;
  std::string gathered_;
  Shard* stream_ = nullptr;
  uint64_t begin_ = 0;  // of the member, in the shard
  bool closed_ = false;
};

TarSink::TarSink(int output_fd, const Options& options)
    : output_fd_(output_fd), options_(options), headers_(0) {
  if (options.zstd_level > 0) compressor_.emplace(options.zstd_level);
  update_time();
}

TarSink::~TarSink() = default;

void TarSink::update_time() {
  const std::time_t now = std::time(nullptr);
  if (now == time_) return;
  time_ = now;
  headers_ = TarHeaders(static_cast<uint64_t>(now));
}

// All that path_of_name refuses when there are no limits.
std::optional<FailureClass> TarSink::refuses(std::string_view name) {
  if (name.empty() || name.find('\0') != name.npos) return FailureClass::bad_name;
  return std::nullopt;
}

StoreStatus TarSink::map(std::string_view name) {
  const auto refused = path_of_name(options_.layout, name, path_, PathLimits::none);
  if (!refused) return {};
  return StoreStatus::file(*refused, std::string(refusal_text(*refused)));
}

std::string_view TarSink::refusal_text(FailureClass refusal) const {
  return store::refusal_text(options_.layout, refusal);
}

std::string_view TarSink::packed(std::string_view bytes) {
  return compressor_ ? compressor_->compress(bytes) : bytes;
}

// --- shards ---

StoreStatus TarSink::create(std::unique_ptr<ShardFile>& file) {
  const ShardId first{options_.worker, next_number_};
  StoreStatus status = ShardFile::create(output_fd_, first, compressor_.has_value(), file);
  if (status.ok()) next_number_ = file->id().number + 1;
  return status;
}

TarSink::Shard& TarSink::adopt(std::unique_ptr<ShardFile> file) {
  Shard& shard = shards_.emplace_back();
  shard.file = std::move(file);
  return shard;
}

// One that stepped aside and waits for nothing any more; null when there is none.
TarSink::Shard* TarSink::shard_aside() {
  const auto found = std::find_if(shards_.begin(), shards_.end(), [&](const Shard& shard) {
    return !shard.streams && !shard.full && !shard.broken && &shard != main_ &&
           shard.tail.empty() && !is_full(*shard.file);
  });
  return found == shards_.end() ? nullptr : &*found;
}

StoreStatus TarSink::want_main() {
  if (main_ == nullptr) main_ = shard_aside();
  if (main_ != nullptr) return {};
  std::unique_ptr<ShardFile> file;
  if (StoreStatus status = create(file); !status.ok()) return status;
  main_ = &adopt(std::move(file));
  return {};
}

StoreStatus TarSink::take_stream(Shard*& stream) {
  const auto found = std::find_if(shards_.begin(), shards_.end(), [](const Shard& shard) {
    return shard.streams && !shard.busy && !shard.full;
  });
  if (found != shards_.end()) {
    stream = &*found;
  } else {
    std::unique_ptr<ShardFile> file;
    if (StoreStatus status = create(file); !status.ok()) return status;
    stream = &adopt(std::move(file));
    stream->streams = true;
  }
  stream->busy = true;
  return {};
}

void TarSink::forget(Shard& shard) {
  std::erase(to_look_at_, &shard);
  if (main_ == &shard) main_ = nullptr;
  shards_.remove_if([&](const Shard& each) { return &each == &shard; });
}

void TarSink::step_aside(uint32_t calls) {
  const Receipt front = main_ == nullptr || main_->tail.empty() ? 0 : main_->tail.front().receipt;
  held_up_ = front != 0 && front == held_up_by_ ? held_up_ + 1 : 0;
  held_up_by_ = front;
  if (held_up_ < calls) return;
  const auto aside = std::count_if(shards_.begin(), shards_.end(), [](const Shard& shard) {
    return !shard.streams && !shard.full;
  });
  if (static_cast<size_t>(aside) <= kMostAside) main_ = nullptr;
}

// --- gathering ---

StoreStatus TarSink::put(Lot& lot, std::string_view name, std::string_view body) {
  if (StoreStatus status = map(name); !status.ok()) return status;
  // Now, when the file can still be put off for want of a descriptor.
  if (main_ == nullptr) {
    if (StoreStatus status = want_main(); !status.ok()) return status;
  }
  gather(lot, index_hash(name), path_, body);
  return {};
}

void TarSink::gather(Lot& lot, uint32_t hash, std::string_view path, std::string_view body) {
  if (lot.members.empty()) begin(lot);
  const size_t before = lot.members.size();
  lot.entries.push_back({hash, static_cast<uint32_t>(before / kTarBlock)});
  headers_.append(lot.members, path, body.size());
  lot.members += body;
  append_tar_padding(lot.members, body.size());
  gathered_ += lot.members.size() - before;
}

// In a buffer that was used before, and most lately: its memory is the process's already, and near.
void TarSink::begin(Lot& lot) {
  update_time();
  lot.entries.reserve(kSmallLotFiles);
  if (spare_.empty()) return;
  lot.members = std::move(spare_.back());
  spare_.pop_back();
}

StoreStatus TarSink::open(Lot& lot, std::string_view name, std::optional<uint64_t> size,
                          std::unique_ptr<BodyWriter>& writer) {
  if (StoreStatus status = map(name); !status.ok()) return status;
  writer = std::make_unique<Writer>(*this, lot, name, size);
  return {};
}

// --- committing ---

bool TarSink::wants_commit(const Lot& lot) const {
  const bool many = !compressor_ && !options_.sync_files && lot.members.size() >= kSmallLotBytes &&
                    lot.entries.size() >= kSmallLotFiles;
  return many || lot.members.size() >= kLotBytes ||
         (gathered_ >= kAllLotsBytes && lot.members.size() >= kWorthCommitting);
}

StoreStatus TarSink::commit(Lot& lot, Receipt& receipt) {
  receipt = 0;
  if (lot.members.empty()) return {};
  Commit& commit = new_commit(lot, receipt);
  return sealed(commit, append_to_main(lot, receipt, commit));
}

StoreStatus TarSink::commit_streamed(Lot& lot, Receipt& receipt) {
  receipt = 0;
  if (!lot.streamed) return {};
  Commit& commit = new_commit(lot, receipt);
  const auto found = std::find_if(shards_.begin(), shards_.end(), [&](const Shard& shard) {
    return shard.file->id().number == lot.streamed->number;
  });
  lot.streamed.reset();
  ShardTail::Piece piece;
  piece.receipt = receipt;
  piece.begin = found->entry_begin;
  piece.end = found->file->size();
  piece.entries = {{found->entry_hash, 0}};
  piece.blocks = (piece.end - piece.begin) / kTarBlock;
  found->tail.add(std::move(piece));
  found->full = is_full(*found->file);
  commit.shard = &*found;
  return sealed(commit, {});
}

TarSink::Commit& TarSink::new_commit(Lot& lot, Receipt& receipt) {
  receipt = next_receipt_++;
  Commit& commit = commits_[receipt];
  commit.lot = &lot;
  return commit;
}

// A shard that the commit has filled gets its end of archive.
StoreStatus TarSink::sealed(Commit& commit, StoreStatus status) {
  if (status.ok() && commit.shard->full) {
    status = commit.shard->file->append(packed(end_of_archive()));
  }
  if (!status.ok() && commit.shard != nullptr) {
    // What this lot has appended is told nobody: nothing must come behind it.
    commit.shard->broken = true;
    if (main_ == commit.shard) main_ = nullptr;
  }
  return status;
}

StoreStatus TarSink::append_to_main(Lot& lot, Receipt receipt, Commit& commit) {
  if (lot.members.empty()) return {};
  if (StoreStatus status = want_main(); !status.ok()) return status;
  Shard& shard = *main_;
  ShardTail::Piece piece;
  piece.receipt = receipt;
  piece.begin = shard.file->size();
  if (StoreStatus status = shard.file->append(packed(lot.members)); !status.ok()) {
    shard.broken = true;  // its end is in doubt
    main_ = nullptr;
    return status;
  }
  piece.end = shard.file->size();
  piece.entries = std::exchange(lot.entries, {});
  piece.blocks = lot.members.size() / kTarBlock;
  gathered_ -= lot.members.size();
  lot.members.clear();
  if (spare_.size() < kSpareBuffers) spare_.push_back(std::exchange(lot.members, {}));
  shard.tail.add(std::move(piece));
  commit.shard = &shard;
  if (!is_full(*shard.file)) return {};
  // While other lots wait for a shard there is one: a commit cannot be put off for want of a
  // descriptor, as a file can. The full one goes on until it can be replaced.
  std::unique_ptr<ShardFile> next;
  if (gathered_ > 0 && create(next).kind() == StoreStatus::Kind::busy) return {};
  shard.full = true;
  main_ = next == nullptr ? nullptr : &adopt(std::move(next));
  return {};
}

// --- telling ---

void TarSink::prove(Receipt receipt) {
  Commit& commit = commits_.at(receipt);
  commit.proven = true;
  to_look_at_.push_back(commit.shard);
}

bool TarSink::take_tellable(Tellable& tellable, StoreStatus& status) {
  while (!to_look_at_.empty()) {
    Shard& shard = *to_look_at_.front();
    const Receipt front = shard.tail.empty() ? 0 : shard.tail.front().receipt;
    const auto commit = commits_.find(front);
    if (commit == commits_.end() || !commit->second.proven) {
      to_look_at_.pop_front();
      continue;
    }
    commits_.erase(commit);
    tellable.receipt = front;
    status = tell(shard, tellable.end);
    return true;
  }
  return false;
}

StoreStatus TarSink::tell(Shard& shard, ShardEnd& end) {
  ShardFile& file = *shard.file;
  const ShardTail::Piece piece = shard.tail.take_front();
  file.index().add(piece.entries, piece.blocks, piece.begin, piece.end);
  if (options_.sync_files) {
    if (StoreStatus status = file.sync(); !status.ok()) return status;
  }
  const bool finished = shard.full && shard.tail.empty();
  end = file.end(finished);
  if (!finished) end.end = piece.end;
  shard.busy = false;
  if (finished) {
    file.index().flush();
    forget(shard);
  }
  return {};
}

// --- taking back ---

StoreStatus TarSink::take_back(std::span<const TakenBack> files) {
  std::unordered_map<Lot*, Paths> by_lot;
  std::vector<std::pair<Receipt, Lot*>> undone;
  for (const TakenBack& file : files) {
    if (StoreStatus status = map(file.name); !status.ok()) return status;
    by_lot[file.lot].insert(path_);
    if (file.receipt != 0) undone.emplace_back(file.receipt, file.lot);
  }
  for (const auto& [lot, paths] : by_lot)
    drop_gathered(*lot, paths);
  // From the last on, so that what moves up within a shard is as little as can be.
  std::sort(undone.begin(), undone.end(), std::greater<>());
  undone.erase(std::unique(undone.begin(), undone.end()), undone.end());
  for (const auto& [receipt, lot] : undone) {
    if (StoreStatus status = undo(receipt, by_lot.at(lot)); !status.ok()) return status;
  }
  return {};
}

// Closes the gaps that the members leave.
void TarSink::drop_gathered(Lot& lot, const Paths& paths) {
  const std::string_view members = lot.members;
  size_t from = 0, to = 0, kept = 0;
  for (size_t i = 0; i < lot.entries.size(); ++i) {
    TarMember member;
    const TarParse parsed = parse_tar_header(members.substr(from), member);
    assert(parsed == TarParse::member);
    (void)parsed;
    const size_t size = member.header_bytes + member.size + tar_padding(member.size);
    if (!paths.contains(member.path)) {
      lot.entries[kept++] = {lot.entries[i].hash, static_cast<uint32_t>(to / kTarBlock)};
      std::memmove(lot.members.data() + to, lot.members.data() + from, size);
      to += size;
    }
    from += size;
  }
  gathered_ -= from - to;
  lot.members.resize(to);
  lot.entries.resize(kept);
}

// What is left of the commit is gathered again.
StoreStatus TarSink::undo(Receipt receipt, const Paths& paths) {
  const Commit commit = commits_.extract(receipt).mapped();
  Shard& shard = *commit.shard;
  if (!shard.streams) {
    if (StoreStatus status = gather_again(receipt, commit, paths); !status.ok()) return status;
  }
  if (StoreStatus status = shard.tail.remove(receipt, *shard.file); !status.ok()) return status;
  shard.busy = false;
  to_look_at_.push_back(&shard);
  return {};
}

StoreStatus TarSink::gather_again(Receipt receipt, const Commit& commit, const Paths& paths) {
  const Shard& shard = *commit.shard;
  const ShardTail::Piece& piece = *shard.tail.find(receipt);
  const ShardName name{shard.file->id(), compressor_.has_value()};
  const auto unreadable = [](const Error& why) {
    return StoreStatus::run(fmt::format("{}; see to the disk", why.text));
  };
  Result<ShardReader> reader = ShardReader::open(output_fd_, name, piece.begin, piece.end);
  if (!reader) return unreadable(reader.failure());
  std::string body;
  for (;;) {
    Result<std::optional<TarMember>> member = reader->next();
    if (!member) return unreadable(member.failure());
    if (!*member) break;
    const std::string path = (*member)->path;
    if (paths.contains(path)) continue;
    body.clear();
    for (;;) {
      Result<std::string_view> part = reader->body();
      if (!part) return unreadable(part.failure());
      if (part->empty()) break;
      body += *part;
    }
    const auto name_of_it = name_of_path(options_.layout, path, PathLimits::none);
    gather(*commit.lot, name_of_it ? index_hash(*name_of_it) : 0, path, body);
  }
  return {};
}

void TarSink::finish_run() {
  for (Shard& shard : shards_)
    shard.file->index().flush();
}

}  // namespace gigafetch::store
