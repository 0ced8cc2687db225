#include "store/room.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <utility>

#include "base/escape.h"

namespace gigafetch::store {
namespace {

// The file system is looked at again when a file has grown by a quarter of what was left, within
// these bounds.
constexpr uint64_t kShortestStride = Room::kLarge;
constexpr uint64_t kLongestStride = 64 * 1024 * 1024;
constexpr uint64_t kMostUsual = 64 * 1024 * 1024;
constexpr uint64_t kUsualShare = 16;  // of a small file system, one in so many bytes

}  // namespace

class Room::Writer final : public BodyWriter {
 public:
  Writer(Room& room, std::unique_ptr<BodyWriter> inner, std::string_view name,
         std::optional<uint64_t> size)
      : room_(room), inner_(std::move(inner)), name_(name), size_(size) {}

  StoreStatus append(std::string_view piece) override {
    if (written_ + piece.size() > next_look_) {
      const uint64_t left = room_.above_line();
      if (left < piece.size()) return room_.refuse(name_, size_, written_);
      next_look_ = written_ + std::clamp(left / 4, kShortestStride, kLongestStride);
    }
    StoreStatus status = inner_->append(piece);
    if (status.ok()) written_ += piece.size();
    if (status.kind() == StoreStatus::Kind::run && !size_ && written_ >= kLarge) {
      return StoreStatus::run(
          fmt::format("{}; '{}' had {} bytes by then and never told its size: if it has no end, "
                      "--max-file-size refuses it",
                      status.text(), printable(name_), written_));
    }
    return status;
  }

  StoreStatus close() override { return inner_->close(); }

 private:
  Room& room_;
  std::unique_ptr<BodyWriter> inner_;
  std::string name_;
  std::optional<uint64_t> size_;
  uint64_t written_ = 0;
  uint64_t next_look_ = kLarge;
};

Room::Free Room::free_at(int output_fd) {
  return [output_fd]() -> std::optional<uint64_t> {
    struct statvfs system;
    if (::fstatvfs(output_fd, &system) != 0) return std::nullopt;
    return uint64_t{system.f_bavail} * system.f_frsize;
  };
}

uint64_t Room::usual_line(int output_fd) {
  struct statvfs system;
  if (::fstatvfs(output_fd, &system) != 0) return 0;
  return std::min(uint64_t{system.f_blocks} * system.f_frsize / kUsualShare, kMostUsual);
}

uint64_t Room::above_line() const {
  if (min_free_ == 0) return UINT64_MAX;
  const std::optional<uint64_t> free = free_();
  if (!free) return UINT64_MAX;
  return *free - std::min(*free, min_free_);
}

StoreStatus Room::refuse(std::string_view name, std::optional<uint64_t> size, uint64_t written) {
  const uint64_t left = above_line();
  const std::string line =
      fmt::format("{} bytes are left above the {} that --min-free keeps free", left, min_free_);
  if (++refused_ >= kMostRefused) {
    return StoreStatus::run(
        fmt::format("{} files in a row did not fit, '{}' the last of them: {}; free some space, or "
                    "leave large files out with --max-file-size",
                    refused_, printable(name), line));
  }
  if (size) {
    return StoreStatus::later(
        fmt::format("a file of {} bytes does not fit: {}; free some space, or leave such files out "
                    "with --max-file-size",
                    *size, line));
  }
  return StoreStatus::file(
      FailureClass::store_error,
      fmt::format(
          "stopped behind {} bytes of a file that told no size: {}; free some space, or, if "
          "the file has no end, refuse it with --max-file-size",
          written, line));
}

StoreStatus Room::open(Sink& sink, Lot& lot, std::string_view name, std::optional<uint64_t> size,
                       std::unique_ptr<BodyWriter>& writer) {
  const bool large = !size || *size >= kLarge;
  if (large && size && !packed_ && *size > above_line()) return refuse(name, size, 0);
  StoreStatus status = sink.open(lot, name, size, writer);
  if (status.ok() && large) {
    writer = std::make_unique<Writer>(*this, std::move(writer), name, size);
  }
  return status;
}

}  // namespace gigafetch::store
