// BodyRules: what the head of a good answer says about its body, and whether that is taken.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/failure.h"
#include "http/response_parser.h"

namespace gigafetch::store {
class Room;
}

namespace gigafetch::worker {

// What becomes of a body that comes in a content coding that was not asked for (RFC 9110 section
// 8.4): every request says that it takes none.
enum class ContentEncoding : uint8_t {
  refuse,  // the file fails
  keep,    // stored as sent; the coding is recorded (store/coding_log.h)
  decode,  // stored as it was before it was coded (http/content_coding.h)
};
std::string_view name_of(ContentEncoding choice);
std::optional<ContentEncoding> content_encoding_of(std::string_view name);

struct BodyRules {
  uint64_t max_file_size = UINT64_MAX;
  ContentEncoding content_encoding = ContentEncoding::refuse;
  // Whether a body may be delimited by nothing but the end of its connection: one that was cut then
  // looks whole.
  bool allow_unframed = false;

  // What large files must leave free; null: nothing. Borrowed.
  store::Room* room = nullptr;

  // Why the body that `head` (a 200) announces is not taken; nullopt when it is.
  std::optional<FileFailure> refuses(const http::ResponseHead& head) const {
    const bool plain = head.content_encoding.empty() && !head.until_end;
    if (plain && (!head.has_length || head.length <= max_file_size)) return std::nullopt;
    return look_closely(head);
  }

  std::optional<FileFailure> look_closely(const http::ResponseHead& head) const;
};

// Whether a Content-Encoding field names a coding at all.
bool is_coded(std::string_view field);

}  // namespace gigafetch::worker
