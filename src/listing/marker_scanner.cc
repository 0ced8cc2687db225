#include "listing/marker_scanner.h"

#include <algorithm>

#include "base/byte_set.h"
#include "base/escape.h"

namespace gigafetch::listing {
namespace {

// Nothing longer is a name that anybody could take, or a marker.
constexpr size_t kMaxTextBytes = 128 * 1024;
// How much of a value that is no name is shown.
constexpr size_t kShownBytes = 200;
constexpr std::string_view kNoString = "the listing gives no string as its name";

constexpr bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

constexpr ByteSet make_set(std::string_view excluded) {
  ByteSet set{};
  for (bool& in : set)
    in = true;
  for (const char c : excluded)
    set[static_cast<uint8_t>(c)] = false;
  return set;
}

constexpr ByteSet kInString = make_set("\"\\");
constexpr ByteSet kInScalar = make_set(" \t\n\r,:[]{}\"");
constexpr ByteSet kInSkipped = make_set("[]{}\"");

// A value that JSON has, or that common libraries write although it has not.
bool is_json_scalar(std::string_view text) {
  for (const std::string_view word : {"null", "true", "false", "NaN", "Infinity", "-Infinity"}) {
    if (text == word) return true;
  }
  constexpr std::string_view kNumber = "0123456789+-.eE";
  const bool begins = !text.empty() && (text[0] == '-' || (text[0] >= '0' && text[0] <= '9'));
  return begins && text.find_first_not_of(kNumber) == text.npos;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Result<size_t> MarkerScanner::feed(std::string_view bytes, NameReceiver& receiver) {
  if (head_.size() < 60) head_ += bytes.substr(0, 60 - head_.size());
  rest_ = bytes;
  bool more = true;
  while (more && !rest_.empty() && !refusal_)
    more = step(receiver);
  if (refusal_) return *refusal_;
  const size_t taken = bytes.size() - rest_.size();
  rest_ = {};
  return taken;
}

Result<std::optional<std::string>> MarkerScanner::finish() {
  if (refusal_) return *refusal_;
  if (state_ == State::start) return error(ErrorCode::malformed, "the page is empty");
  if (state_ != State::done) {
    return error(ErrorCode::malformed, "the page is cut off at byte {}; it begins with '{}'",
                 offset_, printable(head_));
  }
  if (!has_names_) {
    return error(ErrorCode::malformed, "the page has no \"FileNames\"; it begins with '{}'",
                 printable(head_));
  }
  return marker_ ? marker_ : next_file_;
}

void MarkerScanner::consume(size_t count) {
  rest_.remove_prefix(count);
  offset_ += count;
}

bool MarkerScanner::refuse(std::string_view what) {
  refusal_ = error(ErrorCode::malformed, "the page is not valid at byte {}: {}; there stands '{}'",
                   offset_, what, printable(rest_, 60));
  return false;
}

// Takes one token, or as much of it as there is. False: the receiver wants no more, or the page is
// refused.
bool MarkerScanner::step(NameReceiver& receiver) {
  switch (state_) {
    case State::string:
      return !take_string() || on_string(receiver);
    case State::skipped:
      return take_skipped(receiver);
    case State::scalar: {
      const size_t run = leading_run(rest_, kInScalar);
      keep(rest_.substr(0, run));
      consume(run);
      return rest_.empty() || on_scalar(receiver);
    }
    default:
      break;
  }
  const char c = rest_[0];
  if (is_space(c)) return consume(1), true;
  switch (state_) {
    case State::start:
      if (c != '{') return refuse("it is no JSON object; is the URL the service's base?");
      state_ = State::first_key;
      return consume(1), true;
    case State::first_key:
    case State::key:
      if (c == '}' && state_ == State::first_key) {
        state_ = State::done;
        return consume(1), true;
      }
      if (c != '"') return refuse("a key must stand there");
      begin_string(Role::key);
      return true;
    case State::colon:
      if (c != ':') return refuse("a colon must stand there");
      state_ = State::value;
      return consume(1), true;
    case State::value:
    case State::item:
    case State::first_item:
      if (c == ']' && state_ == State::first_item) {
        state_ = State::behind_value;
        return consume(1), true;
      }
      return take_value();
    case State::behind_item:
    case State::behind_value: {
      const bool in_names = state_ == State::behind_item;
      if (c == ',') {
        state_ = in_names ? State::item : State::key;
      } else if (c == (in_names ? ']' : '}')) {
        state_ = in_names ? State::behind_value : State::done;
      } else {
        return refuse("a comma or a closing bracket must stand there");
      }
      return consume(1), true;
    }
    default:
      return refuse("something follows its object");
  }
}

// The first byte of a value, or of an element of the names.
bool MarkerScanner::take_value() {
  const char c = rest_[0];
  if (state_ != State::value) role_ = Role::name;
  text_.clear();
  is_too_long_ = false;
  if (c == '[' && role_ == Role::names) {
    state_ = State::first_item;
    return consume(1), true;
  }
  if (c == ',' || c == ':' || c == ']' || c == '}') return refuse("a value must stand there");
  const bool is_string = c == '"', is_nested = c == '[' || c == '{';
  switch (role_) {
    case Role::names:
      if (is_string || is_nested) return refuse("\"FileNames\" must be a list of strings");
      break;
    case Role::marker:
    case Role::next_file:
      if (is_nested) return refuse("the next page's marker must be a string");
      break;
    default:
      break;
  }
  if (is_string && role_ != Role::other) {
    begin_string(role_);
  } else if (is_string || is_nested) {
    state_ = State::skipped;
    depth_ = 0;
    in_quotes_ = is_escaped_ = false;
  } else {
    state_ = State::scalar;
  }
  return true;
}

void MarkerScanner::begin_string(Role role) {
  role_ = role;
  state_ = State::string;
  text_.clear();
  is_whole_ = true;
  is_bad_ = is_too_long_ = false;
  escape_ = Escape::none;
  first_half_ = 0;
  consume(1);
}

// True when the string is whole, in string_; its closing quote is taken.
bool MarkerScanner::take_string() {
  while (!rest_.empty()) {
    if (escape_ == Escape::begun) {
      take_escape();
      continue;
    }
    if (escape_ == Escape::digits) {
      take_digit();
      continue;
    }
    const size_t run = leading_run(rest_, kInString);
    const std::string_view plain = rest_.substr(0, run);
    if (run > 0) end_pair();
    const bool ends = run < rest_.size() && rest_[run] == '"';
    if (ends && is_whole_) {
      string_ = plain;
      is_too_long_ = string_.size() > kMaxTextBytes;
      consume(run + 1);
      return true;
    }
    is_whole_ = false;
    keep(plain);
    consume(run);
    if (ends) {
      end_pair();
      string_ = text_;
      consume(1);
      return true;
    }
    if (!rest_.empty()) {
      consume(1);
      escape_ = Escape::begun;
    }
  }
  return false;
}

// The byte behind a backslash.
void MarkerScanner::take_escape() {
  const char c = rest_[0];
  constexpr std::string_view kLetters = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
  escape_ = Escape::none;
  if (c == 'u') {
    consume(1);
    escape_ = Escape::digits;
    digits_ = character_ = 0;
    return;
  }
  end_pair();
  const size_t found = kLetters.find(c);
  if (found != kLetters.npos) {
    keep(kMeant.substr(found, 1));
  } else {
    is_bad_ = true;
    keep("\\");
    keep(rest_.substr(0, 1));
  }
  consume(1);
}

void MarkerScanner::take_digit() {
  const int digit = hex_digit(rest_[0]);
  if (digit < 0) {
    // The byte is the string's next, which it may end.
    end_pair();
    is_bad_ = true;
    keep(fmt::format("\\u{:0{}x}", character_, digits_).substr(0, 2 + digits_));
    escape_ = Escape::none;
    return;
  }
  consume(1);
  character_ = character_ * 16 + static_cast<uint32_t>(digit);
  if (++digits_ < 4) return;
  escape_ = Escape::none;
  const bool is_second_half = character_ >= 0xDC00 && character_ <= 0xDFFF;
  if (is_second_half && first_half_ != 0) {
    const uint32_t whole = 0x10000 + ((first_half_ - 0xD800) << 10) + (character_ - 0xDC00);
    first_half_ = 0;
    return keep_character(whole);
  }
  end_pair();
  if (is_second_half) {
    is_bad_ = true;
    keep(fmt::format("\\u{:04x}", character_));
  } else if (character_ >= 0xD800 && character_ <= 0xDBFF) {
    first_half_ = character_;
  } else {
    keep_character(character_);
  }
}

// A first half of a pair whose second half has not come says nothing.
void MarkerScanner::end_pair() {
  if (first_half_ == 0) return;
  is_bad_ = true;
  keep(fmt::format("\\u{:04x}", first_half_));
  first_half_ = 0;
}

void MarkerScanner::keep(std::string_view bytes) {
  const size_t room = kMaxTextBytes - std::min(kMaxTextBytes, text_.size());
  if (bytes.size() > room) is_too_long_ = true;
  text_ += bytes.substr(0, room);
}

void MarkerScanner::keep_character(uint32_t character) {
  std::string out;
  const auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (character < 0x80) {
    put(character);
  } else if (character < 0x800) {
    put(0xC0 | (character >> 6));
    put(0x80 | (character & 0x3F));
  } else if (character < 0x10000) {
    put(0xE0 | (character >> 12));
    put(0x80 | ((character >> 6) & 0x3F));
    put(0x80 | (character & 0x3F));
  } else {
    put(0xF0 | (character >> 18));
    put(0x80 | ((character >> 12) & 0x3F));
    put(0x80 | ((character >> 6) & 0x3F));
    put(0x80 | (character & 0x3F));
  }
  keep(out);
}

bool MarkerScanner::on_string(NameReceiver& receiver) {
  if (role_ == Role::key) return on_key();
  if (role_ == Role::name) {
    state_ = State::behind_item;
    if (is_too_long_) {
      return receiver.on_bad_name(string_.substr(0, kMaxTextBytes), FailureClass::name_too_long,
                                  "only so much of it is shown");
    }
    if (is_bad_) {
      return receiver.on_bad_name(string_, FailureClass::bad_name,
                                  "it holds an escape that says no character");
    }
    return receiver.on_name(string_);
  }
  if (is_bad_) return refuse("the next page's marker holds an escape that says no character");
  if (is_too_long_) return refuse("the next page's marker is too long");
  on_marker(string_);
  state_ = State::behind_value;
  return true;
}

bool MarkerScanner::on_key() {
  if (is_bad_) return refuse("a key holds an escape that says no character");
  state_ = State::colon;
  bool* seen = nullptr;
  if (string_ == "FileNames") {
    role_ = Role::names;
    seen = &has_names_;
  } else if (string_ == "NextMarker") {
    role_ = Role::marker;
    seen = &has_marker_;
  } else if (string_ == "NextFile") {
    role_ = Role::next_file;
    seen = &has_next_file_;
  } else {
    role_ = Role::other;
    return true;
  }
  if (*seen) return refuse("a key stands twice in one page");
  *seen = true;
  return true;
}

void MarkerScanner::on_marker(std::string_view text) {
  if (!text.empty()) (role_ == Role::marker ? marker_ : next_file_).emplace(text);
}

// The scalar is whole: the byte behind it is there.
bool MarkerScanner::on_scalar(NameReceiver& receiver) {
  state_ = role_ == Role::name ? State::behind_item : State::behind_value;
  switch (role_) {
    case Role::other:
      return true;
    case Role::name:
      if (!is_json_scalar(text_)) return refuse("a name must be a string");
      return receiver.on_bad_name(text_, FailureClass::bad_name, kNoString);
    default:
      if (text_ == "null") return true;
      return refuse(role_ == Role::names ? "\"FileNames\" must be a list of strings"
                                         : "the next page's marker must be a string");
  }
}

bool MarkerScanner::take_skipped(NameReceiver& receiver) {
  const auto pass = [this](size_t count) {
    if (role_ == Role::name && text_.size() < kShownBytes) {
      keep(rest_.substr(0, std::min(count, kShownBytes - text_.size())));
    }
    consume(count);
  };
  while (!rest_.empty()) {
    if (is_escaped_) {
      is_escaped_ = false;
      pass(1);
      continue;
    }
    const size_t run = leading_run(rest_, in_quotes_ ? kInString : kInSkipped);
    if (run == rest_.size()) {
      pass(run);
      break;
    }
    const char c = rest_[run];
    pass(run + 1);
    if (c == '\\') {
      is_escaped_ = true;
    } else if (c == '"') {
      in_quotes_ = !in_quotes_;
    } else if (c == '[' || c == '{') {
      ++depth_;
    } else {
      --depth_;
    }
    if (depth_ > 0 || in_quotes_) continue;
    state_ = role_ == Role::name ? State::behind_item : State::behind_value;
    return role_ != Role::name || receiver.on_bad_name(text_, FailureClass::bad_name, kNoString);
  }
  return true;
}

}  // namespace gigafetch::listing
