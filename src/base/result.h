// Result<T>: a value, or an Error that says what went wrong and what to do about it.
//
// No function in this program throws across a loop callback; what can fail returns a Result, and a
// caller that drops one is stopped by [[nodiscard]]. Error texts are written for the operator: they
// name the thing, the cause and the next step, and hold names only in their escaped form
// (base/escape.h).
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace gigafetch {

// What kind of failure an Error is. The kind decides the exit status (exit_status_of in
// base/exit_status.h); the text tells the rest.
enum class ErrorCode : uint8_t {
  usage,        // the command line or configuration cannot be carried out as written
  io,           // a system call failed in a way that has no kind of its own below
  not_found,    // a file, folder or host does not exist
  exists,       // something is there that must not be
  permission,   // not allowed
  no_space,     // no blocks, no inodes, or over quota
  no_resource,  // descriptors, ports or memory ran out: slow down, do not give up
  busy,         // another run holds the lock
  unsafe,       // a symbolic link or a path that would leave the output folder
  malformed,    // bytes from outside are not what their format says
  too_large,    // bytes from outside are over a limit
  refused,      // nobody listens there (any more)
  origin,       // the origin refused, answered with an error, or stayed away
  interrupted,  // the operator asked for the end
};

struct Error {
  ErrorCode code = ErrorCode::io;
  std::string text;
};

template <typename... Args>
Error error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Error{code, fmt::format(format, std::forward<Args>(args)...)};
}

// The kind that belongs to an errno value, and "WHAT: strerror" as the text.
ErrorCode code_of_errno(int error_number);
Error errno_error(int error_number, std::string_view what);

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error failure) : state_(std::in_place_index<1>, std::move(failure)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // Only when ok().
  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  T* operator->() { return std::get_if<0>(&state_); }

  // Only when !ok().
  const Error& failure() const& { return *std::get_if<1>(&state_); }
  Error&& failure() && { return std::move(*std::get_if<1>(&state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error failure) : failure_(std::move(failure)), failed_(true) {}

  bool ok() const { return !failed_; }
  explicit operator bool() const { return ok(); }
  const Error& failure() const& { return failure_; }
  Error&& failure() && { return std::move(failure_); }

 private:
  Error failure_;
  bool failed_ = false;
};

}  // namespace gigafetch
