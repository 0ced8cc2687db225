#include "http/request_parser.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace gigafetch::http {
namespace {

constexpr size_t kMaxRequestBytes = 64 * 1024;

// Of requests that need no llhttp; together far below the limit of a request.
constexpr std::string_view kPlainStart = "GET /";
constexpr size_t kMaxPlainTarget = 1024;
constexpr size_t kMaxRemembered = 4096;

// By byte: whether llhttp takes it in a path as in a query.
constexpr std::array<bool, 256> kPlain = [] {
  std::array<bool, 256> plain{};
  for (size_t c = '!'; c <= '~'; ++c)
    plain[c] = c != '#';
  return plain;
}();

// Where the target of a request that begins with kPlainStart ends, if each of its bytes is plain;
// otherwise 0.
size_t plain_target_end(std::string_view request) {
  const size_t most = std::min(request.size(), kPlainStart.size() + kMaxPlainTarget);
  size_t end = kPlainStart.size();
  while (end < most && kPlain[static_cast<uint8_t>(request[end])])
    ++end;
  return end < most && request[end] == ' ' ? end : 0;
}

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
  completed_ = false;
  more_ = true;
  size_t parsed = 0;
  llhttp_errno_t status = HPE_OK;
  // Never without a byte: llhttp would lose the place of what it is inside of.
  while (parsed < bytes.size() && more_ && (status == HPE_OK || status == HPE_PAUSED)) {
    const std::string_view rest = bytes.substr(parsed);
    if (const size_t repeated = take_repeated(rest); repeated > 0) {
      parsed += repeated;
      continue;
    }
    size_t taken = 0;
    status = parse_one(rest, taken);
    parsed += taken;
  }
  if (!more_) {
    unfinished_bytes_ = 0;
    return parsed;
  }
  if (!target_split_ && !target_.empty()) {
    // A request goes on in the next bytes: these ones will be gone by then.
    split_target_.assign(target_);
    target_ = {};
    target_split_ = true;
  }
  // Bytes that no callback sees (white space before a value) must not make a request endless.
  unfinished_bytes_ = completed_ ? 0 : unfinished_bytes_ + bytes.size();
  const bool failed = status != HPE_OK && status != HPE_PAUSED;
  if (failed) between_ = false;
  refused_ = failed || unfinished_bytes_ > kMaxRequestBytes;
  return bytes.size();
}

// Has llhttp go on to the end of a request (HPE_PAUSED) or of the bytes.
llhttp_errno_t RequestParser::parse_one(std::string_view bytes, size_t& parsed) {
  const bool from_start = between_;
  llhttp_resume(&parser_);
  const llhttp_errno_t status = llhttp_execute(&parser_, bytes.data(), bytes.size());
  parsed = bytes.size();
  if (status != HPE_PAUSED) return status;
  parsed = static_cast<size_t>(llhttp_get_error_pos(&parser_) - bytes.data());
  if (from_start && between_) remember(bytes.substr(0, parsed));
  return status;
}

void RequestParser::remember(std::string_view request) {
  const size_t end = request.starts_with(kPlainStart) ? plain_target_end(request) : 0;
  remembered_.clear();
  if (end > 0 && request.size() - end <= kMaxRemembered) remembered_.assign(request.substr(end));
}

// Tells of the request at the front of `bytes` if it differs from an earlier one in nothing but a
// plain target, and returns its size; otherwise 0.
size_t RequestParser::take_repeated(std::string_view bytes) {
  if (!between_ || remembered_.empty() || !bytes.starts_with(kPlainStart)) return 0;
  const size_t end = plain_target_end(bytes);
  if (end == 0 || !bytes.substr(end).starts_with(remembered_)) return 0;
  const size_t begin = kPlainStart.size() - 1;
  completed_ = true;
  more_ = handler_->on_request({bytes.substr(begin, end - begin), true, true});
  return end + remembered_.size();
}

int RequestParser::on_message_begin() {
  between_ = false;
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
  between_ = request.keep_alive;
  more_ = handler_->on_request(request);
  target_ = {};
  target_split_ = false;
  return HPE_PAUSED;  // the next one may be a repetition
}

}  // namespace gigafetch::http
