// Making strangers' bytes safe to show: on terminals, in logs, in JSON.
#pragma once

#include <string>
#include <string_view>

namespace gigafetch {

// For people: control bytes, DEL, backslash, bytes that are not UTF-8, and code points that can
// reorder or hide text (bidirectional and zero-width controls) become \xNN or \u{N}. Cut after
// `max_bytes` of input, with "..." behind.
std::string printable(std::string_view text, size_t max_bytes = 200);

// For machines, one a line: only what would break a line is escaped (control bytes, as \xNN).
// Everything else stands as it is, so that common names pass through tools unchanged.
void append_line_safe(std::string& out, std::string_view text);

// Appends `text` as a JSON string with its quotes (RFC 8259 section 7). A byte that is not part of
// valid UTF-8 becomes \udcNN, the lone low surrogate that Python's surrogateescape (PEP 383) reads
// back as that byte: valid JSON, and nothing lost.
void append_json_string(std::string& out, std::string_view text);

// The length of the valid UTF-8 sequence at the front of `text` (RFC 3629), 0 when there is none.
size_t utf8_sequence_length(std::string_view text);

}  // namespace gigafetch
