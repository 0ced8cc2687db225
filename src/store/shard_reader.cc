#include "store/shard_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include "store/regular_file.h"

namespace gigafetch::store {
namespace {

constexpr size_t kFirstRead = 16 * 1024;
constexpr size_t kMostRead = 256 * 1024;
constexpr size_t kBufferBytes = 1024 * 1024;

}  // namespace

ShardReader::ShardReader(ShardName name, UniqueFd fd, uint64_t begin, uint64_t end)
    : name_(name),
      fd_(std::move(fd)),
      first_(begin),
      at_(begin),
      last_(end),
      read_bytes_(kFirstRead) {}

void ShardReader::acquire() {
  buffer_ = std::make_unique_for_overwrite<char[]>(kBufferBytes);
  if (name_.compressed) acquire_decompressor();
}

void ShardReader::acquire_decompressor() {
  decompressor_.reset(ZSTD_createDCtx());
  packed_ = std::make_unique_for_overwrite<char[]>(kMostRead);
}

void ShardReader::release() {
  if (!buffer_) return;
  // A frame can only be read from its beginning.
  drop_frames();
  if (!name_.compressed) {
    produced_ = position();
    at_ = first_ + produced_;
  } else if (!frames_.empty()) {
    again_ += position() - frames_.front().position;
    produced_ = frames_.front().position;
    at_ = frames_.front().offset;
    frames_.clear();
  }
  in_frame_ = false;
  begin_ = end_ = packed_begin_ = packed_end_ = 0;
  read_bytes_ = kFirstRead;
  buffer_.reset();
  packed_.reset();
  decompressor_.reset();
}

Result<ShardReader> ShardReader::open(int output_fd, const ShardName& name, uint64_t begin,
                                      uint64_t end) {
  const std::string file = file_of(name);
  UniqueFd fd = open_regular(output_fd, file.c_str(), O_RDONLY);
  if (!fd) return not_opened(errno, fmt::format("cannot open the shard '{}'", file));
  return ShardReader(name, std::move(fd), begin, end);
}

Error ShardReader::broken(std::string_view how) const {
  return error(ErrorCode::malformed, "the shard '{}' is damaged before byte {}: {}", file_of(name_),
               at_ - (packed_end_ - packed_begin_), how);
}

Result<size_t> ShardReader::read(char* to, size_t room) {
  room = static_cast<size_t>(std::min<uint64_t>(room, last_ - std::min(at_, last_)));
  room = std::min(room, read_bytes_);
  read_bytes_ = std::min(2 * read_bytes_, kMostRead);
  ssize_t got;
  do {
    got = ::pread(fd_.get(), to, room, static_cast<off_t>(at_));
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    return errno_error(errno, fmt::format("cannot read the shard '{}'", file_of(name_)));
  }
  at_ += static_cast<uint64_t>(got);
  return static_cast<size_t>(got);
}

Result<bool> ShardReader::fill_packed() {
  if (packed_begin_ < packed_end_) return true;
  Result<size_t> got = read(packed_.get(), kMostRead);
  if (!got) return std::move(got).failure();
  packed_begin_ = 0;
  packed_end_ = *got;
  if (*got == 0 && in_frame_) return broken("it ends inside a frame");
  return *got > 0;
}

Result<size_t> ShardReader::decompress(char* to, size_t room) {
  ZSTD_outBuffer out{to, room, 0};
  while (out.pos == 0) {
    Result<bool> more = fill_packed();
    if (!more) return std::move(more).failure();
    if (!*more) return size_t{0};
    if (!in_frame_) {
      frames_.push_back({at_ - (packed_end_ - packed_begin_), produced_ + out.pos});
    }
    ZSTD_inBuffer in{packed_.get(), packed_end_, packed_begin_};
    const size_t left = ZSTD_decompressStream(decompressor_.get(), &out, &in);
    packed_begin_ = in.pos;
    if (ZSTD_isError(left)) return broken(ZSTD_getErrorName(left));
    in_frame_ = left > 0;
  }
  return out.pos;
}

Result<bool> ShardReader::fill() {
  if (!buffer_) acquire();
  if (begin_ > 0) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  drop_frames();
  char* const to = buffer_.get() + end_;
  const size_t room = kBufferBytes - end_;
  Result<size_t> got = name_.compressed ? decompress(to, room) : read(to, room);
  if (!got) return std::move(got).failure();
  end_ += *got;
  produced_ += *got;
  const auto known = static_cast<size_t>(std::min<uint64_t>(again_, end_ - begin_));
  begin_ += known;
  again_ -= known;
  return *got > 0;
}

Result<bool> ShardReader::read_frame(std::string& out, size_t most) {
  acquire_decompressor();
  Result<bool> more = fill_packed();
  if (!more) return more;
  const uint64_t size = ZSTD_getFrameContentSize(packed_.get(), packed_end_);
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR || size > most) {
    return false;
  }
  out.resize(static_cast<size_t>(size));
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  do {
    more = fill_packed();
    if (!more) return more;
    if (!*more) return false;
    ZSTD_inBuffer in{packed_.get(), packed_end_, packed_begin_};
    const size_t left = ZSTD_decompressStream(decompressor_.get(), &to, &in);
    packed_begin_ = in.pos;
    if (ZSTD_isError(left)) return broken(ZSTD_getErrorName(left));
    in_frame_ = left > 0;
  } while (in_frame_);
  return to.pos == size;
}

