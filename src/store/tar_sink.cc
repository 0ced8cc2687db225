#include "store/tar_sink.h"

#include <algorithm>
#include <utility>

#include "base/escape.h"

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
// The same for files that were streamed: each holds a shard until then.
constexpr size_t kLotStreams = 4;
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
    stream_->free = stream_->shard->cut(begin_).ok();
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
    stream_->pending.append(tar_padding(size_), '\0');
    if (StoreStatus status = write_pending(); !status.ok()) return status;
    if (size_ != announced_) {
      const std::string header = header_of(size_);
      if (StoreStatus status = stream_->shard->overwrite(begin_, header); !status.ok()) {
        return status;
      }
    }
    closed_ = true;
    lot_.streamed.push_back(stream_->shard->end(false));
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
    begin_ = stream_->shard->size();
    stream_->entry_hash = index_hash(name_);
    stream_->entry_begin = begin_;
    StoreStatus status = stream_->shard->append(header_of(announced_));
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
    if (!sink_.compressor_) return stream_->shard->append(piece);
    stream_->pending += piece;
    return stream_->pending.size() < kStreamFrame ? StoreStatus() : write_pending();
  }

  StoreStatus write_pending() {
    if (stream_->pending.empty()) return {};
    const StoreStatus status = stream_->shard->append(sink_.packed(stream_->pending));
    stream_->pending.clear();
    return status;
  }

  TarSink& sink_;
  Lot& lot_;
  std::string name_, path_;
  uint64_t announced_;  // size that the header has; 0: not known
  uint64_t size_ = 0;
  std::string gathered_;
  Stream* stream_ = nullptr;
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

StoreStatus TarSink::create(std::unique_ptr<ShardFile>& shard) {
  const ShardId first{options_.worker, next_number_};
  StoreStatus status = ShardFile::create(output_fd_, first, compressor_.has_value(), shard);
  if (status.ok()) next_number_ = shard->id().number + 1;
  return status;
}

StoreStatus TarSink::put(Lot& lot, std::string_view name, std::string_view body) {
  if (StoreStatus status = map(name); !status.ok()) return status;
  // Now, when the file can still be put off for want of a descriptor.
  if (main_ == nullptr) {
    if (StoreStatus status = create(main_); !status.ok()) return status;
  }
  if (lot.members.empty()) begin(lot);
  const size_t before = lot.members.size();
  lot.entries.push_back({index_hash(name), static_cast<uint32_t>(before / kTarBlock)});
  headers_.append(lot.members, path_, body.size());
  lot.members += body;
  lot.members.append(tar_padding(body.size()), '\0');
  gathered_ += lot.members.size() - before;
  return {};
}

// In a buffer that was used before, and most lately: its memory is the process's already, and near.
void TarSink::begin(Lot& lot) {
  update_time();
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

StoreStatus TarSink::take_stream(Stream*& stream) {
  auto found =
      std::find_if(streams_.begin(), streams_.end(), [](const Stream& each) { return each.free; });
  if (found == streams_.end()) {
    std::unique_ptr<ShardFile> shard;
    if (StoreStatus status = create(shard); !status.ok()) return status;
    // In the place of one that is finished, if there is one.
    found = std::find_if(streams_.begin(), streams_.end(),
                         [](const Stream& each) { return each.shard == nullptr; });
    if (found == streams_.end()) found = streams_.emplace(streams_.end());
    found->shard = std::move(shard);
  }
  found->free = false;
  stream = &*found;
  return {};
}

bool TarSink::wants_commit(const Lot& lot) const {
  const bool many = !compressor_ && !options_.sync_files && lot.members.size() >= kSmallLotBytes &&
                    lot.entries.size() >= kSmallLotFiles;
  const bool full = many || lot.members.size() >= kLotBytes ||
                    (gathered_ >= kAllLotsBytes && lot.members.size() >= kWorthCommitting);
  return full || lot.streamed.size() >= kLotStreams;
}

std::string_view TarSink::packed(std::string_view bytes) {
  return compressor_ ? compressor_->compress(bytes) : bytes;
}

StoreStatus TarSink::commit(Lot& lot) {
  StoreStatus status = append_to_main(lot);
  for (const ShardEnd& streamed : std::exchange(lot.streamed, {})) {
    if (status.ok()) status = commit_stream(lot, streamed);
  }
  if (!status.ok() && main_ != nullptr) {
    // What this lot has appended to it is told nobody: the next lot must not come behind that.
    main_->index().flush();
    main_.reset();
  }
  return status;
}

StoreStatus TarSink::append_to_main(Lot& lot) {
  if (lot.members.empty()) return {};
  if (main_ == nullptr) {
    if (StoreStatus status = create(main_); !status.ok()) return status;
  }
  const uint64_t begin = main_->size();
  if (StoreStatus status = main_->append(packed(lot.members)); !status.ok()) return status;
  main_->index().add(lot.entries, lot.members.size() / kTarBlock, begin, main_->size());
  gathered_ -= lot.members.size();
  lot.members.clear();
  lot.entries.clear();
  if (spare_.size() < kSpareBuffers) spare_.push_back(std::exchange(lot.members, {}));
  bool full = is_full(*main_);
  std::unique_ptr<ShardFile> next;
  // While other lots wait for a shard there is one: a commit cannot be put off for want of a
  // descriptor, as a file can. The full one goes on until it can be replaced.
  if (full && gathered_ > 0) full = create(next).kind() != StoreStatus::Kind::busy;
  StoreStatus status = seal(*main_, lot, full);
  if (full) main_ = std::move(next);
  return status;
}

StoreStatus TarSink::commit_stream(Lot& lot, const ShardEnd& streamed) {
  const auto stream = std::find_if(streams_.begin(), streams_.end(), [&](const Stream& each) {
    return each.shard != nullptr && each.shard->id().number == streamed.number;
  });
  ShardFile& shard = *stream->shard;
  const IndexEntry entry{stream->entry_hash, 0};
  const uint64_t blocks = (shard.size() - stream->entry_begin) / kTarBlock;
  shard.index().add({&entry, 1}, blocks, stream->entry_begin, shard.size());
  const bool full = is_full(shard);
  StoreStatus status = seal(shard, lot, full);
  if (full) stream->shard.reset();
  stream->free = status.ok() && !full;
  return status;
}

StoreStatus TarSink::seal(ShardFile& shard, Lot& lot, bool full) {
  if (full) {
    if (StoreStatus status = shard.append(packed(end_of_archive())); !status.ok()) return status;
    shard.index().flush();
  }
  if (options_.sync_files) {
    if (StoreStatus status = shard.sync(); !status.ok()) return status;
  }
  lot.committed.push_back(shard.end(full));
  return {};
}

void TarSink::finish_run() {
  if (main_ != nullptr) main_->index().flush();
  for (Stream& stream : streams_) {
    if (stream.shard != nullptr) stream.shard->index().flush();
  }
}

}  // namespace gigafetch::store
