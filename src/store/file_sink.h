// FileSink: one file per name, written in place below the output folder.
//
// Where the file system folds names, what stands there may be another name's file: then it stays,
// and the later name fails (store/spellings.h). Each file is created anew (O_EXCL), relative to a
// cached directory descriptor. What stands there already is replaced by removing it first: so two
// writers never share an inode, a planted hard link leads nowhere, and a symbolic link is refused.
// No file is renamed into place: on ext4 a rename costs more than a small file, and it is the
// outcome, not the name, that says that a file is whole.
#pragma once

#include <string>

#include "store/directory_cache.h"
#include "store/layout.h"
#include "store/sink.h"

namespace gigafetch::store {

class FileSink final : public Sink {
 public:
  struct Options {
    Layout layout = Layout::tree;
    bool sync_files = false;  // fdatasync each file before it counts (--durability file)
    NameRules names;          // of the file system
    size_t cached_directories = 256;
  };

  // `output_fd` is the output folder's descriptor, borrowed.
  FileSink(int output_fd, const Options& options);

  std::optional<FailureClass> refuses(std::string_view name) override;
  std::string_view refusal_text(FailureClass refusal) const override;
  // Writes are in the page cache when put and close return, which outlives this process.
  StoreStatus put(Lot& lot, std::string_view name, std::string_view body) override;
  StoreStatus open(Lot& lot, std::string_view name, std::optional<uint64_t> size,
                   std::unique_ptr<BodyWriter>& writer) override;
  void discard(std::string_view name) override;

 private:
  class Writer;

  // Creates the file of `name`; `file_fd` is open for writing when the status is ok. `directory_fd`
  // stays valid until the next call on the cache.
  StoreStatus create(std::string_view name, UniqueFd& file_fd, int& directory_fd);
  // Why a file could not be created, with `failed` as errno.
  StoreStatus refusal(int failed) const;
  // Removes what stands at path_, if it is a file of this name.
  StoreStatus remove_old(int directory_fd, const char* file);
  // discard() where names fold.
  void discard_own(std::string_view folder);
  // Removes the file again when the file system has given it another spelling.
  StoreStatus check_new(int directory_fd, UniqueFd& file_fd);
  // Syncs `file_fd` when asked for, and closes it; on failure removes the file.
  StoreStatus finish(UniqueFd& file_fd, int directory_fd, const char* file, std::string_view path);

  Options options_;
  Spellings spellings_;
  DirectoryCache directories_;
  std::string path_;            // of the last name mapped
  const char* file_ = nullptr;  // its last component: the end of path_
};

}  // namespace gigafetch::store
