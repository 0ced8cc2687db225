// Room: keeps large files from filling the output's file system (--min-free). Worker, loop thread
// only; borrowed by the connections.
//
// A file that does not fit beside what is to stay free fails by itself, before it takes the others'
// room: one that tells its size before a byte of it is written, any other when it would cross the
// line. Only large files are looked at, and the file system only now and then.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "store/sink.h"

namespace gigafetch::store {

class Room {
 public:
  // Files of less are never looked at.
  static constexpr uint64_t kLarge = 1024 * 1024;
  // So many files that do not fit, with none stored between them: it is not the files, the disk is
  // full.
  static constexpr uint32_t kMostRefused = 64;

  // Bytes that may still be written; nullopt when that cannot be known.
  using Free = std::function<std::optional<uint64_t>()>;
  // Of the file system that `output_fd`, which is borrowed, lies on.
  static Free free_at(int output_fd);

  // What is to stay free where nobody said how much: a little of what there is in all.
  static uint64_t usual_line(int output_fd);

  // `min_free` bytes stay free; 0: as many as happen to. With `packed`, files take less than their
  // size: one that tells it is not refused for that.
  Room(Free free, uint64_t min_free, bool packed)
      : free_(std::move(free)), min_free_(min_free), packed_(packed) {}

  // Sink::open(), with a writer that keeps to the limit. A file that does not fit fails with
  // Kind::later when it tells its size, for others may be gone by then; else with Kind::file; and
  // with Kind::run when kMostRefused have.
  StoreStatus open(Sink& sink, Lot& lot, std::string_view name, std::optional<uint64_t> size,
                   std::unique_ptr<BodyWriter>& writer);
  // Something was stored.
  void on_stored() { refused_ = 0; }

 private:
  class Writer;

  // Bytes above the line; UINT64_MAX without one.
  uint64_t above_line() const;
  StoreStatus refuse(std::string_view name, std::optional<uint64_t> size, uint64_t written);

  Free free_;
  uint64_t min_free_;
  bool packed_;
  uint32_t refused_ = 0;  // in a row
};

}  // namespace gigafetch::store
