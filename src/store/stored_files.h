// StoredFiles: what a FileSink has stored. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "store/content_hash.h"
#include "store/directory_cache.h"
#include "store/layout.h"
#include "store/stored_bodies.h"

namespace gigafetch::store {

class StoredFiles final : public StoredBodies {
 public:
  // `output_fd` is borrowed and must stay open. Where `names` fold, a file in another spelling is
  // another name's, and a name_conflict.
  StoredFiles(int output_fd, Layout layout, const NameRules& names = {},
              size_t cached_directories = 256);

  // Whether the file of `name` is there: ok, or Kind::file with missing, name_conflict, unsafe_path
  // or, for a name that no path can hold, its refusal.
  StoreStatus check(std::string_view name);

  // The same, and opens it for reading.
  StoreStatus open(std::string_view name, UniqueFd& file_fd);

  std::optional<FailureClass> refuses(std::string_view name) override;
  std::string_view refusal_text(FailureClass refusal) const override;
  StoreStatus open(std::string_view name, std::unique_ptr<BodyReader>& reader) override;
  StoreStatus hash(std::string_view name, uint64_t& bytes, Hash128& content,
                   const std::function<void()>& on_read = {}) override;

  // The path of the last name given, relative to the output folder.
  const std::string& path() const override { return path_; }
  Layout layout() const { return layout_; }

 private:
  class Reader;
  StoreStatus locate(std::string_view name, int& directory_fd);
  // Whether what stands at path_, with this mode, is a file of this name.
  StoreStatus is_own(int directory_fd, mode_t mode);

  Layout layout_;
  Spellings spellings_;
  DirectoryCache directories_;
  std::string path_;
  std::string file_;
  std::unique_ptr<char[]> buffer_;  // what hash() reads into
};

}  // namespace gigafetch::store
