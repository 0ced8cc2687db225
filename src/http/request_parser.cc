#include "http/request_parser.h"

namespace gigafetch::http {
namespace {

constexpr size_t kMaxRequestBytes = 64 * 1024;

RequestParser* self(llhttp_t* parser) {
  return static_cast<RequestParser*>(parser->data);
}

}  // namespace

const llhttp_settings_t& RequestParser::callbacks() {
  static const llhttp_settings_t settings = [] {
    llhttp_settings_t s;
    llhttp_settings_init(&s);
    s.on_message_begin = [](llhttp_t* p) { return self(p)->on_message_begin(); };
    s.on_url = [](llhttp_t* p, const char* at, size_t n) { return self(p)->on_target(at, n); };
    s.on_header_field = [](llhttp_t* p, const char*, size_t n) { return self(p)->count_bytes(n); };
    s.on_header_value = s.on_header_field;
    s.on_headers_complete = [](llhttp_t* p) { return self(p)->on_headers_complete(); };
    s.on_body = s.on_header_field;
    s.on_message_complete = [](llhttp_t* p) { return self(p)->on_message_complete(); };
    return s;
  }();
  return settings;
}

RequestParser::RequestParser(Handler& handler) : handler_(&handler) {
  llhttp_init(&parser_, HTTP_REQUEST, &callbacks());
  parser_.data = this;
}

bool RequestParser::feed(std::string_view bytes) {
  if (holding()) {
    held_.append(bytes);
    return !refused_;
  }
  const size_t parsed = parse(bytes);
  held_.assign(bytes.substr(parsed));
  return !refused_;
}

bool RequestParser::resume() {
  const std::string bytes = std::move(held_);
  held_.clear();
  const size_t parsed = parse(bytes);
  held_.assign(bytes, parsed);
  return !refused_;
}

// Returns how many of the bytes were looked at: all of them, unless the handler wants no more.
size_t RequestParser::parse(std::string_view bytes) {
  if (bytes.empty()) return 0;  // llhttp would lose the place of what it is inside of
  completed_ = false;
  llhttp_resume(&parser_);
  const llhttp_errno_t status = llhttp_execute(&parser_, bytes.data(), bytes.size());
  if (status == HPE_PAUSED) {
    unfinished_bytes_ = 0;
    return static_cast<size_t>(llhttp_get_error_pos(&parser_) - bytes.data());
  }
  if (!target_split_ && !target_.empty()) {
    // A request goes on in the next bytes: these ones will be gone by then.
    split_target_.assign(target_);
    target_ = {};
    target_split_ = true;
  }
  // Bytes that no callback sees (white space before a value) must not make a request endless.
  unfinished_bytes_ = completed_ ? 0 : unfinished_bytes_ + bytes.size();
  refused_ = status != HPE_OK || unfinished_bytes_ > kMaxRequestBytes;
  return bytes.size();
}

int RequestParser::on_message_begin() {
  target_ = {};
  target_split_ = false;
  seen_bytes_ = 0;
  return HPE_OK;
}

int RequestParser::on_target(const char* at, size_t length) {
  if (target_split_) {
    split_target_.append(at, length);
  } else if (target_.empty()) {
    target_ = std::string_view(at, length);
  } else {
    split_target_.assign(target_);
    split_target_.append(at, length);
    target_split_ = true;
  }
  return count_bytes(length);
}

int RequestParser::count_bytes(size_t length) {
  seen_bytes_ += length;
  return seen_bytes_ <= kMaxRequestBytes ? HPE_OK : HPE_USER;
}

int RequestParser::on_headers_complete() {
  // An offer to upgrade may be passed over (RFC 9110 section 7.8).
  parser_.upgrade = 0;
  return HPE_OK;
}

int RequestParser::on_message_complete() {
  completed_ = true;
  Request request;
  request.target = target_split_ ? std::string_view(split_target_) : target_;
  request.is_get = llhttp_get_method(&parser_) == HTTP_GET;
  request.keep_alive = llhttp_should_keep_alive(&parser_) != 0;
  const bool more = handler_->on_request(request);
  target_ = {};
  target_split_ = false;
  return more ? HPE_OK : HPE_PAUSED;
}

}  // namespace gigafetch::http
