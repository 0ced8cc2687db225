#include "http/response_parser.h"

#include <algorithm>

#include "http/text.h"

namespace gigafetch::http {
namespace {

ResponseParser* self(llhttp_t* parser) {
  return static_cast<ResponseParser*>(parser->data);
}

// What every response begins with.
constexpr std::string_view kVersionName = "HTTP/";

// "Name: value" as a fetcher would write it: nothing but a colon and at most one space between.
constexpr uint64_t kPlainGap = 2;

}  // namespace

std::string_view name_of(ResponseFault fault) {
  switch (fault) {
    case ResponseFault::none:
      return "none";
    case ResponseFault::bad_framing:
      return "bad-framing";
    case ResponseFault::head_limit:
      return "head-limit";
    case ResponseFault::stray_bytes:
      return "stray-bytes";
    case ResponseFault::surplus:
      return "surplus";
    case ResponseFault::truncated:
      return "truncated";
    case ResponseFault::handler_stop:
      return "handler-stop";
  }
  return "unknown";
}

const llhttp_settings_t& ResponseParser::callbacks() {
  static const llhttp_settings_t settings = [] {
    llhttp_settings_t s;
    llhttp_settings_init(&s);
    s.on_message_begin = [](llhttp_t* p) { return self(p)->on_message_begin(); };
    s.on_version_complete = [](llhttp_t* p) { return self(p)->on_version(); };
    s.on_header_field = [](llhttp_t* p, const char* at, size_t n) {
      return self(p)->on_field_bytes(at, n);
    };
    s.on_header_field_complete = [](llhttp_t* p) { return self(p)->on_name_complete(); };
    s.on_header_value = [](llhttp_t* p, const char* at, size_t n) {
      return self(p)->on_value_bytes(at, n);
    };
    s.on_headers_complete = [](llhttp_t* p) { return self(p)->on_headers_complete(); };
    s.on_body = [](llhttp_t* p, const char* at, size_t n) { return self(p)->on_body_bytes(at, n); };
    s.on_message_complete = [](llhttp_t* p) { return self(p)->on_message_complete(); };
    return s;
  }();
  return settings;
}

ResponseParser::ResponseParser(Handler& handler) : handler_(&handler) {
  reset();
}

void ResponseParser::reset() {
  llhttp_init(&parser_, HTTP_RESPONSE, &callbacks());
  parser_.data = this;
  fault_ = ResponseFault::none;
  fault_text_ = {};
  in_response_ = in_head_ = version_read_ = interim_ = false;
  interim_count_ = 0;
  idle_line_ends_ = 0;
  plain_left_ = 0;
  feed_offset_ = overhead_begin_ = 0;
}

ResponseFault ResponseParser::feed(std::string_view bytes) {
  paused_ = false;
  // Never without a byte: llhttp would lose its place in a span.
  while (!bytes.empty() && fault_ == ResponseFault::none) {
    if (paused_) {
      return feed_idle(bytes);
    } else if (plain_left_ > 0) {
      take_plain_body(bytes);
    } else if (!begin_plain(bytes)) {
      bytes.remove_prefix(parse_some(bytes));
    }
  }
  return fault_;
}

ResponseFault ResponseParser::feed_idle(std::string_view bytes) {
  if (fault_ != ResponseFault::none) return fault_;
  const size_t line_ends = std::min(bytes.find_first_not_of("\r\n"), bytes.size());
  idle_line_ends_ += line_ends;
  bytes.remove_prefix(line_ends);
  if (bytes.empty() && idle_line_ends_ <= kMaxIdleLineEnds) return fault_;
  // By the first byte, so that it does not matter how many have come.
  const bool is_response = !bytes.empty() && bytes.front() == kVersionName.front();
  if (is_response) {
    refuse(ResponseFault::surplus, "a response follows that no request asked for");
  } else {
    refuse(ResponseFault::stray_bytes, "bytes follow the last response that was asked for");
  }
  return fault_;
}

// Only between two responses: llhttp then holds nothing of the next one, and finds itself there
// again behind this one.
bool ResponseParser::begin_plain(std::string_view& bytes) {
  PlainHead plain;
  if (in_response_ || feed_offset_ != overhead_begin_) return false;
  if (!plain_heads_.read(bytes, plain)) return false;
  in_response_ = true;
  idle_line_ends_ = 0;
  ResponseHead head;
  head.status = 200;
  head.has_length = head.keep_alive = true;
  head.length = plain.length;
  head.content_type = plain.content_type;
  skip(bytes, plain.size);
  plain_left_ = plain.length;
  if (!handler_->on_head(head)) {
    refuse(ResponseFault::handler_stop, "stopped by the receiver");
  } else if (plain_left_ == 0) {
    complete_plain();
  }
  return true;
}

void ResponseParser::take_plain_body(std::string_view& bytes) {
  const std::string_view piece = bytes.substr(0, plain_left_);
  plain_left_ -= piece.size();
  skip(bytes, piece.size());
  if (!handler_->on_body(piece)) {
    refuse(ResponseFault::handler_stop, "stopped by the receiver");
  } else if (plain_left_ == 0) {
    complete_plain();
  }
}

void ResponseParser::complete_plain() {
  in_response_ = false;
  interim_count_ = 0;
  switch (handler_->on_complete(true)) {
    case Next::more:
      return;
    case Next::none:
      paused_ = true;
      return;
    case Next::stop:
      refuse(ResponseFault::handler_stop, "stopped by the receiver");
  }
}

// Past bytes that llhttp does not get.
void ResponseParser::skip(std::string_view& bytes, size_t count) {
  bytes.remove_prefix(count);
  feed_offset_ += count;
  overhead_begin_ = feed_offset_;
}

// llhttp gets no byte beyond the one that breaks the limit: what it makes of those before does not
// depend on how many more have arrived.
size_t ResponseParser::parse_some(std::string_view bytes) {
  bytes = bytes.substr(0, overhead_begin_ + kMaxHeadBytes + 1 - feed_offset_);
  feed_begin_ = bytes.data();
  const llhttp_errno_t status = llhttp_execute(&parser_, bytes.data(), bytes.size());
  size_t parsed = bytes.size();
  if (status == HPE_PAUSED) {
    parsed = static_cast<size_t>(llhttp_get_error_pos(&parser_) - bytes.data());
    overhead_begin_ = feed_offset_ + parsed;
    llhttp_resume(&parser_);
  } else if (status != HPE_OK && fault_ == ResponseFault::none) {
    refuse(ResponseFault::bad_framing, llhttp_get_error_reason(&parser_));
  }
  feed_offset_ += parsed;
  if (feed_offset_ - overhead_begin_ > kMaxHeadBytes) {
    refuse(ResponseFault::head_limit, "a head or chunk extension of more than 32 KiB");
  }
  return parsed;
}

ResponseFault ResponseParser::finish() {
  if (fault_ != ResponseFault::none || !in_response_) return fault_;
  // llhttp_finish says OK in states where nothing ended; in_response_ is what tells.
  if (!in_head_ && plain_left_ == 0) llhttp_finish(&parser_);
  if (fault_ == ResponseFault::none && in_response_) {
    refuse(ResponseFault::truncated, "the connection ended inside a response");
  }
  return fault_;
}

int ResponseParser::refuse(ResponseFault fault, std::string_view text) {
  if (fault_ == ResponseFault::none) {
    fault_ = fault;
    fault_text_ = text;
  }
  return HPE_USER;
}

uint64_t ResponseParser::offset_of(const char* at) const {
  return feed_offset_ + static_cast<uint64_t>(at - feed_begin_);
}

int ResponseParser::on_message_begin() {
  in_response_ = in_head_ = true;
  version_read_ = interim_ = false;
  idle_line_ends_ = 0;
  fields_ = codings_ = 0;
  in_name_ = coding_folded_ = false;
  field_ = Field::other;
  content_encoding_.clear();
  content_type_.clear();
  location_.clear();
  retry_after_.clear();
  transfer_encoding_.clear();
  return HPE_OK;
}

int ResponseParser::on_version() {
  version_read_ = true;
  return HPE_OK;
}

int ResponseParser::on_field_bytes(const char* at, size_t length) {
  if (!in_name_) {
    in_name_ = true;
    name_length_ = 0;
  }
  for (size_t i = 0; i < length && name_length_ < kNameRoom; ++i)
    name_[name_length_++] = to_lower(at[i]);
  name_end_ = offset_of(at) + length;
  return HPE_OK;
}

int ResponseParser::on_name_complete() {
  in_name_ = false;
  field_ = Field::other;
  // Not at a name's first byte: in a whole input llhttp may find fault with the name before it is
  // told here.
  if (++fields_ > kMaxHeadFields) {
    return refuse(ResponseFault::head_limit, "more than 100 header fields");
  }
  // A trailer: nothing in it may change what the head said. (llhttp lets it end the connection.)
  if (!in_head_) return HPE_OK;
  const std::string_view name(name_, name_length_);
  // By length first: the common fields are told apart without comparing their bytes.
  switch (name.size()) {
    case 8:
      if (name == "location") field_ = Field::location;
      break;
    case 11:
      if (name == "retry-after") field_ = Field::retry_after;
      break;
    case 12:
      if (name == "content-type") field_ = Field::content_type;
      break;
    case 16:
      if (name == "content-encoding") field_ = Field::content_encoding;
      break;
    case 17:
      if (name == "transfer-encoding") {
        field_ = Field::transfer_encoding;
        ++codings_;
      }
      break;
    default:
      break;
  }
  value_end_ = 0;
  // The lines of a repeated field are one list: RFC 9110 section 5.3.
  if (std::string* value = value_of(field_); value != nullptr && !value->empty()) *value += ", ";
  return HPE_OK;
}

std::string* ResponseParser::value_of(Field field) {
  switch (field) {
    case Field::content_encoding:
      return &content_encoding_;
    case Field::content_type:
      return &content_type_;
    case Field::location:
      return &location_;
    case Field::retry_after:
      return &retry_after_;
    case Field::transfer_encoding:
      return &transfer_encoding_;
    case Field::other:
      return nullptr;
  }
  return nullptr;
}

int ResponseParser::on_value_bytes(const char* at, size_t length) {
  if (std::string* value = value_of(field_)) {
    const uint64_t begin = offset_of(at);
    if (field_ == Field::transfer_encoding) {
      coding_folded_ =
          coding_folded_ || (value_end_ == 0 ? begin > name_end_ + kPlainGap : begin != value_end_);
    }
    value_end_ = begin + length;
    value->append(at, length);
  }
  return HPE_OK;
}

int ResponseParser::on_headers_complete() {
  in_head_ = false;
  const int status = parser_.status_code;
  if (status < 100 || status > 599) {
    return refuse(ResponseFault::bad_framing, "the status is not in 100..599"), -1;
  }
  if (parser_.http_major != 1 || parser_.http_minor > 1) {
    return refuse(ResponseFault::bad_framing, "not HTTP/1.0 or HTTP/1.1"), -1;
  }
  const bool has_length = (parser_.flags & F_CONTENT_LENGTH) != 0;
  if (codings_ > 0) {
    const bool plain = codings_ == 1 && !coding_folded_ && (parser_.flags & F_CHUNKED) != 0 &&
                       !has_length && parser_.http_minor == 1 &&
                       equals_ignoring_case(trim(transfer_encoding_), "chunked");
    if (!plain) {
      return refuse(ResponseFault::bad_framing, "a Transfer-Encoding other than plain 'chunked'"),
             -1;
    }
  }
  const bool bodiless = status < 200 || status == 204 || status == 304;
  if (bodiless &&
      ((has_length && parser_.content_length > 0) || (parser_.flags & F_CHUNKED) != 0)) {
    // llhttp would take the announced bytes from the next response.
    return refuse(ResponseFault::bad_framing, "a status without a body announces one"), -1;
  }
  if (status < 200) {
    if (status == 101) {
      return refuse(ResponseFault::bad_framing, "101: the origin switched protocols unasked"), -1;
    }
    if (++interim_count_ > kMaxInterimResponses) {
      return refuse(ResponseFault::head_limit, "too many interim responses"), -1;
    }
    interim_ = true;
    return 1;
  }
  ResponseHead head;
  head.status = status;
  head.has_length = has_length;
  head.length = has_length ? parser_.content_length : 0;
  head.until_end = !bodiless && !has_length && codings_ == 0;
  // HTTP/1.0 keeps only connections that it says it keeps.
  const bool stays = parser_.http_minor == 1 || (parser_.flags & F_CONNECTION_KEEP_ALIVE) != 0;
  head.endless = head.until_end && stays && (parser_.flags & F_CONNECTION_CLOSE) == 0;
  head.keep_alive = llhttp_should_keep_alive(&parser_) != 0;
  head.content_encoding = trim(content_encoding_);
  head.content_type = trim(content_type_);
  head.location = trim(location_);
  head.retry_after = trim(retry_after_);
  if (!handler_->on_head(head)) {
    return refuse(ResponseFault::handler_stop, "stopped by the receiver"), -1;
  }
  return bodiless ? 1 : 0;
}

int ResponseParser::on_body_bytes(const char* at, size_t length) {
  overhead_begin_ = offset_of(at) + length;
  if (handler_->on_body(std::string_view(at, length))) return HPE_OK;
  return refuse(ResponseFault::handler_stop, "stopped by the receiver");
}

// Every message ends with a pause, for only then does llhttp tell where it ended.
int ResponseParser::on_message_complete() {
  in_response_ = false;
  if (interim_) return HPE_PAUSED;
  interim_count_ = 0;
  switch (handler_->on_complete(llhttp_should_keep_alive(&parser_) != 0)) {
    case Next::more:
      return HPE_PAUSED;
    case Next::none:
      paused_ = true;
      return HPE_PAUSED;
    case Next::stop:
      break;
  }
  refuse(ResponseFault::handler_stop, "stopped by the receiver");
  return -1;
}

}  // namespace gigafetch::http