Result<void> ShardReader::skip(uint64_t bytes) {
  while (bytes > 0) {
    if (begin_ == end_) {
      Result<bool> more = fill();
      if (!more) return std::move(more).failure();
      if (!*more) return broken("it ends too early");
    }
    const auto step = static_cast<size_t>(std::min<uint64_t>(bytes, end_ - begin_));
    begin_ += step;
    bytes -= step;
  }
  return {};
}

// Frames before the one that the archive's next byte is of are of no use any more.
void ShardReader::drop_frames() {
  while (frames_.size() > 1 && frames_[1].position <= position())
    frames_.pop_front();
}

void ShardReader::note_place() {
  if (!name_.compressed) {
    place_ = {first_ + position(), 0};
    return;
  }
  drop_frames();
  place_ = {frames_.front().offset, position() - frames_.front().position};
}

uint64_t ShardReader::consumed() const {
  if (!name_.compressed) return first_ + position();
  return in_frame_ ? frames_.back().offset : at_ - (packed_end_ - packed_begin_);
}

Result<std::optional<TarMember>> ShardReader::next() {
  for (const uint64_t left : {body_left_, uint64_t{padding_}})
    if (Result<void> skipped = skip(left); !skipped) return std::move(skipped).failure();
  body_left_ = padding_ = 0;
  TarMember member;
  for (;;) {
    switch (parse_tar_header(view(), member)) {
      case TarParse::member:
        note_place();
        begin_ += member.header_bytes;
        body_left_ = member.size;
        padding_ = tar_padding(member.size);
        return std::optional(std::move(member));
      case TarParse::end:
        return std::optional<TarMember>();
      case TarParse::broken:
        return broken("what should be a member is none");
      case TarParse::need_more:
        Result<bool> more = fill();
        if (!more) return std::move(more).failure();
        if (*more) break;
        if (begin_ == end_) return std::optional<TarMember>();
        return broken("it ends inside a member");
    }
  }
}

Result<std::string_view> ShardReader::body() {
  if (body_left_ == 0) return std::string_view();
  // A small body comes in one piece.
  while (end_ - begin_ < std::min<uint64_t>(body_left_, kBufferBytes / 2)) {
    Result<bool> more = fill();
    if (!more) return std::move(more).failure();
    if (!*more) return broken("it ends inside a member");
  }
  const std::string_view piece =
      view().substr(0, static_cast<size_t>(std::min<uint64_t>(body_left_, end_ - begin_)));
  begin_ += piece.size();
  body_left_ -= piece.size();
  return piece;
}

void ShardReader::give_back(size_t bytes) {
  begin_ -= bytes;
  body_left_ += bytes;
}

}  // namespace gigafetch::store
