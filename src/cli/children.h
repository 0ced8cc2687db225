// Processes that do the work of a command side by side, and the memory in which they tell of it.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "supervisor/child.h"

namespace gigafetch::cli {

// A T that this process shares with those that it forks later. Set to zeros at first.
template <typename T>
class Shared {
 public:
  static_assert(std::is_trivially_destructible_v<T>);
  static Result<Shared> make() {
    void* const at =
        ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return errno_error(errno, "cannot share memory");
    return Shared(new (at) T());
  }
  T& operator*() const { return *at_; }
  T* operator->() const { return at_.get(); }

 private:
  struct Unmap {
    void operator()(T* at) const { ::munmap(at, sizeof(T)); }
  };
  explicit Shared(T* at) : at_(at) {}
  std::unique_ptr<T, Unmap> at_;
};

// A text in shared memory, cut where it is too long.
class SharedText {
 public:
  void set(std::string_view text) {
    size_ = std::min(text.size(), sizeof bytes_);
    std::memcpy(bytes_, text.data(), size_);
  }
  std::string_view view() const { return {bytes_, size_}; }

 private:
  size_t size_;
  char bytes_[500];
};

// An error in shared memory.
class SharedError {
 public:
  void set(const Error& failure) {
    code_ = failure.code;
    text_.set(failure.text);
    failed_ = true;
  }
  std::optional<Error> get() const {
    return failed_ ? std::optional(Error{code_, std::string(text_.view())}) : std::nullopt;
  }

 private:
  bool failed_;
  ErrorCode code_;
  SharedText text_;
};

struct Child {
  std::string name;  // as ps shows it
  std::function<int()> body;
};

// Runs all of them, and calls `on_watch` several times a second meanwhile. The calling process must
// be single-threaded and must never have run an event loop. Fails when a process cannot be made,
// or ends with another status than 0 (all others are ended then).
Result<void> run_children(const std::vector<Child>& children, const std::function<void()>& on_watch,
                          supervisor::Accounts& accounts);

}  // namespace gigafetch::cli
