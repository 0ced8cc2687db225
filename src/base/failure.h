// Why one file did not arrive: the class that stands in outcomes, in failed.jsonl and in the
// counters. The names are part of the contract with the operator's scripts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gigafetch {

enum class FailureClass : uint8_t {
  // Refused for the name itself, mostly before any request: counted as rejected.
  bad_name = 1,       // empty, holds a NUL, or the file system takes no such name
  name_too_long = 2,  // no path of the chosen layout can hold it

  // The origin's answer.
  http_status = 16,       // a status that is not 200
  redirect = 17,          // a 3xx: followed nowhere, credentials must not travel
  content_encoding = 18,  // a coding that was not asked for
  too_large = 19,         // over --max-file-size
  bad_framing = 20,       // the response cannot be delimited safely
  truncated = 21,         // the connection ended inside the response
  reset = 22,             // the connection ended before the response
  stalled = 23,           // no byte came for --stall-timeout
  bad_coding = 26,        // what a content coding made of the body is cut or damaged

  // Storing it.
  name_conflict = 32,  // `a` beside `a/b`, or what the file system takes for one name
  unsafe_path = 33,    // a link or a special file stands where the file should go
  store_error = 34,    // the file system refused this one file

  // verify.
  missing = 48,    // listed, but not on disk
  different = 49,  // the bytes on disk are not the origin's
};

// Whether it is about the origin's answer, or the lack of one.
constexpr bool is_of_origin(FailureClass failure) {
  return failure >= FailureClass::http_status && failure < FailureClass::name_conflict;
}

// Whether the same request may get another answer later: the origin was busy, or failed for a
// moment (RFC 9110 sections 15.5 and 15.6, RFC 6585, RFC 8470). 501 and 505 say that it never will.
constexpr bool is_passing_status(int status) {
  return status == 408 || status == 425 || status == 429 ||
         (status >= 500 && status != 501 && status != 505);
}

// The class as written to failed.jsonl, for example "name-conflict".
std::string_view name_of(FailureClass failure);

// The class with this wire value, if there is one.
std::optional<FailureClass> failure_class_of(uint8_t wire_value);

// Rejected names are counted apart; every other failure is counted as failed.
bool is_rejection(FailureClass failure);

// One file's final failure. `status` is the HTTP status of the last answer, 0 when there was none;
// `attempts` counts the tries that came to nothing through the file, or by an answer to it.
struct FileFailure {
  FailureClass cause = FailureClass::http_status;
  uint16_t status = 0;
  uint16_t attempts = 0;
  std::string text;
};

// Whether the file may arrive when it is tried again later, by itself: a busy origin, a connection
// that broke, a file system that was in the way. What the origin has decided about the name (404),
// or the name's own form, only changes when somebody changes it.
bool is_passing(const FileFailure& failure);

}  // namespace gigafetch
