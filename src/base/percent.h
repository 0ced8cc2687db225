// Percent-encoding (RFC 3986 section 2.1), for request targets and for paths on disk.
#pragma once

#include <string>
#include <string_view>

namespace gigafetch {

enum class SlashMode { keep, encode };

// Appends `%XX` for one byte, with upper-case digits (RFC 3986 section 2.1).
void append_percent_byte(std::string& out, char byte);

// Appends `text` with every byte outside unreserved (RFC 3986 section 2.3) encoded; '/' stays where
// `slashes` says so.
void append_percent_encoded(std::string& out, std::string_view text, SlashMode slashes);

// Whether `text` starts with an escape: '%' and two hexadecimal digits of either case.
bool starts_with_escape(std::string_view text);

// Appends `text` with every escape replaced by its byte. A '%' that starts none stands for itself.
void append_percent_decoded(std::string& out, std::string_view text);

}  // namespace gigafetch
