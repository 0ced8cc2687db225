// MarkerScanner: reads a page of the marker dialect as its bytes come, whatever its size, and
// whatever single names on it are.
//
// It takes what simdjson cannot: a page that does not fit into memory, and one on which a name is
// no Unicode, or no string at all. Where both take a page they give the same names and marker.
// Memory is bounded by the longest name that is kept. Pure.
//
// An element of "FileNames" that is a string gives its bytes, also those that are no UTF-8, and
// control bytes. What has no bytes is a bad name: an escape that says no character, a value of
// another kind. Values of unknown keys are skipped by their brackets and quotes alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "listing/dialect.h"

namespace gigafetch::listing {

class MarkerScanner {
 public:
  // Takes bytes until they end or the receiver wants no more for now, and says how many it took.
  // Fails (malformed) as PageReader does; then only reset() helps.
  Result<size_t> feed(std::string_view bytes, NameReceiver& receiver);
  // The page has ended. Gives the marker of the next one; fails (malformed) when something of the
  // page is missing.
  Result<std::optional<std::string>> finish();
  // Back to the beginning of a page.
  void reset() { *this = {}; }

 private:
  enum class State : uint8_t {
    start,         // before the page's object
    first_key,     // a key, or the object's end
    key,           // behind a comma: a key
    colon,         // behind a key
    value,         // behind the colon
    first_item,    // of the names, or their end
    item,          // behind a comma: a name
    behind_item,   // a comma, or the names' end
    behind_value,  // a comma, or the object's end
    string,        // within one
    scalar,        // within a number, null and the like
    skipped,       // within a value that is passed over
    done,          // behind the object
  };
  // What the value under way is.
  enum class Role : uint8_t { key, name, marker, next_file, names, other };
  enum class Escape : uint8_t { none, begun, digits };

  bool step(NameReceiver& receiver);
  bool take_value();
  void begin_string(Role role);
  bool take_string();
  void take_escape();
  void take_digit();
  void keep(std::string_view bytes);
  void keep_character(uint32_t character);
  void end_pair();
  bool on_string(NameReceiver& receiver);
  bool on_key();
  void on_marker(std::string_view text);
  bool on_scalar(NameReceiver& receiver);
  bool take_skipped(NameReceiver& receiver);
  void consume(size_t count);
  bool refuse(std::string_view what);

  State state_ = State::start;
  Role role_ = Role::other;
  bool has_names_ = false, has_marker_ = false, has_next_file_ = false;
  std::optional<std::string> marker_, next_file_;
  std::optional<Error> refusal_;
  std::string head_;         // how the page begins
  std::string_view rest_;    // of the bytes being taken
  uint64_t offset_ = 0;      // of rest_ in the page
  uint64_t depth_ = 0;       // of the brackets in a value that is passed over
  bool in_quotes_ = false;   // there
  bool is_escaped_ = false;  // the byte that comes, there

  // The string, scalar or bad name under way.
  std::string text_;          // what is kept of it
  std::string_view string_;   // when it is whole
  bool is_whole_ = true;      // string_ is in the bytes being taken
  bool is_bad_ = false;       // a string without bytes
  bool is_too_long_ = false;  // for text_
  Escape escape_ = Escape::none;
  uint32_t digits_ = 0;      // of an escape
  uint32_t character_ = 0;   // what they say
  uint32_t first_half_ = 0;  // of a surrogate pair
};

}  // namespace gigafetch::listing
