#include "store/compare_sink.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/escape.h"

namespace gigafetch::store {

class CompareSink::Comparer final : public BodyWriter {
 public:
  Comparer(UniqueFd file_fd, std::string path)
      : file_fd_(std::move(file_fd)), path_(std::move(path)) {}

  StoreStatus append(std::string_view piece) override {
    char stored[64 * 1024];
    while (!piece.empty()) {
      const size_t want = std::min(piece.size(), sizeof stored);
      const ssize_t got = ::read(file_fd_.get(), stored, want);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return StoreStatus::of_errno(errno, "read", path_);
      if (got == 0) return different("it is shorter than the origin's", offset_);
      const auto size = static_cast<size_t>(got);
      if (std::memcmp(stored, piece.data(), size) != 0) {
        const auto unequal = std::mismatch(stored, stored + size, piece.begin()).first - stored;
        return different("its bytes differ", offset_ + static_cast<uint64_t>(unequal));
      }
      offset_ += size;
      piece.remove_prefix(size);
    }
    return {};
  }

  StoreStatus close() override {
    char more;
    ssize_t got;
    do {
      got = ::read(file_fd_.get(), &more, 1);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return StoreStatus::of_errno(errno, "read", path_);
    if (got > 0) return different("it is longer than the origin's", offset_);
    return {};
  }

 private:
  StoreStatus different(std::string_view how, uint64_t offset) const {
    return StoreStatus::file(FailureClass::different, fmt::format("'{}': {} from byte {} on",
                                                                  printable(path_), how, offset));
  }

  UniqueFd file_fd_;
  std::string path_;
  uint64_t offset_ = 0;
};

CompareSink::CompareSink(int output_fd, Layout layout) : files_(output_fd, layout) {}

std::optional<FailureClass> CompareSink::refuses(std::string_view name) {
  return path_of_name(files_.layout(), name, path_);
}

std::string_view CompareSink::refusal_text(FailureClass refusal) const {
  return store::refusal_text(files_.layout(), refusal);
}

StoreStatus CompareSink::open(Lot&, std::string_view name, std::optional<uint64_t>,
                              std::unique_ptr<BodyWriter>& writer) {
  UniqueFd file_fd;
  if (StoreStatus status = files_.open(name, file_fd); !status.ok()) return status;
  writer = std::make_unique<Comparer>(std::move(file_fd), files_.path());
  return {};
}

StoreStatus CompareSink::put(Lot&, std::string_view name, std::string_view body) {
  UniqueFd file_fd;
  if (StoreStatus status = files_.open(name, file_fd); !status.ok()) return status;
  Comparer comparer(std::move(file_fd), files_.path());
  if (StoreStatus status = comparer.append(body); !status.ok()) return status;
  return comparer.close();
}

}  // namespace gigafetch::store
