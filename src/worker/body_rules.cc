#include "worker/body_rules.h"

#include <fmt/format.h>

#include <array>
#include <string>
#include <utility>

#include "base/escape.h"
#include "http/content_coding.h"
#include "http/text.h"

namespace gigafetch::worker {
namespace {

// A field that is kept is recorded for every file: it must be no longer than codings are.
constexpr size_t kMaxKeptField = 64;

constexpr std::array<std::pair<ContentEncoding, std::string_view>, 3> kNames = {{
    {ContentEncoding::refuse, "refuse"},
    {ContentEncoding::keep, "keep"},
    {ContentEncoding::decode, "decode"},
}};

std::string coding_refused(ContentEncoding choice, std::string_view field) {
  const std::string shown = printable(field);
  switch (choice) {
    case ContentEncoding::refuse:
      return fmt::format(
          "Content-Encoding '{}' was not asked for; --content-encoding decode stores what it "
          "stands for, and keep what was sent",
          shown);
    case ContentEncoding::keep:
      if (field.size() > kMaxKeptField) {
        return fmt::format("Content-Encoding '{}' is too long to be recorded", shown);
      }
      return {};
    case ContentEncoding::decode:
      if (!http::parse_content_codings(field)) {
        return fmt::format(
            "Content-Encoding '{}' cannot be decoded (gzip, deflate, zstd and br can, {} of them "
            "in turn); --content-encoding keep stores what was sent",
            shown, http::kMaxContentCodings);
      }
      return {};
  }
  return {};
}

}  // namespace

std::string_view name_of(ContentEncoding choice) {
  for (const auto& [value, name] : kNames) {
    if (value == choice) return name;
  }
  return "unknown";
}

std::optional<ContentEncoding> content_encoding_of(std::string_view name) {
  for (const auto& [value, known] : kNames) {
    if (known == name) return value;
  }
  return std::nullopt;
}

bool is_coded(std::string_view field) {
  return !field.empty() && !http::equals_ignoring_case(field, "identity");
}

std::optional<FileFailure> BodyRules::look_closely(const http::ResponseHead& head) const {
  const auto failure = [&](FailureClass cause, std::string text) {
    return FileFailure{cause, static_cast<uint16_t>(head.status), 0, std::move(text)};
  };
  const bool coded = is_coded(head.content_encoding);
  if (coded) {
    std::string refused = coding_refused(content_encoding, head.content_encoding);
    if (!refused.empty()) return failure(FailureClass::content_encoding, std::move(refused));
  }
  if (head.until_end && !allow_unframed) {
    return failure(FailureClass::bad_framing,
                   "neither a Content-Length nor chunks: only the connection's end tells where the "
                   "body ends, and one that was cut looks whole; --allow-unframed takes it");
  }
  // The length of a body that is decoded is not the file's.
  const bool tells_size =
      head.has_length && !(coded && content_encoding == ContentEncoding::decode);
  if (tells_size && head.length > max_file_size) {
    return failure(FailureClass::too_large,
                   fmt::format("{} bytes, --max-file-size is {}", head.length, max_file_size));
  }
  return std::nullopt;
}

}  // namespace gigafetch::worker
