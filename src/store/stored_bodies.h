// StoredBodies: what a sink has stored, to be read again by name. Nothing is changed. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/set_hash.h"
#include "store/status.h"

namespace gigafetch::store {

// One stored file, from its beginning.
class BodyReader {
 public:
  virtual ~BodyReader() = default;
  // Sets `piece` to what comes next, valid until the next call; empty at the end.
  virtual StoreStatus read(std::string_view& piece) = 0;
  // So many bytes at the end of the last piece come again with the next one. Between this and the
  // next read() the memory of the piece may be used for other readers: who compares many files side
  // by side calls it whenever he waits.
  virtual void give_back(size_t bytes) = 0;
};

class StoredBodies {
 public:
  virtual ~StoredBodies() = default;

  // The refusal of a name that the sink never stores.
  virtual std::optional<FailureClass> refuses(std::string_view name) = 0;
  virtual std::string_view refusal_text(FailureClass refusal) const = 0;

  // `reader` is set when the status is ok; it must not outlive this. Kind::file when there is no
  // such file (missing), or something else stands in its place.
  virtual StoreStatus open(std::string_view name, std::unique_ptr<BodyReader>& reader) = 0;

  // `on_look` is called now and then while a file is looked for, where that can take long.
  virtual void on_look(std::function<void()>) {}

  // Reads the file: its size and its content_hash. `on_read` is called now and then meanwhile: it
  // may take long.
  virtual StoreStatus hash(std::string_view name, uint64_t& bytes, Hash128& content,
                           const std::function<void()>& on_read) = 0;

  // What the last name given is stored as.
  virtual const std::string& path() const = 0;
};

struct LedgerImage;

// What the job of this ledger has stored in the folder, which is borrowed and must stay open. Fails
// when shards are not there as the ledger says.
Result<std::unique_ptr<StoredBodies>> open_stored(int output_fd, const LedgerImage& image);

}  // namespace gigafetch::store
