// ResponseParser: the bytes of one connection, cut into HTTP/1.1 responses.
//
// A thin, strict layer over llhttp: it adds the checks that keep a response from ever being given
// to the wrong request. It knows no sockets; whole input and any split of it give the same events.
// The ordinary answer whose head has come whole does not take that way (http/plain_head.h); it
// gives the events that it would give there. One parser serves one connection, from its first byte
// to its last; after a fault only reset() makes it usable again, for a new connection.
#pragma once

#include <llhttp.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "http/plain_head.h"

namespace gigafetch::http {

// Over these limits a response is refused: no origin needs them, and memory stays bounded. The
// bytes are those from a response's first (with the line ends before it) to its body's first, or of
// what stands between two pieces of a chunked body, or behind the last.
inline constexpr size_t kMaxHeadBytes = 32 * 1024;
inline constexpr uint32_t kMaxHeadFields = 100;
// Interim (1xx) responses before one final response.
inline constexpr uint32_t kMaxInterimResponses = 16;
// Line ends that may stand behind a response (RFC 9112 section 2.2 has a client skip them), while
// no other is awaited.
inline constexpr size_t kMaxIdleLineEnds = 16;

// The head of a final response. The views are valid inside Handler::on_head only.
struct ResponseHead {
  int status = 0;  // 200 to 599
  bool has_length = false;
  uint64_t length = 0;  // Content-Length, when has_length
  // Neither a length nor chunks, and no word that the connection will close: only its end will tell
  // where the body ends, and what follows for other requests would be taken for it.
  bool endless = false;
  // Neither a length nor chunks: a body that was cut looks whole.
  bool until_end = false;
  bool keep_alive = false;  // whether another response may follow on this connection
  std::string_view content_encoding;
  std::string_view content_type;
  std::string_view location;
  std::string_view retry_after;
};

// Why a connection's bytes cannot be trusted any further.
enum class ResponseFault : uint8_t {
  none,
  bad_framing,   // not HTTP/1.x, or no safe way to tell where the body ends
  head_limit,    // over kMaxHeadBytes or kMaxHeadFields, or too many interim responses
  stray_bytes,   // bytes that no request asked for and that begin no response
  surplus,       // a response, or the beginning of one, that no request asked for
  truncated,     // the connection ended inside a response
  handler_stop,  // the handler asked for the end
};
std::string_view name_of(ResponseFault fault);

class ResponseParser {
 public:
  // What follows a completed response.
  enum class Next : uint8_t {
    more,  // another request is waiting for its response
    none,  // no request is waiting: any further byte is a fault
    stop,  // take nothing more from this connection
  };

  // Called from feed() and finish(), in the order of the bytes. A handler must not destroy or reset
  // the parser from inside a call.
  class Handler {
   public:
    virtual ~Handler() = default;
    // A final head (interim responses are skipped). False ends the parse with handler_stop.
    virtual bool on_head(const ResponseHead& head) = 0;
    // A piece of the body; the view is into the bytes given to feed(). False as above.
    virtual bool on_body(std::string_view piece) = 0;
    // The response is whole. `keep_alive` is what its head said, unless a trailer has called the
    // connection's state into doubt: then it is false.
    virtual Next on_complete(bool keep_alive) = 0;
  };

  // `handler` must outlive the parser.
  explicit ResponseParser(Handler& handler);
  ResponseParser(const ResponseParser&) = delete;
  ResponseParser& operator=(const ResponseParser&) = delete;

  // Parses `bytes`. After a fault every further call gives the same fault.
  ResponseFault feed(std::string_view bytes);

  // The same while no request awaits a response: line ends are skipped, anything else is a fault.
  ResponseFault feed_idle(std::string_view bytes);

  // The peer has closed its side. A body that only the end of the connection delimits (RFC 9112
  // section 6.3, rule 8) is completed; inside anything else the fault is `truncated`.
  ResponseFault finish();

  // Whether the first byte of a response that is not yet complete has arrived.
  bool in_response() const { return in_response_; }

  // Whether the bytes behind the last response begin no other one: a fault that is about where that
  // response ended, rather than about the next.
  bool at_no_head() const { return in_response_ && in_head_ && !version_read_; }

  // What was wrong, in words; empty without a fault.
  std::string_view fault_text() const { return fault_text_; }

  // Back to the first byte of a new connection.
  void reset();

 private:
  // Header fields whose values are kept for the handler or checked here.
  enum class Field : uint8_t {
    other,
    content_encoding,
    content_type,
    location,
    retry_after,
    transfer_encoding,
  };

  static const llhttp_settings_t& callbacks();
  bool begin_plain(std::string_view& bytes);
  void take_plain_body(std::string_view& bytes);
  void complete_plain();
  void skip(std::string_view& bytes, size_t count);
  size_t parse_some(std::string_view bytes);
  int on_message_begin();
  int on_version();
  int on_field_bytes(const char* at, size_t length);
  int on_name_complete();
  int on_value_bytes(const char* at, size_t length);
  int on_headers_complete();
  int on_body_bytes(const char* at, size_t length);
  int on_message_complete();
  int refuse(ResponseFault fault, std::string_view text);
  std::string* value_of(Field field);
  uint64_t offset_of(const char* at) const;

  llhttp_t parser_;
  Handler* handler_;
  ResponseFault fault_ = ResponseFault::none;
  std::string_view fault_text_;

  bool in_response_ = false;
  bool in_head_ = false;       // between the first byte and the end of the head
  bool version_read_ = false;  // its first bytes are HTTP's
  bool interim_ = false;       // the response being parsed is a 1xx
  bool paused_ = false;        // on_complete said Next::none inside the current feed()
  PlainHeadReader plain_heads_;
  uint64_t plain_left_ = 0;  // of the body of a response that llhttp knows nothing of
  uint32_t fields_ = 0;
  uint32_t codings_ = 0;  // Transfer-Encoding fields in this head
  uint32_t interim_count_ = 0;
  size_t idle_line_ends_ = 0;  // behind the last response

  // The field being read. Its name is kept as far as the longest name of interest is long.
  static constexpr size_t kNameRoom = 24;
  Field field_ = Field::other;
  bool in_name_ = false;
  size_t name_length_ = 0;
  char name_[kNameRoom];
  std::string content_encoding_, content_type_, location_, retry_after_, transfer_encoding_;

  // Offsets in the connection's byte stream: the same however the input is split.
  const char* feed_begin_ = nullptr;
  uint64_t feed_offset_ = 0;  // of feed_begin_
  // Where the present run of bytes that are no body began: what kMaxHeadBytes bounds.
  uint64_t overhead_begin_ = 0;
  uint64_t name_end_ = 0;       // behind the last field name
  uint64_t value_end_ = 0;      // behind the last piece of a field value
  bool coding_folded_ = false;  // Transfer-Encoding was spread over lines
};

}  // namespace gigafetch::http
